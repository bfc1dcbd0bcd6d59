"""What a person is told of one profile's credential: a frozen value, and no secret."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from bearerd.credential.cached import Holding
from bearerd.credential.conditions import Problems
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


def described(
    profile: str,
    store_name: str,
    *,
    holding: Holding,
    problems: Problems,
    is_refused: bool,
    is_in_memory_only: bool,
    last_refreshed_at: float | None,
) -> SourceStatus:
    """Return the status; *is_refused*: the upstream's last word on what is held."""
    problem, held, failure = problems.worst, holding.credential, problems.last_failure
    told = problem or problems.passing
    return SourceStatus(
        profile=profile,
        store=store_name,
        state=_state(holding, problems, is_refused=is_refused),
        reason=problem.reason if isinstance(problem, LoginRequired) else None,
        message=told.message if told else None,
        account_id=held.account_id if held else None,
        generation=holding.generation,
        expires_at=holding.due.expires_at,
        refresh_at=holding.due.at,
        last_refreshed_at=last_refreshed_at,
        in_memory_only=is_in_memory_only,
        last_error=": ".join(failure) if failure else None,
    )


def _state(holding: Holding, problems: Problems, *, is_refused: bool) -> State:
    if isinstance(problems.blocking, AccountChanged):
        return "account_changed"
    if problems.blocking is not None or holding.credential is None:
        return "login_required"
    if problems.final is None:
        return "expired" if holding.is_expired else "ready"
    # No refresh will succeed; the access token may live on all the same.
    return "login_required" if holding.is_expired or is_refused else "ready"
