"""The challenge of a 401: does it blame the token? Pure.

RFC 9110 section 11.6.1 has the challenge in WWW-Authenticate. The service rarely sends
that, so its own fields and the beginning of the body count as well. The words are those
that the service is known to send: `token_expired`, `token_invalidated`, `token_revoked`,
"Could not validate your token", "Unauthorized". A 401 without any of them may be about
the resource, such as a connector that wants a login of its own.
"""

from __future__ import annotations

import re

from bearerd.relay.message import ResponseHead

INSPECTED_BYTES = 16 * 1024
"""How much of a body is read. Real ones have some hundred bytes."""

TOKEN_FIELDS = (b"x-openai-authorization-error", b"x-error-json")

TOKEN_TROUBLE = re.compile(
    rb"token|expired|revoked|invalidated|unauthori[sz]ed|unauthenticated|authenticat"
    rb"|credential|sign(?:ed)?[ -]?in|log(?:ged)?[ -]?in",
    re.IGNORECASE,
)


def blames_token(head: ResponseHead, beginning: bytes) -> bool:
    """Return True if a response blames the token; *beginning* is the start of its body.

    A body that cannot be read, because it is encoded, counts as blaming the token: one
    refresh too many costs less than a request that fails for no visible reason.
    """
    if any(head.values(name) for name in TOKEN_FIELDS):
        return True
    challenges = head.values(b"www-authenticate")
    if any(b"invalid_token" in challenge.lower() for challenge in challenges):
        return True  # RFC 6750 section 3.1
    if head.values(b"content-encoding"):
        return True
    return TOKEN_TROUBLE.search(beginning) is not None
