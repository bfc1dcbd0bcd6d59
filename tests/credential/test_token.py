"""The credential: its claims, its end, its name, and that it never prints itself."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bearerd.credential.token import (
    AUTH_CLAIM,
    OPAQUE_LIFETIME_SECONDS,
    Credential,
    account_claim,
    claims,
    expiry,
    fingerprint,
    parse_credential,
    seconds_claim,
    user_claim,
    visible_text,
)
from tests.credential.stand_ins import (
    MARK,
    START,
    credential_for,
    encoded,
    identity,
    jwt,
)

LAST_REFRESH = datetime.fromtimestamp(START, UTC)
EIGHT_DAYS = 8 * 24 * 3600


@pytest.mark.parametrize(
    ("token", "last_refresh", "expected"),
    [
        (jwt({"exp": 1_800_000_600}), None, 1_800_000_600),
        (jwt({"exp": 1_800_000_600}), LAST_REFRESH, 1_800_000_600),
        (jwt({"exp": 1_800_000_600.5}), None, 1_800_000_600.5),
        (jwt({"exp": 1}), LAST_REFRESH, 1),
        (jwt({}), None, None),
        (jwt({}), LAST_REFRESH, START + EIGHT_DAYS),
        ("opaque", None, None),
        ("opaque", LAST_REFRESH, START + EIGHT_DAYS),
        (jwt({"exp": 0}), LAST_REFRESH, START + EIGHT_DAYS),
        (jwt({"exp": -5}), LAST_REFRESH, START + EIGHT_DAYS),
        (jwt({"exp": True}), LAST_REFRESH, START + EIGHT_DAYS),
        (jwt({"exp": "1800000600"}), LAST_REFRESH, START + EIGHT_DAYS),
        (jwt({"exp": None}), LAST_REFRESH, START + EIGHT_DAYS),
        (jwt({"exp": float("nan")}), LAST_REFRESH, START + EIGHT_DAYS),
        (jwt({"exp": float("inf")}), LAST_REFRESH, START + EIGHT_DAYS),
        (jwt({"exp": 253402300799}), None, 253402300799),
        (jwt({"exp": 253402300800}), None, None),
        (jwt({"exp": 10**400}), None, None),
    ],
    ids=[
        "exp",
        "exp-before-last-refresh",
        "fraction",
        "long-past",
        "no-exp-no-refresh",
        "no-exp",
        "opaque-no-refresh",
        "opaque",
        "zero",
        "negative",
        "boolean",
        "text",
        "null",
        "nan",
        "infinity",
        "last-second-of-9999",
        "year-10000",
        "absurd",
    ],
)
def test_a_token_ends_by_its_claim_or_eight_days_after_its_refresh(
    token: str, last_refresh: datetime | None, expected: float | None
) -> None:
    """`exp` decides if it is a date; without both the end is unknown."""
    assert expiry(token, last_refresh) == expected


def test_the_eight_days_are_counted_across_time_zones() -> None:
    """The moment counts, not the zone that it is written in."""
    elsewhere = LAST_REFRESH.astimezone(timezone(timedelta(hours=-7)))
    assert expiry("opaque", elsewhere) == START + OPAQUE_LIFETIME_SECONDS


@pytest.mark.parametrize(
    ("now", "expires_at", "expected"),
    [
        (START, START, True),
        (START + 0.001, START, True),
        (START - 0.001, START, False),
        (START, None, False),
    ],
)
def test_a_credential_ends_at_its_second_and_not_before(
    now: float, expires_at: float | None, expected: bool
) -> None:
    """Its last second is over at the end; an unknown end never comes."""
    assert credential_for(expires_at=expires_at).is_expired(now) is expected


@pytest.mark.parametrize(
    "token",
    [
        None,
        "",
        "opaque",
        "a.b",
        "a.b.c.d",
        "..",
        "a.!!.c",
        "a.é.c",
        f"a.{encoded(b'not json')}.c",
        f"a.{encoded(b'[1]')}.c",
        f"a.{encoded(b'null')}.c",
        f"a.{encoded(bytes([0xFF, 0xFE]))}.c",
        f"a.{encoded(b'{' + b'x' * 9)}.c",
        f"a.{encoded(b'[' * 100_000)}.c",
        jwt({"exp": 5}) + ".more",
    ],
    ids=[
        "nothing",
        "empty",
        "opaque",
        "two-parts",
        "four-parts",
        "dots",
        "punctuation",
        "not-ascii",
        "not-json",
        "a-list",
        "null",
        "not-utf-8",
        "torn",
        "nested-without-end",
        "a-jwt-and-more",
    ],
)
def test_garbage_has_no_claims_and_breaks_nothing(token: str | None) -> None:
    """A token that is not a JWT is opaque, with any content."""
    assert claims(token) == {}
    assert account_claim(token) is None
    assert user_claim(token) is None
    assert seconds_claim(token, "exp") is None


@given(st.text(max_size=80))
def test_any_text_has_claims_or_none(text: str) -> None:
    """Tokens come from outside."""
    assert isinstance(dict(claims(text)), dict)
    assert isinstance(dict(claims(f"a.{text}.c")), dict)


@pytest.mark.parametrize(
    "template",
    [
        ".{}{}.tail",
        "head.{}{}.",
        "head.{}{}==.tail",
        "head.{} {}.tail",
        "head.{}\n{}.tail",
    ],
    ids=["no-header", "no-signature", "padded", "with-a-space", "with-a-line-break"],
)
def test_what_codex_cannot_decode_is_no_jwt_here_either(template: str) -> None:
    """Codex wants three parts that are not empty, in base64url without padding.

    A laxer reading would let an id token into the file that makes Codex refuse it all.
    """
    padded = base64.urlsafe_b64encode(json.dumps({"sub": "ab"}).encode()).decode()
    payload = padded.removesuffix("==")
    assert len(payload) == len(padded) - 2  # or the case with padding proves nothing
    assert claims(f"head.{payload}.tail") == {"sub": "ab"}
    assert claims(template.format(payload[:4], payload[4:])) == {}


@pytest.mark.parametrize(
    ("auth", "account", "user"),
    [
        ({"chatgpt_account_id": "a", "chatgpt_user_id": "u"}, "a", "u"),
        ({"chatgpt_account_id": "a", "user_id": "u"}, "a", "u"),
        ({"chatgpt_user_id": "u", "user_id": "other"}, None, "u"),
        ({"chatgpt_account_id": "", "chatgpt_user_id": ""}, None, None),
        ({"chatgpt_account_id": 7, "user_id": ["u"]}, None, None),
        ({"chatgpt_account_id": "a\r\nb", "user_id": "\ud800"}, None, None),
        ("acct", None, None),
        (None, None, None),
    ],
)
def test_account_and_user_are_read_from_the_namespaced_claim(
    auth: object, account: str | None, user: str | None
) -> None:
    """Only visible ASCII is a name: it goes into a header field."""
    token = jwt({AUTH_CLAIM: auth})
    assert account_claim(token) == account
    assert user_claim(token) == user


def test_a_credential_shows_no_secret() -> None:
    """Neither printed, nor formatted, nor inside another value."""
    credential = Credential(
        access_token=jwt(identity("acct-1", "user-1")),
        refresh_token=f"{MARK}-refresh",
        account_id="acct-1",
        id_token=jwt({"email": "user@example.invalid"}),
    )
    for shown in (repr(credential), str(credential), f"{[credential]}"):
        assert MARK not in shown
        assert "acct-1" in shown


def test_two_credentials_are_the_same_if_their_tokens_are() -> None:
    """User, id token, times and generation are no part of the identity."""
    one = Credential("access", "refresh", "acct", user_id="u", expires_at=1.0)
    same = Credential("access", "refresh", "acct", id_token="i", generation=4)
    assert one == same
    assert hash(one) == hash(same)
    for other in (
        Credential("access-2", "refresh", "acct"),
        Credential("access", "refresh-2", "acct"),
        Credential("access", "refresh", "acct-2"),
    ):
        assert one != other


def test_a_fingerprint_tells_tokens_apart_and_shows_none() -> None:
    """It is short and stable, and no digest that another program makes of the token."""
    assert fingerprint("one") == fingerprint("one") == Credential("", "one").fingerprint
    assert fingerprint("one") != fingerprint("two")
    assert len(fingerprint("one")) == 16
    # SHA-256 of the bare token, which other programs may log.
    assert not fingerprint("one").startswith("7692c3ad3540bb80")


def test_any_text_in_a_file_has_a_fingerprint() -> None:
    """JSON can escape half a surrogate pair; naming such a token must not fail."""
    assert len(fingerprint("\ud800")) == 16


@pytest.mark.parametrize(
    ("text", "is_visible"),
    [
        ("eyJ.a-b_c.d~e", True),
        ("!", True),
        ("~", True),
        ("", False),
        (" ", False),
        ("a b", False),
        ("a\n", False),
        ("a\r\nX-Injected: yes", False),
        ("a\x00b", False),
        ("a\x7f", False),
        ("é", False),
        ("\ud800", False),
        (None, False),
        (7, False),
        (b"a", False),
    ],
)
def test_only_visible_ascii_is_text_for_a_header_field(
    text: object, is_visible: bool
) -> None:
    """Anything else could end a field, or could not be sent at all."""
    assert visible_text(text) == (text if is_visible else None)


def test_a_credential_comes_back_from_its_fields() -> None:
    """Without a refresh token and without any name too."""
    for credential in (
        credential_for(),
        Credential("access", "", None),
        Credential("a", "r", "acct", "user", "no-jwt", 5, 7.5),
    ):
        assert parse_credential(asdict(credential)) == credential
