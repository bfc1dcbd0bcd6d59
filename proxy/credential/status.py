"""What a person is told of one profile's credential: a frozen value, and no secret."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

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
