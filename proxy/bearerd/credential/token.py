"""The credential: what it is, when it ends, and how to name it without showing it.

Known here: the tokens' shapes. Not known here: files, the network, the time.
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
"""The namespaced claim in which OpenAI's tokens carry account, user and plan."""

OPAQUE_LIFETIME_SECONDS = 8 * 24 * 3600.0
"""How long a token without `exp` is trusted after its last refresh.

Codex's own rule (`TOKEN_REFRESH_INTERVAL`, codex-rs login/src/auth/manager.rs).
"""


JWT = re.compile(r"[\w-]+\.([\w-]+)\.[\w-]+", re.ASCII)
"""Three parts, none empty, in base64url without padding: what Codex decodes, no more.

With a laxer reading an id token could get into the file that makes Codex refuse it.
"""

VISIBLE = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class Credential:
    """One login at one moment. Two are the same credential if their tokens are equal.

    `expires_at` and `refreshed_at` are epoch seconds, or None if unknown; the second is
    when the authority issued the tokens. `generation` counts the credentials that this
    process has held. None of the three is part of the identity.
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
        """Name the refresh token in logs, records and comparisons; see `fingerprint`."""
        return fingerprint(self.refresh_token)

    def is_expired(self, now: float) -> bool:
        """Return True if the clock has passed the token's end. An unknown end never comes."""
        return self.expires_at is not None and self.expires_at <= now


def credential_of(fields: Mapping[str, Any]) -> Credential:
    """Return the credential in *fields*, as `dataclasses.asdict` wrote it.

    Raises:
        TypeError: *fields* are not those of a credential, or one has a value that a
            credential never has: what is read here goes into header fields too.
    """
    found = Credential(**fields)
    names = [fields.get(name) for name in ("account_id", "user_id")]
    times = [fields.get(name) for name in ("expires_at", "refreshed_at")]
    if (
        visible_text(fields["access_token"]) is None
        or fields["refresh_token"] != (visible_text(fields["refresh_token"]) or "")
        or any(name is not None and visible_text(name) is None for name in names)
        or not isinstance(fields.get("id_token"), str | None)
        or not all(isinstance(time, int | float | None) for time in times)
    ):
        raise TypeError("a token or a name is not visible ASCII, or a time no number")
    return found


def visible_text(value: object) -> str | None:
    """Return *value* if it is non-empty visible ASCII, else None.

    Tokens and account ids go into header fields: a line end would add a field, and a
    lone surrogate could not be encoded (RFC 9110 section 5.5; RFC 6750 section 2.1).
    """
    if isinstance(value, str) and VISIBLE.fullmatch(value):
        return value
    return None


def fingerprint(refresh_token: str) -> str:
    """Return 16 hex digits that tell two refresh tokens apart and give neither away.

    The purpose is hashed in, so that the value matches no other program's digest.
    """
    # JSON may escape half a surrogate pair; naming such a token must not fail.
    named = b"bearerd refresh token\0" + refresh_token.encode(errors="surrogatepass")
    return hashlib.sha256(named).hexdigest()[:16]


def claims(token: str | None) -> Mapping[str, Any]:
    """Return the payload of a JWT, unverified, or an empty mapping if it is none.

    RFC 7519 section 3. Nothing here is trusted: claims only say when to refresh and
    whether two tokens speak of the same account.
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
    """Return the person that a token is for, or None. One account may have several."""
    return _auth_claim(token, "chatgpt_user_id") or _auth_claim(token, "user_id")


def is_of_one_account(access_token: str | None, id_token: str | None) -> bool:
    """Return True unless the two tokens name different accounts.

    Then the id token says nothing about the login: the upstream sees the access token.
    """
    names = {account_claim(access_token), account_claim(id_token)} - {None}
    return len(names) < 2  # noqa: PLR2004


def _auth_claim(token: str | None, name: str) -> str | None:
    auth = claims(token).get(AUTH_CLAIM)
    return visible_text(auth.get(name)) if isinstance(auth, dict) else None


def seconds_claim(token: str | None, name: str) -> float | None:
    """Return a NumericDate claim (`exp`, `iat`; RFC 7519 section 2), or None.

    A boolean, a negative number or one past the year 9999 is no date.
    """
    value = claims(token).get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 < value < 253402300800 else None  # noqa: PLR2004


def expiry(access_token: str, last_refresh: datetime | None) -> float | None:
    """Return when an access token ends, in epoch seconds, or None if nothing tells.

    The token's own `exp` decides, however old the last refresh is; a token without one
    is taken to last `OPAQUE_LIFETIME_SECONDS` from its last refresh.
    """
    exp = seconds_claim(access_token, "exp")
    if exp is not None or last_refresh is None:
        return exp
    return last_refresh.timestamp() + OPAQUE_LIFETIME_SECONDS
