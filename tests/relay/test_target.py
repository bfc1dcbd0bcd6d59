"""The path rules: what is served where, byte for byte, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bearerd.errors import BearerdError, NotFound, RequestMalformed, TargetForbidden
from bearerd.relay.target import AMBIGUOUS, Target, resolve

LETTERS = "abcXYZ019-_.~!$&'()*+,;=:@|{}%"


@pytest.mark.parametrize(
    ("raw", "below"),
    [
        (b"/backend-api/codex/models", b"/codex/models"),
        (b"/backend-api/", b"/"),
        (b"/v1/responses", b"/codex/responses"),
        (b"/v1/", b"/codex/"),
        (b"/codex/responses", b"/codex/responses"),
        (b"/responses", b"/codex/responses"),
        (b"/responses?a=b", b"/codex/responses?a=b"),
        (b"/responses/r_1/cancel", b"/codex/responses/r_1/cancel"),
        (b"/v1/a?x=/../&y=//&z=%2f\\", b"/codex/a?x=/../&y=//&z=%2f\\"),
        (b"/backend-api/a;b=c/%41%zz", b"/a;b=c/%41%zz"),
        (b"/backend-api/a..b/...", b"/a..b/..."),
        (b"/backend-api/@evil.example", b"/@evil.example"),
        (b"/backend-api/v1/a", b"/v1/a"),
        (b"/v1/a?", b"/codex/a?"),
    ],
)
def test_a_path_that_is_served_leads_below_the_base(raw: bytes, below: bytes) -> None:
    """Aliases are Codex's part of the upstream; the rest stands as it was sent."""
    assert resolve(raw) == Target(None, below, below.partition(b"?")[0].decode())


@pytest.mark.parametrize(
    ("raw", "profile", "below"),
    [
        (b"/profiles/work/backend-api/a", "work", b"/a"),
        (b"/profiles/a.b_c-1/v1/a?b", "a.b_c-1", b"/codex/a?b"),
        (b"/profiles/p/responses", "p", b"/codex/responses"),
    ],
)
def test_a_path_may_name_a_profile(raw: bytes, profile: str, below: bytes) -> None:
    """And goes on without that name."""
    target = resolve(raw)
    assert (target.profile, target.below) == (profile, below)


@pytest.mark.parametrize(
    "raw",
    [
        b"/",
        b"/nowhere",
        b"/backend-api",
        b"/backend-apix/a",
        b"/Backend-API/a",
        b"/v1",
        b"/v2/a",
        b"/codexa",
        b"/responsesx",
        b"/profiles/Work/v1/a",
        b"/profiles/.a/v1/a",
        b"/profiles/%s/v1/a" % (b"a" * 64),
        b"/profiles/a/profiles/b/v1/a",
        b"/profiles/work",
        b"/oauth/tokenx",
        b"/metrics",
    ],
)
def test_any_other_path_is_not_found_and_the_good_ones_are_named(raw: bytes) -> None:
    """The message is what a person with a wrong base URL sees."""
    with pytest.raises(NotFound, match=r"/backend-api/codex.*/backend-api.*/v1"):
        resolve(raw)


@pytest.mark.parametrize(
    "path",
    [
        b"//backend-api/a",
        b"/backend-api//a",
        b"/backend-api/a//",
        b"/backend-api/../a",
        b"/backend-api/..",
        b"/backend-api/.",
        b"/backend-api/./a",
        b"/backend-api/..;x/a",
        b"/backend-api/.;/a",
        b"/backend-api/%2e%2e/a",
        b"/backend-api/.%2E/a",
        b"/backend-api/%2e",
        b"/backend-api/a%2Fb",
        b"/backend-api/a%5cb",
        b"/backend-api/a\\b",
        b"/backend-api/a%00",
        b"/profiles/../v1/a",
    ],
)
def test_a_path_with_two_readings_is_forbidden_and_not_normalised(path: bytes) -> None:
    """Dot segments, encoded slashes, empty segments, backslashes, NUL."""
    with pytest.raises(TargetForbidden):
        resolve(path)


@pytest.mark.parametrize("byte", [*range(0x21), 0x7F, 0x80, 0xC3, 0xFF, ord("#")])
@pytest.mark.parametrize("place", [b"/v1/%ba", b"/v1/a?%b", b"%b/v1/a"])
def test_a_byte_that_no_target_may_hold_is_malformed(byte: int, place: bytes) -> None:
    """In the path as in the query."""
    with pytest.raises(RequestMalformed):
        resolve(place % bytes([byte]))


@given(st.text(LETTERS + "/", max_size=40), st.none() | st.text(LETTERS + "/?\\"))
def test_what_resolves_is_forwarded_byte_for_byte(path: str, query: str | None) -> None:
    """Whatever stands below an alias: nothing is decoded, encoded or cleaned."""
    below = path.encode() if query is None else f"{path}?{query}".encode()
    try:
        target = resolve(b"/backend-api/" + below)
    except TargetForbidden:
        assert AMBIGUOUS.search(b"/backend-api/" + path.encode())
    else:
        assert target.below == b"/" + below
        assert not AMBIGUOUS.search(target.below.partition(b"?")[0])


@given(st.binary(max_size=40))
def test_no_target_leads_anywhere_but_below_the_base(raw: bytes) -> None:
    """What stands behind the base begins with one slash: the authority stays."""
    for prefix in (b"", b"/v1/", b"/backend-api/", b"/responses", b"/profiles/a"):
        try:
            target = resolve(prefix + raw)
        except BearerdError:
            continue
        assert target.below.startswith(b"/")
        assert not target.below.startswith(b"//")
        assert b"/.." not in target.path.encode().replace(b"/...", b"")
        assert (prefix + raw).endswith(target.below[len(b"/codex/responses") :])
