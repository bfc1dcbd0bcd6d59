"""How calls to the authorization server fail, and what clients and people read then.

From the wire up:

1. `CallFailed`: no whole response arrived. `stage` says how far the call got.
2. `AuthorityFailure`: a refresh gave no tokens. The refresher acts on `outcome`.
3. `SignInFailed`, `RevocationFailed`: a command of a person did not succeed.
4. `client_error`: an `AuthorityFailure` as the error that clients and commands see.

Pure: no network, no clock.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum
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
to ask bearerd again costs the authority nothing, and a client that is silent for a minute
looks as if it hung."""

LINE_CHARACTERS: Final = 200
"""How much text from outside an error message quotes."""


class CallStage(Enum):
    """How far a call got. Only `SENT` leaves open whether the server has acted on it."""

    CONNECTING = "connecting"
    PROXY = "proxy"
    TLS = "tls"
    SENT = "sent"


_REMEDIES: Final = {
    CallStage.CONNECTING: "check the network with `bearerd doctor --online`",
    CallStage.PROXY: "check `upstream_proxy`",
    CallStage.TLS: "if a TLS proxy stands in between, set `ca_file` to its certificates",
    CallStage.SENT: "try again",
}


class CallFailed(AuthorityUnavailable):
    """No whole response to a call arrived.

    `reason` is a code for the log, such as `ConnectionRefusedError`; `detail` is the same
    fact for a person. Neither quotes a body or a password.
    """

    def __init__(self, url: str, stage: CallStage, *, reason: str, detail: str) -> None:
        self.url = url
        self.stage = stage
        self.reason = reason
        self.detail = detail
        fact = (
            "gave no whole response" if stage is CallStage.SENT else "was not reached"
        )
        super().__init__(f"{url} {fact}: {detail}; {self.remedy}")

    @property
    def remedy(self) -> str:
        """Return what a person can do about it."""
        return _REMEDIES[self.stage]


class AuthorityFailure(Exception):
    """A refresh gave no tokens.

    `outcome` says three things at once: what became of the call, whether the token may
    be spent, and what could help.

    | outcome | the call | the token | what helps |
    |---|---|---|---|
    | `refused` | answered, about the token | refused for good | a sign-in |
    | `rejected` | answered, and not about the token | unspent | time, slowly |
    | `misconfigured` | answered: not this client | unspent | better settings |
    | `undelivered` | never arrived | unspent | time |
    | `unclear` | may have arrived | may be spent | the same token once more |
    | `throttled` | was not made | unspent | time |

    `reason` is a code, never a body. `retry_after_seconds` is the pause that the
    authority asked for or, once the limiter has seen the failure, the pause that follows.
    `is_slow` asks for the slow pace. `is_maybe_spent`: the connection died after the
    token was sent. `is_call` is false of a failure that is known without a call.
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
    def recorded(
        cls, outcome: str, reason: str, remaining_seconds: float
    ) -> AuthorityFailure:
        """Return a failure that was recorded, whose pause is not over."""
        return cls(
            cast("RefreshOutcome", outcome),
            reason,
            retry_after_seconds=remaining_seconds,
            is_call=False,
        )


class SignInFailed(CredentialError):
    """A sign-in gave no credential. Nothing has changed."""

    code = "sign_in_failed"


class RevocationFailed(CredentialError):
    """The authority did not revoke a login, which therefore stays valid there."""

    code = "revocation_failed"


REASONS: Final[Mapping[str, str]] = {
    "expired": "the refresh token has expired",
    "reused": "the refresh token was already used, by another program with a copy of "
    "this login",
    "revoked": "the login was revoked, by a sign-out or a new sign-in elsewhere",
    "other": "the authority refuses this login for good",
    "no_refresh_token": "the stored login has no refresh token",
}
"""The text for each `RefusalReason`."""


def client_error(failure: AuthorityFailure, profile: str) -> CredentialError:
    """Return *failure* as the error that clients and commands see.

    It names the reason and the remedy. *profile* is the one to sign in to.
    """
    if failure.outcome == "refused":
        return _login_required(failure.reason, profile)
    pause = math.ceil(failure.retry_after_seconds or 1)
    retry_after = max(1, min(CLIENT_RETRY_LIMIT_SECONDS, pause))
    if failure.outcome == "throttled":
        return RefreshThrottled(
            "the upstream rejects one token after the other, so no more refreshes are "
            f"made for now; the next one may run in {pause} s",
            retry_after_seconds=retry_after,
        )
    fact, remedy = _fact_and_remedy(failure)
    return AuthorityUnavailable(
        f"the access token needs a refresh, and the authority {fact}; the login is "
        f"kept, and the authority is asked again in {pause} s{remedy}",
        retry_after_seconds=retry_after,
    )


def _fact_and_remedy(failure: AuthorityFailure) -> tuple[str, str]:
    reason = failure.reason
    if failure.outcome == "misconfigured":
        remedy = "; correct `client_id` or `token_url`, and restart bearerd"
        return f"rejects this client ({reason})", remedy
    if failure.outcome == "undelivered":
        remedy = "; look for the cause with `bearerd doctor --online`"
        return f"was not reached ({reason})", remedy
    if reason.startswith("http_"):
        return f"answered {reason.removeprefix('http_')}", ""
    return f"gave no clear answer ({reason})", ""


def _login_required(reason: str, profile: str) -> LoginRequired:
    command = "bearerd login"
    if profile != "default":
        command += f" --profile {profile}"
    return LoginRequired(
        f"{REASONS.get(reason, REASONS['other'])}; sign in again with `{command}` on the "
        "machine that runs bearerd",
        reason=reason,
    )


def one_line(text: str) -> str:
    """Return text from outside as one short line without control characters."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(printable.split())[:LINE_CHARACTERS]
