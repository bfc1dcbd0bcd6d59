"""Does a 401 of the upstream name trouble with the token? Pure.

The words are those that the service has been seen to use: `token_expired`,
`token_invalidated`, `token_revoked`, "Could not validate your token", "Unauthorized".
A 401 that says nothing of that kind may be a resource's own.
"""

from __future__ import annotations

import re

from bearerd.relay.message import ResponseHead

INSPECTED_BYTES = 16 * 1024
"""Real ones have some hundred bytes."""

TOKEN_FIELDS = (b"x-openai-authorization-error", b"x-error-json")

TOKEN_TROUBLE = re.compile(
    rb"token|expired|revoked|invalidated|unauthori[sz]ed|unauthenticated|authenticat"
    rb"|credential|sign(?:ed)?[ -]?in|log(?:ged)?[ -]?in",
    re.IGNORECASE,
)


def blames_token(head: ResponseHead, beginning: bytes) -> bool:
    """Say whether a response, by its fields and its body's *beginning*, blames the token.

    What cannot be read (an encoded body) is taken to: a refresh too many is cheap.
    """
    if any(head.values(name) for name in TOKEN_FIELDS):
        return True
    challenges = head.values(b"www-authenticate")
    if any(b"invalid_token" in challenge.lower() for challenge in challenges):
        return True  # RFC 6750 section 3.1
    if head.values(b"content-encoding"):
        return True
    return TOKEN_TROUBLE.search(beginning) is not None
