"""The failures of calls to the authorization server, and the errors made of them.

From the wire up:

1. `CallFailed`: no complete response arrived. `stage` is how far the call got.
2. `AuthorityFailure`: a refresh returned no tokens. The refresher acts on `outcome`.
3. `SignInFailed`, `RevocationFailed`: a command failed.
4. `client_error`: translates an `AuthorityFailure` for clients and commands.

Pure: no network, no clock.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum
from http import HTTPStatus
from typing import Final, get_args

from bearerd.errors import (
    AuthorityUnavailable,
    CredentialError,
    LoginRequired,
    RefreshThrottled,
)
from bearerd.events import CallFailure

CLIENT_RETRY_LIMIT_SECONDS: Final = 5
"""Retry-After for clients is 1 to 5 s, even if the authority is not called for longer. A
retry causes no call to the authority, and a client that waits for a minute seems to
hang."""

LINE_CHARACTERS: Final = 200
"""The maximum length of external text in an error message."""


class CallStage(Enum):
    """How far a call got. Only after `SENT` the server may have processed the request."""

    CONNECTING = "connecting"
    PROXY = "proxy"
    TLS = "tls"
    SENT = "sent"


_REMEDIES: Final = {
    CallStage.CONNECTING: "check the network with `bearerd doctor --online`",
    CallStage.PROXY: "check `upstream_proxy`",
    CallStage.TLS: "if a TLS proxy is in use, set `ca_file` to its certificates",
    CallStage.SENT: "try again",
}


class CallFailed(AuthorityUnavailable):
    """No complete response to a call arrived.

    `reason` is a code for the log, such as `ConnectionRefusedError`; `detail` is the same
    fact as text. Neither contains a body or a password.
    """

    def __init__(self, url: str, stage: CallStage, *, reason: str, detail: str) -> None:
        self.url = url
        self.stage = stage
        self.reason = reason
        self.detail = detail
        fact = (
            "sent no complete response"
            if stage is CallStage.SENT
            else "was not reached"
        )
        super().__init__(f"{url} {fact}: {detail}; {self.remedy}")

    @property
    def remedy(self) -> str:
        """What a person can do about it."""
        return _REMEDIES[self.stage]


_CALL_FAILURES: Final[Mapping[str, CallFailure]] = {
    outcome: outcome for outcome in get_args(CallFailure)
}


class AuthorityFailure(Exception):
    """A refresh returned no tokens.

    `outcome` implies what happened to the call, the state of the token, and the remedy:

    | outcome | the call | the token | the remedy |
    |---|---|---|---|
    | `refused` | the response is about the token | refused permanently | a sign-in |
    | `rejected` | the response is not about the token | unspent | a retry, slowly |
    | `misconfigured` | the response rejects the client | unspent | correct settings |
    | `undelivered` | was not delivered | unspent | a retry |
    | `unclear` | may have been delivered | maybe spent | a retry with the same token |
    | `throttled` | was not made | unspent | a retry, later |

    `reason` is a code, never a body. `retry_after_seconds` is the Retry-After of the
    response or, once the limiter has recorded the failure, the pause that follows.
    `is_slow`: the slow pace applies. `is_maybe_spent`: the connection was lost after the
    token was sent. `is_call` is False if the failure is known without a call. `status` is
    that of the response, or None if none was used.
    """

    def __init__(
        self,
        outcome: CallFailure,
        reason: str,
        *,
        status: int | None = None,
        retry_after_seconds: float | None = None,
        is_slow: bool = False,
        is_maybe_spent: bool = False,
        is_call: bool = True,
    ) -> None:
        super().__init__(f"{outcome}: {reason}")
        self.outcome = outcome
        self.reason = reason
        self.status = status
        self.retry_after_seconds = retry_after_seconds
        self.is_slow = is_slow
        self.is_maybe_spent = is_maybe_spent
        self.is_call = is_call

    def waiting(self, seconds: float) -> AuthorityFailure:
        """Return the same failure with the pause that follows it."""
        return AuthorityFailure(
            self.outcome,
            self.reason,
            status=self.status,
            retry_after_seconds=seconds,
            is_slow=self.is_slow,
            is_maybe_spent=self.is_maybe_spent,
            is_call=self.is_call,
        )

    @classmethod
    def recorded(
        cls, outcome: str, reason: str, status: int | None, remaining_seconds: float
    ) -> AuthorityFailure:
        """Return a failure from the store's state whose pause is not over.

        An outcome of another version is taken for the most cautious one.
        """
        return cls(
            _CALL_FAILURES.get(outcome, "unclear"),
            reason,
            status=status,
            retry_after_seconds=remaining_seconds,
            is_call=False,
        )


class SignInFailed(CredentialError):
    """A sign-in returned no credential. The stored login is unchanged."""

    code = "sign_in_failed"


class RevocationFailed(CredentialError):
    """The authority did not revoke a login, which stays valid there."""

    code = "revocation_failed"


NO_REFRESH_TOKEN: Final = "no_refresh_token"  # noqa: S105 - a code
"""The reason of `refused` if the stored login has no refresh token."""

NO_ACCESS_TOKEN: Final = "no_access_token"  # noqa: S105 - a code
"""The reason of `unclear` if the response has a refresh token only."""

TOO_LARGE: Final = "answer_too_large"
"""The reason of `unclear` if the response is larger than any token response."""

TOO_LATE: Final = "too_late"
"""The reason of `undelivered` if connecting took too long, and nothing was sent."""

NO_JOURNAL: Final = "no_journal"
"""The reason of `undelivered` if the refresh could not be recorded."""

UPSTREAM_REJECTS_NEW_TOKENS: Final = "upstream_refuses_fresh_tokens"
"""The reason of `throttled` if the budget is not used up."""

REASONS: Final[Mapping[str, str]] = {
    "expired": "the refresh token has expired",
    "reused": "the refresh token was already used: another program has a copy of this "
    "login, an older file was restored, or the response to a refresh was lost",
    "revoked": "the login was revoked, by a sign-out or a new sign-in elsewhere",
    "other": "the authority refuses this login permanently",
    NO_REFRESH_TOKEN: "the stored login has no refresh token",
}
"""The text for each `RefusalReason`."""


_THROTTLED: Final = {
    "budget": "the limit on refreshes is reached (`refresh_burst`)",
    UPSTREAM_REJECTS_NEW_TOKENS: "the upstream rejects each new access token, so "
    "refreshes are paused",
}
"""Why a refresh is throttled, by the reason of the failure."""

_NOT_SENT: Final = {
    NO_JOURNAL: (
        "no journal can be written before the token is sent",
        "; make the folder of the store writable for this user",
    ),
    TOO_LATE: (
        "the connection to the authority took too long, so nothing was sent",
        "",
    ),
}
"""Fact and remedy if nothing was sent, and the network is not the reason."""

_UNUSABLE: Final = frozenset({NO_ACCESS_TOKEN, TOO_LARGE})
"""The reasons that mean a complete but unusable response."""


def client_error(failure: AuthorityFailure, profile: str) -> CredentialError:
    """Translate *failure* for clients and commands.

    The message names the reason and the remedy. *profile* is the profile to sign in to.
    """
    if failure.outcome == "refused":
        return _login_required(failure.reason, profile)
    pause = math.ceil(failure.retry_after_seconds or 1)
    retry_after = max(1, min(CLIENT_RETRY_LIMIT_SECONDS, pause))
    if failure.outcome == "throttled":
        fact = _THROTTLED.get(failure.reason, _THROTTLED["budget"])
        return RefreshThrottled(
            f"{fact}; the next refresh may run in {pause} s",
            retry_after_seconds=retry_after,
        )
    fact, remedy = _fact_and_remedy(failure)
    return AuthorityUnavailable(
        f"the access token needs a refresh, and {fact}; the login is kept, and the next "
        f"attempt is in {pause} s{remedy}",
        retry_after_seconds=retry_after,
    )


def _fact_and_remedy(failure: AuthorityFailure) -> tuple[str, str]:
    reason = failure.reason
    if failure.outcome == "misconfigured":
        remedy = "; correct `client_id` or `token_url`, and restart bearerd"
        return f"the authority rejects this client ({reason})", remedy
    if reason in _NOT_SENT:
        return _NOT_SENT[reason]
    if failure.outcome == "undelivered":
        remedy = "; find the cause with `bearerd doctor --online`"
        return f"the authority was not reached ({reason})", remedy
    status = failure.status
    if status is not None and status >= HTTPStatus.MULTIPLE_CHOICES:
        return f"the authority answered {status}", ""
    if status is not None or reason in _UNUSABLE:
        return f"the authority sent no usable response ({reason})", ""
    return f"the authority sent no complete response ({reason})", ""


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
    """Return external text as one short line without control characters."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(printable.split())[:LINE_CHARACTERS]
