"""The path rules: where a path goes, byte for byte, and which paths are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bearerd.errors import BearerdError, NotFound, RequestMalformed, TargetForbidden
from bearerd.relay.target import AMBIGUOUS, Target, resolve, to_origin_form

CHARACTERS = "abcXYZ019-_.~!$&'()*+,;=:@|{}%"


@pytest.mark.parametrize(
    ("target", "upstream_target"),
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
def test_an_alias_is_replaced_and_the_rest_stays(
    target: bytes, upstream_target: bytes
) -> None:
    """The query is not judged: it cannot lead out of the base path."""
    path = upstream_target.partition(b"?")[0].decode()
    assert resolve(target) == Target(None, upstream_target, path)


@pytest.mark.parametrize(
    ("target", "profile", "upstream_target"),
    [
        (b"/profiles/work/backend-api/a", "work", b"/a"),
        (b"/profiles/a.b_c-1/v1/a?b", "a.b_c-1", b"/codex/a?b"),
        (b"/profiles/p/responses", "p", b"/codex/responses"),
    ],
)
def test_a_path_may_name_a_profile(
    target: bytes, profile: str, upstream_target: bytes
) -> None:
    """The upstream's path is without that name."""
    resolved = resolve(target)
    assert (resolved.profile, resolved.upstream_target) == (profile, upstream_target)


@pytest.mark.parametrize(
    "target",
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
def test_any_other_path_is_not_found_and_the_message_has_the_base_urls(
    target: bytes,
) -> None:
    """It is what a person with a wrong base URL sees."""
    with pytest.raises(NotFound, match=r"/backend-api/codex.*/backend-api.*/v1"):
        resolve(target)


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
def test_an_ambiguous_path_is_forbidden_and_not_normalised(path: bytes) -> None:
    """Dot segments, encoded slashes, empty segments, backslashes, NUL."""
    with pytest.raises(TargetForbidden):
        resolve(path)


@pytest.mark.parametrize("byte", [*range(0x21), 0x7F, 0x80, 0xC3, 0xFF, ord("#")])
@pytest.mark.parametrize("place", [b"/v1/%ba", b"/v1/a?%b", b"%b/v1/a"])
def test_a_target_with_a_forbidden_byte_is_malformed(byte: int, place: bytes) -> None:
    """In the path and in the query."""
    with pytest.raises(RequestMalformed):
        resolve(place % bytes([byte]))


@given(st.text(CHARACTERS + "/", max_size=40), st.none() | st.text(CHARACTERS + "/?\\"))
def test_a_resolved_target_is_forwarded_byte_for_byte(
    path: str, query: str | None
) -> None:
    """Behind its alias nothing is decoded, encoded or cleaned."""
    rest = path.encode() if query is None else f"{path}?{query}".encode()
    try:
        target = resolve(b"/backend-api/" + rest)
    except TargetForbidden:
        assert AMBIGUOUS.search(b"/backend-api/" + path.encode())
    else:
        assert target.upstream_target == b"/" + rest
        assert not AMBIGUOUS.search(target.upstream_target.partition(b"?")[0])


@given(st.binary(max_size=40))
def test_no_target_leaves_the_base_path(rest: bytes) -> None:
    """It begins with one slash, so that the authority before it stays the upstream's."""
    for prefix in (b"", b"/v1/", b"/backend-api/", b"/responses", b"/profiles/a"):
        try:
            target = resolve(prefix + rest)
        except BearerdError:
            continue
        assert target.upstream_target.startswith(b"/")
        assert not target.upstream_target.startswith(b"//")
        assert b"/.." not in target.path.encode().replace(b"/...", b"")
        assert (prefix + rest).endswith(
            target.upstream_target[len(b"/codex/responses") :]
        )


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/v1/a?b", (None, b"/v1/a?b")),
        (b"*", (None, b"*")),
        (b"http://localhost:8787/v1/a?b", (b"localhost:8787", b"/v1/a?b")),
        (b"HTTPS://localhost/", (b"localhost", b"/")),
        (b"http://localhost", (b"localhost", b"")),
        (b"http://user@localhost/a", (b"user@localhost", b"/a")),
        (b"http:///a", (b"", b"/a")),
        (b"ftp://localhost/a", (None, b"ftp://localhost/a")),
        (b"localhost:80", (None, b"localhost:80")),
    ],
)
def test_an_absolute_form_is_split_into_authority_and_origin_form(
    target: bytes, expected: tuple[bytes | None, bytes]
) -> None:
    """RFC 9112 section 3.2.2; every other form is returned unchanged."""
    assert to_origin_form(target) == expected
