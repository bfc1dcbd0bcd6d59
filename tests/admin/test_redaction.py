"""What is removed from a text, and what is kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bearerd.admin.redaction import HIDDEN, Redaction
from tests.admin.conftest import OPERATOR_KEY, SECRETS

REDACTION = Redaction([OPERATOR_KEY, "short"])


@pytest.mark.parametrize("secret", [*SECRETS, OPERATOR_KEY])
@pytest.mark.parametrize(
    "around",
    ["{}", "got {} there", '"{}"', "Bearer {}", "url?x={}&y=1", "a={},b", "\n{}\n"],
)
def test_a_secret_is_recognised_by_its_shape(secret: str, around: str) -> None:
    """At any place of a text; no part of it is left."""
    clean = REDACTION.text(around.format(secret))
    assert secret not in clean
    assert HIDDEN in clean
    assert not any(part in clean for part in secret.split(".") if len(part) > 8)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ('{"access_token": "opaque"}', f'{{"access_token": "{HIDDEN}"}}'),
        ("{'refresh_token': 'opaque'}", f"{{'refresh_token': '{HIDDEN}'}}"),
        ("grant=x&refresh_token=opaque&y=1", f"grant=x&refresh_token={HIDDEN}&y=1"),
        ("/cb?code=opaque&state=abc", f"/cb?code={HIDDEN}&state={HIDDEN}"),
        ("authorization: bearer opaque0", f"authorization: bearer {HIDDEN}"),
        ("Basic dXNlcjpwYXNz", f"Basic {HIDDEN}"),
        ("http://user:pass@proxy:3128/", f"http://{HIDDEN}@proxy:3128/"),
    ],
)
def test_a_secret_is_recognised_by_its_name(text: str, clean: str) -> None:
    """In JSON, forms, queries, headers and URLs."""
    assert REDACTION.text(text) == clean


@pytest.mark.parametrize(
    "text",
    [
        "token_expired",
        "refresh_token_reused",
        "the bearer of good news",
        "sign in with `bearerd login`",
        "/data/auth.json: there is no credential file",
        "https://auth.openai.com/oauth/token",
        "acct-0123456789",
        "start-up at 127.0.0.1:8787",
        "client-key",
        "short",
        "eyJ",
        "at-once",
    ],
)
def test_ordinary_text_is_kept(text: str) -> None:
    """A log without text is of no use."""
    assert REDACTION.text(text) == text


def test_a_field_is_hidden_by_its_name_at_any_depth() -> None:
    """Whatever its value is. A similar name is no reason."""
    fields = {
        "access_token": "x",
        "authorization": ["x"],
        "x-bearerd-key": b"x",
        "nested": {"Set-Cookie": "x", "list": [{"client_key": 3}]},
        "profile": "p",
        "tokens_seen": 3,
        "password": None,
        "key": "name",
    }
    assert REDACTION.fields(fields) == {
        "access_token": HIDDEN,
        "authorization": HIDDEN,
        "x-bearerd-key": HIDDEN,
        "nested": {"Set-Cookie": HIDDEN, "list": [{"client_key": HIDDEN}]},
        "profile": "p",
        "tokens_seen": 3,
        "password": None,
        "key": "name",
    }


def test_values_that_are_no_text_are_searched_too() -> None:
    """Bytes, sets, exceptions and other objects, as they would be printed."""
    secret = SECRETS[0]
    fields = {
        "bytes": secret.encode(),
        "set": {secret},
        "error": ValueError(secret),
        "number": 1.5,
        "flag": True,
    }
    clean = REDACTION.fields(fields)
    assert secret not in str(clean)
    assert (clean["number"], clean["flag"]) == (1.5, True)


@given(st.text(max_size=60))
def test_redacted_text_is_not_changed_again(text: str) -> None:
    """So a line may pass through it twice."""
    once = REDACTION.text(text)
    assert REDACTION.text(once) == once
