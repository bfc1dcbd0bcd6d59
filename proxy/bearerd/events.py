"""The events that bearerd emits, as frozen values.

The code that does something calls an `Observer`; log, metrics and event stream are
observers. An observer returns nothing, and an event never contains a secret.

A name is in the past tense: `CredentialRefreshed` is logged as `credential.refreshed`.
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

RefreshOutcome: TypeAlias = Literal[
    "renewed",  # the authority returned a new credential
    "adopted",  # another process, or a sign-in, had just stored one
    "refused",  # permanently: expired, reused, revoked, other
    "undelivered",  # the authority was not reached
    "unclear",  # the authority may have rotated the token, but the response is unclear
    "rejected",  # the authority answered, and not about the token: nothing is spent
    "misconfigured",  # the authority rejects the client id
    "throttled",  # the limit on refreshes is reached; nothing was sent
    "blocked",  # the store holds another account, or nothing
]


AbandonReason: TypeAlias = Literal["request_limit", "total_limit"]
"""Which limit a request body outgrew: its own, or the one of all bodies together."""


class RecoveryPath(Enum):
    """How a request got another credential after a 401.

    The values are public: the label of a metric, and the text of `x-bearerd-recovery`.
    """

    NONE = ""
    RELOAD = "reload"  # a newer one was cached, or was found in the store
    REFRESH = "refresh"  # the authority was asked
    RELOAD_AND_REFRESH = "reload, refresh"

    def then(self, step: RecoveryPath) -> RecoveryPath:
        """Return the path that goes on with *step*. A step taken twice counts once."""
        if self in (RecoveryPath.NONE, step):
            return step
        return RecoveryPath.RELOAD_AND_REFRESH


class RecoveryOutcome(Enum):
    """How the recovery from a 401 ended.

    The values are public: the label of a metric, and, where bearerd or its mark is what
    the client gets, the text of `x-bearerd-error`.
    """

    RECOVERED = "recovered"
    REFUSED = "refused"  # the upstream refused a fresh credential too
    REPLAY_ABANDONED = "replay_abandoned"  # the body could not be sent again
    REFRESH_THROTTLED = "refresh_throttled"  # the budget of refreshes is spent
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
    outcome: RefreshOutcome
    generation: int
    duration_seconds: float
    expires_at: float | None


@dataclass(frozen=True, slots=True)
class RefreshFailed:
    """A refresh gave no new credential. `reason` is a code, never a response body.

    `is_call`: the authority was called, or would have been. `is_repeated`: the refresh
    before failed in the same way.
    """

    profile: str
    trigger: Trigger
    outcome: RefreshOutcome
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
    """An operator has to act. Emitted once, until the credential changes.

    `code` is `login_required` or `account_changed`; `message` names the remedy.
    """

    profile: str
    code: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class LoginRestored:
    """There is a usable credential again, after `LoginNeeded`."""

    profile: str
    generation: int


@dataclass(frozen=True, slots=True)
class CredentialHeldInMemory:
    """A new credential could not be stored: the login is in this process only."""

    profile: str
    reason: str


@dataclass(frozen=True, slots=True)
class CredentialSaved:
    """A credential that was in memory only is in the store now."""

    profile: str


@dataclass(frozen=True, slots=True)
class StoreTroubled:
    """The store cannot be read. The cached credential stays in use."""

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
    client left first. `code` is set if bearerd itself answered, with an error.
    `overhead_seconds` is bearerd's own share of the time until the head of the response
    was sent, or None if no upstream was asked.
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
    """The drain has begun; `seconds` is how long requests in flight may take."""

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
