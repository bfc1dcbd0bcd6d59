"""The credential: its tokens, its expiry, and a fingerprint that does not reveal it.

Pure: no files, no network, no clock.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bearerd.json_object import json_object

AUTH_CLAIM = "https://api.openai.com/auth"
"""The namespaced claim with the account, user and plan in OpenAI's tokens."""

OPAQUE_LIFETIME_SECONDS = 8 * 24 * 3600.0
"""The lifetime, from the last refresh, of a token without `exp`.

Codex's own rule (`TOKEN_REFRESH_INTERVAL`, codex-rs login/src/auth/manager.rs).
"""


JWT = re.compile(r"[\w-]+\.([\w-]+)\.[\w-]+", re.ASCII)
"""Three non-empty parts in base64url without padding: exactly what Codex decodes.

Codex rejects a file with an id token that it cannot decode, so nothing else may be
written as one.
"""

VISIBLE_ASCII = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class Credential:
    """The tokens of one login at one moment.

    Two credentials are equal if their access token, refresh token and account are.
    `expires_at` and `refreshed_at` (when the authority issued the tokens) are epoch
    seconds, or None if unknown. `generation` numbers the credentials that this process
    has cached.
    """

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    account_id: str | None = None
    user_id: str | None = field(default=None, compare=False)
    id_token: str | None = field(default=None, repr=False, compare=False)
    expires_at: float | None = field(default=None, compare=False)
    refreshed_at: float | None = field(default=None, compare=False)
    generation: int = field(default=0, compare=False)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the refresh token, for logs, records and comparisons."""
        return fingerprint(self.refresh_token)

    def is_expired(self, now: float) -> bool:
        """Return True if the token has expired; False if its expiry is unknown."""
        return self.expires_at is not None and self.expires_at <= now


def parse_credential(fields: Mapping[str, Any]) -> Credential:
    """Return the credential in *fields*, the output of `dataclasses.asdict`.

    Raises:
        TypeError: the fields are not those of a credential, or a value is invalid. The
            values are checked because they are sent in header fields.
    """
    credential = Credential(**fields)
    identifiers = [fields.get(name) for name in ("account_id", "user_id")]
    times = [fields.get(name) for name in ("expires_at", "refreshed_at")]
    if (
        visible_text(fields["access_token"]) is None
        or fields["refresh_token"] != (visible_text(fields["refresh_token"]) or "")
        or any(each is not None and visible_text(each) is None for each in identifiers)
        or not isinstance(fields.get("id_token"), str | None)
        or not all(isinstance(time, int | float | None) for time in times)
    ):
        raise TypeError("a token or an id is not visible ASCII, or a time is no number")
    return credential


def visible_text(value: object) -> str | None:
    """Return *value* if it is non-empty visible ASCII, else None.

    Tokens and account ids are sent in header fields. A line break would add a field, and
    a lone surrogate cannot be encoded (RFC 9110 section 5.5; RFC 6750 section 2.1).
    """
    if isinstance(value, str) and VISIBLE_ASCII.fullmatch(value):
        return value
    return None


def fingerprint(refresh_token: str) -> str:
    """Return 16 hex digits that identify a refresh token without revealing it.

    A purpose string is part of the hash input, so the value differs from the digest that
    another program computes.
    """
    # A token from JSON can contain a lone surrogate; this must not raise for it.
    content = b"bearerd refresh token\0" + refresh_token.encode(errors="surrogatepass")
    return hashlib.sha256(content).hexdigest()[:16]


def claims(token: str | None) -> Mapping[str, Any]:
    """Return the payload of a JWT, unverified; an empty mapping if *token* is not a JWT.

    RFC 7519 section 3. The claims are not trusted: they only decide when to refresh and
    whether two tokens name the same account.
    """
    jwt = JWT.fullmatch(token or "")
    if jwt is None:
        return {}
    try:
        payload = base64.urlsafe_b64decode(jwt[1] + "=" * (-len(jwt[1]) % 4))
    except binascii.Error:
        return {}
    return json_object(payload) or {}


def account_claim(token: str | None) -> str | None:
    """Return the account (a workspace, for a team) that a token is for, or None."""
    return _auth_claim(token, "chatgpt_account_id")


def user_claim(token: str | None) -> str | None:
    """Return the user that a token is for, or None. One account may have several."""
    return _auth_claim(token, "chatgpt_user_id") or _auth_claim(token, "user_id")


def is_of_one_account(access_token: str | None, id_token: str | None) -> bool:
    """Return True unless the two tokens name different accounts.

    If they do, the id token is not used: the access token is what the upstream gets.
    """
    accounts = {account_claim(access_token), account_claim(id_token)} - {None}
    return len(accounts) < 2  # noqa: PLR2004


def _auth_claim(token: str | None, name: str) -> str | None:
    auth = claims(token).get(AUTH_CLAIM)
    return visible_text(auth.get(name)) if isinstance(auth, dict) else None


def seconds_claim(token: str | None, name: str) -> float | None:
    """Return a NumericDate claim (`exp`, `iat`; RFC 7519 section 2), or None.

    A boolean, a negative number and a number past the year 9999 are not dates.
    """
    value = claims(token).get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 < value < 253402300800 else None  # noqa: PLR2004


def expiry(access_token: str, last_refresh: datetime | None) -> float | None:
    """Return when an access token expires, in epoch seconds, or None if unknown.

    That is its `exp`. Without one, it is `OPAQUE_LIFETIME_SECONDS` after *last_refresh*.
    """
    exp = seconds_claim(access_token, "exp")
    if exp is not None or last_refresh is None:
        return exp
    return last_refresh.timestamp() + OPAQUE_LIFETIME_SECONDS
