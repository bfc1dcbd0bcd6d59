"""The status of one profile for operators, and the events of its state changes.

Frozen values that contain no secret.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bearerd.credential.cached import CachedCredential
from bearerd.credential.conditions import SIGN_IN_CODES, ProfileState, StateKind
from bearerd.errors import StoreUnavailable
from bearerd.events import (
    Event,
    LoginNeeded,
    LoginRestored,
    RefreshFailure,
    StoreTroubled,
)

STORE_CODES = frozenset({StoreUnavailable.code, "store_unreadable"})


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """The status of one profile. Times are epoch seconds.

    *state* is `usable`, `degraded` or `blocked`; *code*, *reason*, *message*, *since*,
    *needs_person*, *needs_sign_in* and *retry_at* explain it. *since* is None if no
    daemon serves the profile. *needs_sign_in*: a sign-in, or `bearerd adopt`, is needed.
    *last_error* is the outcome and the reason of the last refresh, or None if it
    succeeded.
    """

    profile: str
    store: str
    state: str
    since: float | None
    code: str | None
    reason: str | None
    message: str | None
    needs_person: bool
    needs_sign_in: bool
    retry_at: float | None
    account_id: str | None
    generation: int
    expires_at: float | None
    refresh_at: float | None
    last_refreshed_at: float | None
    in_memory_only: bool
    last_error: str | None

    @property
    def is_usable(self) -> bool:
        """True if the profile is not blocked, so requests are served."""
        return self.state != StateKind.BLOCKED.value

    @property
    def is_well(self) -> bool:
        """True if nothing is wrong with the profile."""
        return self.state == StateKind.USABLE.value


def source_status(
    profile: str,
    store_name: str,
    *,
    cached: CachedCredential,
    state: ProfileState,
    is_unsaved: bool,
    last_failure: tuple[RefreshFailure, str] | None,
    last_refreshed_at: float | None,
) -> SourceStatus:
    """Return the status of a profile in *state*."""
    credential = cached.credential
    return SourceStatus(
        profile=profile,
        store=store_name,
        state=state.kind.value,
        since=state.since,
        code=state.code,
        reason=state.reason,
        message=state.message,
        needs_person=state.needs_person,
        needs_sign_in=state.needs_sign_in,
        retry_at=state.retry_at,
        account_id=credential.account_id if credential else None,
        generation=cached.generation,
        expires_at=cached.schedule.expires_at,
        refresh_at=cached.schedule.refresh_at,
        last_refreshed_at=last_refreshed_at,
        in_memory_only=is_unsaved,
        last_error=": ".join(last_failure) if last_failure else None,
    )


def state_events(
    profile: str, before: ProfileState, now: ProfileState, generation: int
) -> Iterator[Event]:
    """Yield the events of a change from *before* to *now*.

    `LoginNeeded` is emitted once, and again if its message changes. `LoginRestored` is
    emitted once, when the profile works again.
    """
    is_changed = (before.code, before.message) != (now.code, now.message)
    if now.code in SIGN_IN_CODES and is_changed:
        code, message = now.code or "", now.message or ""
        yield LoginNeeded(profile, code, now.reason or code, message)
    elif before.needs_sign_in and not now.needs_sign_in:
        yield LoginRestored(profile, generation)
    if now.code in STORE_CODES and is_changed:
        yield StoreTroubled(profile, now.message or "")
