"""The events that bearerd emits, as frozen values.

The code that does something calls an `Observer`; log, metrics and event stream are
observers. An observer returns nothing, and an event never contains a secret.

Names are in the past tense: `CredentialRefreshed` is logged as `credential.refreshed`.
Times are epoch seconds, durations are seconds. `generation` numbers the credentials that
this process has cached for a profile, from 1 on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Literal, TypeAlias

Trigger: TypeAlias = Literal["expiring", "expired", "refused", "asked", "interrupted"]
"""Why a refresh ran: within the refresh window, after expiry, after a 401, by a command,
or because a process ended while it presented the token."""

RefreshSuccess: TypeAlias = Literal[
    "renewed",  # the authority returned a new credential
    "adopted",  # another process, or a sign-in, had just stored one
]
"""How a refresh that brought a credential ended."""

CallFailure: TypeAlias = Literal[
    "refused",  # permanently: expired, reused, revoked, other
    "undelivered",  # the call was not delivered to the authority
    "unclear",  # no usable response: the authority may have rotated the token
    "rejected",  # the response is not about the token, which is unspent
    "misconfigured",  # the authority rejects the client id
    "throttled",  # a limit on refreshes is reached; nothing was sent
]
"""How a refresh ended for which the authority returned no tokens."""

RefreshFailure: TypeAlias = (
    CallFailure | Literal["blocked"]  # the store holds another account, or no login
)
"""How a refresh that brought no credential ended."""

AbandonReason: TypeAlias = Literal["request_limit", "total_limit"]
"""The limit that a request body exceeds: that of a request, or that of all requests."""


class RecoveryPath(Enum):
    """How a request got another credential after a 401.

    The values are public: the label of a metric, and the text of `x-bearerd-recovery`.
    """

    NONE = ""
    RELOAD = "reload"  # a newer credential was cached or stored
    REFRESH = "refresh"  # the authority was called
    RELOAD_AND_REFRESH = "reload, refresh"

    def then(self, step: RecoveryPath) -> RecoveryPath:
        """Return this path extended by *step*. A repeated step counts once."""
        if self in (RecoveryPath.NONE, step):
            return step
        return RecoveryPath.RELOAD_AND_REFRESH


class RecoveryOutcome(Enum):
    """How the recovery from a 401 ended.

    The values are public: the label of a metric and, if bearerd generates or marks the
    response, the value of `x-bearerd-error`.
    """

    RECOVERED = "recovered"
    REFUSED = "refused"  # the upstream rejected the new credential too
    REPLAY_ABANDONED = "replay_abandoned"  # the body could not be sent again
    REFRESH_THROTTLED = "refresh_throttled"  # the budget of refreshes is used up
    LOGIN_REQUIRED = "login_required"
    ACCOUNT_CHANGED = "account_changed"
    AUTHORITY_UNAVAILABLE = "authority_unavailable"
    STORE_UNAVAILABLE = "store_unavailable"
    STORE_ERROR = "store_error"
    INTERNAL_ERROR = "internal_error"


@dataclass(frozen=True, slots=True)
class CredentialLoaded:
    """A credential was read from the store that this process had not cached."""

    profile: str
    generation: int
    account_id: str | None
    expires_at: float | None


@dataclass(frozen=True, slots=True)
class CredentialRefreshed:
    """A refresh succeeded: `outcome` is `renewed` or `adopted`."""

    profile: str
    trigger: Trigger
    outcome: RefreshSuccess
    generation: int
    duration_seconds: float
    expires_at: float | None


@dataclass(frozen=True, slots=True)
class RefreshFailed:
    """A refresh failed. `reason` is a code, never a response body.

    `is_call`: the failure is one of a call to the authority. `is_repeated`: the previous
    refresh failed with the same outcome and reason.
    """

    profile: str
    trigger: Trigger
    outcome: RefreshFailure
    reason: str
    generation: int
    duration_seconds: float
    is_call: bool = True
    is_repeated: bool = False


@dataclass(frozen=True, slots=True)
class LockWaited:
    """The lock beside the store was taken after a wait of `duration_seconds`."""

    profile: str
    duration_seconds: float


@dataclass(frozen=True, slots=True)
class LoginNeeded:
    """A person must sign in or run `bearerd adopt`. Emitted once for each cause.

    `code` is `login_required` or `account_changed`; `message` names the remedy.
    """

    profile: str
    code: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class LoginRestored:
    """The profile works again, after `LoginNeeded`."""

    profile: str
    generation: int


@dataclass(frozen=True, slots=True)
class CredentialHeldInMemory:
    """A new credential could not be stored: it is in the memory of this process only."""

    profile: str
    reason: str


@dataclass(frozen=True, slots=True)
class CredentialSaved:
    """A credential that was in memory only has been stored."""

    profile: str


@dataclass(frozen=True, slots=True)
class StoreTroubled:
    """The store cannot be read. A cached credential stays in use."""

    profile: str
    reason: str


@dataclass(frozen=True, slots=True)
class ClockJumped:
    """Wall clock and monotonic clock differ: the machine slept, or its time was set."""

    seconds: float


@dataclass(frozen=True, slots=True)
class RecoveryFinished:
    """The recovery from a 401 that was about the token has ended."""

    profile: str
    path: RecoveryPath
    outcome: RecoveryOutcome
    generation: int
    duration_seconds: float


@dataclass(frozen=True, slots=True)
class RequestFinished:
    """A request is finished.

    `client` is the name of its key. `status` is that of the response, or 499 if the
    client disconnected first. `code` is the code of the error if bearerd generated the
    response. `overhead_seconds` is bearerd's own share of the time until the response
    head was sent, or None if no request was sent to the upstream.
    """

    client: str
    profile: str
    method: str
    path: str
    status: int
    attempts: int
    code: str | None
    overhead_seconds: float | None
    duration_seconds: float


@dataclass(frozen=True, slots=True)
class ReplayAbandoned:
    """A request body exceeds a limit, so the request cannot be replayed after a 401."""

    profile: str
    reason: AbandonReason


@dataclass(frozen=True, slots=True)
class ServiceStarted:
    """The listeners are open. `relay` and `admin` are their addresses."""

    relay: tuple[str, ...]
    admin: str | None
    profiles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ServiceStopping:
    """The drain has started; `seconds` is how long requests in flight may take."""

    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ServiceStopped:
    """Everything is closed; `aborted` counts the requests that did not end in time."""

    aborted: int


Event: TypeAlias = (
    CredentialLoaded
    | CredentialRefreshed
    | RefreshFailed
    | LockWaited
    | LoginNeeded
    | LoginRestored
    | CredentialHeldInMemory
    | CredentialSaved
    | StoreTroubled
    | ClockJumped
    | RecoveryFinished
    | RequestFinished
    | ReplayAbandoned
    | ServiceStarted
    | ServiceStopping
    | ServiceStopped
)

Observer: TypeAlias = Callable[[Event], None]
