"""What an answer of the authority, or the lack of one, means; and what clients are told.

An outcome says three things at once: whether the authority was called, whether the token
may be spent, and what could help.

| outcome | the call | the token | helps |
|---|---|---|---|
| `refused` | answered | refused for good | a sign-in |
| `rejected` | answered, and not about the token | unspent | time, slowly |
| `misconfigured` | answered: not this client | unspent | better settings |
| `undelivered` | never arrived | unspent | time |
| `unclear` | may have arrived | may be spent | the same token once more |
| `throttled` | was not made | unspent | time |
"""

from __future__ import annotations

import math
from typing import Final, cast

from bearerd.errors import (
    AuthorityUnavailable,
    CredentialError,
    LoginRequired,
    RefreshThrottled,
)
from bearerd.events import RefreshOutcome

CLIENT_RETRY_LIMIT_SECONDS: Final = 5
"""Clients are told to ask again within 1 to 5 s, whatever the pause at the authority is:
asking bearerd costs the authority nothing, and a client that waits for a minute is one
that a person believes to hang."""

REASONS: Final = {
    "expired": "the refresh token has expired",
    "reused": "the refresh token was already used, by another program with a copy of "
    "this login",
    "revoked": "the login was revoked, by a sign-out or a new sign-in elsewhere",
    "other": "the authority refuses this login for good",
    "no_refresh_token": "the stored login has no refresh token",
}


class AuthorityFailure(Exception):
    """A refresh that gave no grant. *reason* is a code and never a body.

    *retry_after_seconds* is the pause that the authority asked for or, once the limiter
    has seen the failure, the pause that follows it. *is_slow* asks for the slow pace.
    *is_maybe_spent*: the connection died after the token was sent. *is_call* is false of
    a failure that is known without a call.
    """

    def __init__(
        self,
        outcome: RefreshOutcome,
        reason: str,
        *,
        retry_after_seconds: float | None = None,
        is_slow: bool = False,
        is_maybe_spent: bool = False,
        is_call: bool = True,
    ) -> None:
        super().__init__(f"{outcome}: {reason}")
        self.outcome = outcome
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds
        self.is_slow = is_slow
        self.is_maybe_spent = is_maybe_spent
        self.is_call = is_call

    def waiting(self, seconds: float) -> AuthorityFailure:
        """Return the same failure, with the pause that follows it."""
        return AuthorityFailure(
            self.outcome,
            self.reason,
            retry_after_seconds=seconds,
            is_slow=self.is_slow,
            is_maybe_spent=self.is_maybe_spent,
        )

    @classmethod
    def remembered(
        cls, outcome: str, reason: str, remaining_seconds: float
    ) -> AuthorityFailure:
        """Return a failure that was recorded, whose pause is not over."""
        return cls(
            cast("RefreshOutcome", outcome),
            reason,
            retry_after_seconds=remaining_seconds,
            is_call=False,
        )


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
    pause = math.ceil(failure.retry_after_seconds or 1)
    retry_after = max(1, min(CLIENT_RETRY_LIMIT_SECONDS, pause))
    if failure.outcome == "throttled":
        return RefreshThrottled(
            "the access token was rejected again and again, so the authority is not "
            f"asked for another one now; the next refresh may run in {pause} s",
            retry_after_seconds=retry_after,
        )
    return AuthorityUnavailable(
        f"the access token needs a refresh, and {_what_happened(failure)}; the login is "
        f"kept, and the authority is asked again in {pause} s",
        retry_after_seconds=retry_after,
    )


def _what_happened(failure: AuthorityFailure) -> str:
    reason = failure.reason
    if failure.outcome == "misconfigured":
        return (
            f"the authority rejects this client ({reason}): correct `client_id` or "
            "`token_url`, and restart bearerd"
        )
    if failure.outcome == "undelivered":
        return f"the authority was not reached ({reason})"
    if reason.startswith("http_"):
        return f"the authority answered {reason.removeprefix('http_')}"
    if failure.outcome == "rejected":
        return f"the authority answered with a refusal that is not about it ({reason})"
    return f"the authority gave no clear answer ({reason})"
