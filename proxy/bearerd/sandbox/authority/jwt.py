"""Unsigned JSON web tokens, in the form that clients require.

Only the encoding (RFC 7515 section 3.1). All three parts are non-empty, since clients
that split on dots reject a token with an empty signature.
"""

import base64
import json
from collections.abc import Mapping

NO_SIGNATURE = b"sandbox: not signed"


def mint_jwt(claims: Mapping[str, object]) -> str:
    """Return a token with these claims, `alg` none and a fake signature."""
    header = _encode(json.dumps({"alg": "none", "typ": "JWT"}).encode())
    payload = _encode(json.dumps(claims, separators=(",", ":")).encode())
    return f"{header}.{payload}.{_encode(NO_SIGNATURE)}"


def read_claims(jwt: str) -> dict[str, object]:
    """Return the claims of a token.

    Raises:
        ValueError: it is not a JSON web token.
    """
    parts = jwt.split(".")
    if len(parts) != 3 or not all(parts):  # noqa: PLR2004 - header, payload, signature
        raise ValueError("a JSON web token has three non-empty parts")
    padded = parts[1] + "=" * (-len(parts[1]) % 4)
    claims = json.loads(base64.urlsafe_b64decode(padded))
    if not isinstance(claims, dict):
        raise ValueError("the payload of a JSON web token is an object")  # noqa: TRY004 - one type for all invalid tokens
    return claims


def _encode(part: bytes) -> str:
    """Return base64url without padding (RFC 7515 appendix C)."""
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()
