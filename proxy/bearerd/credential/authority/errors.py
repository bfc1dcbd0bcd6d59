"""What a client is told when a refresh gave nothing: the reason, and the remedy."""

from __future__ import annotations

import math

from bearerd.credential.authority.refresh_grant import AuthorityFailure
from bearerd.errors import (
    AuthorityUnavailable,
    CredentialError,
    LoginRequired,
    RefreshThrottled,
)

REASONS = {
    "expired": "the refresh token has expired",
    "reused": "the refresh token was already used, by another program with a copy of "
    "this login",
    "revoked": "the login was revoked, by a sign-out or a new sign-in elsewhere",
    "other": "the authority refuses this login for good",
}


def client_error(failure: AuthorityFailure, profile: str) -> CredentialError:
    """Return the error that stands for *failure* toward clients and commands."""
    if failure.outcome == "refused":
        command = "bearerd login"
        if profile != "default":
            command += f" --profile {profile}"
        why = REASONS.get(failure.reason, REASONS["other"])
        return LoginRequired(
            f"{why}; sign in again with `{command}` on the machine that runs bearerd",
            reason=failure.reason,
        )
    retry_after = max(1, math.ceil(failure.retry_after_seconds or 1))
    if failure.outcome == "throttled":
        return RefreshThrottled(
            "the token was refused again and again, so no more refreshes are asked of "
            f"the authority for now; the next may run in {retry_after} s",
            retry_after_seconds=retry_after,
        )
    what = (
        "was not reached"
        if failure.outcome == "undelivered"
        else "gave no clear answer"
    )
    return AuthorityUnavailable(
        f"the access token needs a refresh, and the authority {what} "
        f"({failure.reason}); the login is kept, try again in {retry_after} s",
        retry_after_seconds=retry_after,
    )
