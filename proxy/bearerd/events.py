"""The facts that bearerd announces, as frozen values.

Whoever does something tells an `Observer`; whoever wants to know (log, metrics, status)
is one. Nobody on the way back is asked anything, and an event never holds a secret.

Names are in the past tense: `CredentialRefreshed` is logged as `credential.refreshed`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

Trigger: TypeAlias = Literal["expiring", "expired", "refused", "asked", "interrupted"]
"""Why a refresh ran: inside the window, past expiry, after a 401, by command, or because
a process died while it presented the token."""

RefreshOutcome: TypeAlias = Literal[
    "renewed",  # the authority gave a new credential
    "adopted",  # another process, or a person, had just stored one
    "refused",  # for good: expired, reused, revoked, other
    "undelivered",  # the authority was not reached
    "unclear",  # it may have acted, and we do not know
    "rejected",  # it answered, and not about the token; nothing was spent
    "misconfigured",  # it rejects our client id
    "throttled",  # the budget is spent; nothing was sent
    "blocked",  # the store holds another account, or nothing
]


@dataclass(frozen=True, slots=True)
class CredentialLoaded:
    """The store gave a credential that this process did not hold yet."""

    profile: str
    generation: int
    account_id: str | None
    expires_at: float | None


@dataclass(frozen=True, slots=True)
class CredentialRefreshed:
    """A refresh ended well: `outcome` is `renewed` or `adopted`."""

    profile: str
    trigger: Trigger
    outcome: RefreshOutcome
    generation: int
    duration_seconds: float
    expires_at: float | None


@dataclass(frozen=True, slots=True)
class RefreshFailed:
    """A refresh ended without a new credential. `reason` is a code, never a body.

    *is_call*: the authority was called, or would have been. *is_repeated*: the refresh
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
    """The lock beside the store was taken after `duration_seconds`."""

    profile: str
    duration_seconds: float


@dataclass(frozen=True, slots=True)
class LoginNeeded:
    """A person has to act; said once until the credential changes.

    `code` is `login_required` or `account_changed`; `message` names the remedy.
    """

    profile: str
    code: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class LoginRestored:
    """A usable credential is back after `LoginNeeded`."""

    profile: str
    generation: int


@dataclass(frozen=True, slots=True)
class CredentialHeldInMemory:
    """A new credential could not be written; the login lives in this process only."""

    profile: str
    reason: str


@dataclass(frozen=True, slots=True)
class CredentialSaved:
    """A credential that lived in memory only has reached the store after all."""

    profile: str


@dataclass(frozen=True, slots=True)
class StoreTroubled:
    """The store cannot be read; what is held is served meanwhile."""

    profile: str
    reason: str


@dataclass(frozen=True, slots=True)
class ClockJumped:
    """Wall clock and monotonic clock disagree: suspend, or somebody set the time."""

    seconds: float


@dataclass(frozen=True, slots=True)
class RecoveryFinished:
    """What followed a 401. `path` is `reload`, `refresh`, `reload, refresh` or empty.

    `outcome` is `recovered`, `refused`, `resource` (the 401 was not about the token),
    `throttled`, `replay_abandoned` or an error's code.
    """

    profile: str
    path: str
    outcome: str
    generation: int
    duration_seconds: float
    trigger: Trigger = "refused"  # the only one; said so that lines can be compared


@dataclass(frozen=True, slots=True)
class RequestFinished:
    """One exchange is over. `status` is what the client saw, 499 when it left first.

    `overhead_seconds` is our own share until the response's head went out, or None when
    no upstream was asked; `code` is the error's code when bearerd itself answered.
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
    """A request body outgrew what may be kept; a 401 can no longer be replayed."""

    profile: str
    reason: Literal["request_limit", "total_limit"]


@dataclass(frozen=True, slots=True)
class ServiceStarted:
    """The listeners are open."""

    relay: tuple[str, ...]
    admin: str | None
    profiles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ServiceStopping:
    """Draining has begun; `seconds` is how long requests in flight may still take."""

    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ServiceStopped:
    """Everything is closed; `aborted` counts requests that did not end in time."""

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
