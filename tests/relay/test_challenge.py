"""Which 401 blames the token."""

from __future__ import annotations

import pytest

from bearerd.relay.challenge import blames_token
from bearerd.relay.message import Field, ResponseHead


def head(*fields: Field) -> ResponseHead:
    """Return a 401 with these fields."""
    return ResponseHead(401, b"", fields, length=None, is_chunked=False, has_body=True)


@pytest.mark.parametrize(
    "body",
    [
        b'{"error": {"code": "token_expired"}}',
        b'{"error": {"code": "token_invalidated"}}',
        b'{"error": {"code": "token_revoked"}}',
        b'{"detail": "Could not validate your token."}',
        b'{"detail": "Unauthorized"}',
        b"Unauthorised",
        b"UNAUTHENTICATED",
        b"invalid credentials",
        b"Please sign in",
        b"you have been logged out; log-in again",
        b"Your session has expired",
    ],
)
def test_a_body_that_blames_the_token_is_recognised(body: bytes) -> None:
    """By the words that the service is known to send."""
    assert blames_token(head(), body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"detail": "no access to this workspace"}',
        b"<html><body>blocked</body></html>",
        b'{"error": {"code": "connector_not_linked"}}',
    ],
)
def test_a_body_without_such_words_does_not_blame_the_token(body: bytes) -> None:
    """The 401 may be about the resource."""
    assert not blames_token(head(), body)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ((b"X-OpenAI-Authorization-Error", b"expired"), True),
        ((b"x-error-json", b"eyJ9"), True),
        ((b"WWW-Authenticate", b'Bearer error="invalid_token"'), True),
        ((b"www-authenticate", b'Bearer error="INVALID_TOKEN"'), True),
        ((b"WWW-Authenticate", b'Bearer error="insufficient_scope"'), False),
        ((b"WWW-Authenticate", b"Basic"), False),
        ((b"Content-Encoding", b"br"), True),
        ((b"X-Other", b"token"), False),
    ],
)
def test_some_fields_blame_the_token_by_themselves(
    field: Field, expected: bool
) -> None:
    """An encoded body cannot be read, and counts as blaming the token."""
    assert blames_token(head(field), b"") is expected


def test_any_of_several_challenges_counts() -> None:
    """RFC 9110 section 11.6.1: there may be more than one line."""
    two = head(
        (b"WWW-Authenticate", b"Basic"), (b"WWW-Authenticate", b"x invalid_token")
    )
    assert blames_token(two, b"")
