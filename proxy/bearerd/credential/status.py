"""What a person is told of one profile's credential: a frozen value, and no secret."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from bearerd.credential.cached import CachedCredential
from bearerd.credential.conditions import Conditions
from bearerd.errors import AccountChanged, LoginRequired

State: TypeAlias = Literal["ready", "expired", "login_required", "account_changed"]
"""`expired` is by the clock, and a refresh may still mend it."""


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """One profile's credential. Times are epoch seconds.

    `message` is the sentence with the remedy when a person has to act; while `state` is
    still `ready`, it says what ends when the access token does. `last_error` is the
    last refresh that failed, as outcome and reason.
    """

    profile: str
    store: str
    state: State
    reason: str | None
    message: str | None
    account_id: str | None
    generation: int
    expires_at: float | None
    refresh_at: float | None
    last_refreshed_at: float | None
    in_memory_only: bool
    last_error: str | None

    @property
    def is_ready(self) -> bool:
        """Return True if requests get the credential that is cached now."""
        return self.state == "ready"

    @property
    def is_usable(self) -> bool:
        """Return True if requests get a credential, perhaps after a refresh."""
        return self.state in {"ready", "expired"}

    @property
    def needs_person(self) -> bool:
        """Return True if an operator has to act, now or before the token expires.

        The one rule behind health, status page, metrics and `bearerd status --check`.
        """
        return not self.is_usable or self.message is not None


def described(
    profile: str,
    store_name: str,
    *,
    cached: CachedCredential,
    conditions: Conditions,
    is_refused: bool,
    is_in_memory_only: bool,
    last_refreshed_at: float | None,
) -> SourceStatus:
    """Return the status; *is_refused*: the upstream's last word on what is held."""
    problem, held, failure = (
        conditions.most_severe,
        cached.credential,
        conditions.last_failure,
    )
    told = problem or conditions.transient
    return SourceStatus(
        profile=profile,
        store=store_name,
        state=_state(cached, conditions, is_refused=is_refused),
        reason=problem.reason if isinstance(problem, LoginRequired) else None,
        message=told.message if told else None,
        account_id=held.account_id if held else None,
        generation=cached.generation,
        expires_at=cached.due.expires_at,
        refresh_at=cached.due.at,
        last_refreshed_at=last_refreshed_at,
        in_memory_only=is_in_memory_only,
        last_error=": ".join(failure) if failure else None,
    )


def _state(
    cached: CachedCredential, conditions: Conditions, *, is_refused: bool
) -> State:
    if isinstance(conditions.blocking, AccountChanged):
        return "account_changed"
    if conditions.blocking is not None or cached.credential is None:
        return "login_required"
    if conditions.terminal is None:
        return "expired" if cached.is_expired else "ready"
    # No refresh will succeed; the access token may live on all the same.
    return "login_required" if cached.is_expired or is_refused else "ready"
