"""What stands in the way of one profile, said once.

Two kinds, that must not be mixed up. The store may *block*: it holds nothing, or
somebody else's login, and nothing is signed until that changes. The authority's word may
be *final*: no refresh will ever succeed again, and yet the access token may live for
days. Failures that pass are only remembered, so that the same one is not told twice.
"""

from __future__ import annotations

from typing import TypeAlias

from bearerd.errors import AccountChanged, LoginRequired
from bearerd.events import (
    LoginNeeded,
    LoginRestored,
    Observer,
    RefreshFailed,
    RefreshOutcome,
    StoreTroubled,
    Trigger,
)

Blocking: TypeAlias = LoginRequired | AccountChanged


class Conditions:
    """Owns the problems of one profile, and tells *observe* when they change."""

    def __init__(self, profile: str, observe: Observer) -> None:
        self._profile = profile
        self._observe = observe
        self.blocking: Blocking | None = None
        self.terminal: LoginRequired | None = None
        self.transient: Blocking | None = None
        self.last_failure: tuple[RefreshOutcome, str] | None = None

    @property
    def most_severe(self) -> Blocking | None:
        """Return what a person has to act on, if anything."""
        return self.blocking or self.terminal

    def tolerate(self, problem: Blocking) -> None:
        """Note what may pass by itself, while what is held is served; tell it once."""
        before, self.transient = self.transient, problem
        if before is None or before.message != problem.message:
            self._observe(StoreTroubled(self._profile, problem.message))

    def block(self, problem: Blocking) -> Blocking:
        """Note that the store allows nothing to be signed; return *problem*."""
        before, self.blocking = self.blocking, problem
        if before is None or before.message != problem.message:
            self._announce(problem)
        return problem

    def clear(self, generation: int, *, is_new: bool) -> None:
        """Note that the store holds a login of ours; *is_new* clears a final word."""
        had_problem = self.most_severe is not None
        self.blocking = self.transient = None
        if is_new:
            self.terminal = None
        if had_problem and self.most_severe is None:
            self._observe(LoginRestored(self._profile, generation))

    def set_terminal(self, error: LoginRequired) -> None:
        """Note the authority's final word on what is held."""
        if self.terminal is None:
            self._announce(error)
        self.terminal = error

    def record_failure(
        self,
        trigger: Trigger,
        outcome: RefreshOutcome,
        reason: str,
        *,
        generation: int,
        duration_seconds: float,
    ) -> None:
        """Note a refresh that failed; the same failure again is not told again."""
        is_news = self.last_failure != (outcome, reason)
        self.last_failure = (outcome, reason)
        if is_news:
            self._observe(
                RefreshFailed(
                    self._profile,
                    trigger,
                    outcome,
                    reason,
                    generation,
                    duration_seconds,
                )
            )

    def record_success(self) -> None:
        """Note a refresh that did not fail."""
        self.last_failure = None

    def _announce(self, problem: Blocking) -> None:
        reason = problem.reason if isinstance(problem, LoginRequired) else problem.code
        self._observe(LoginNeeded(self._profile, problem.code, reason, problem.message))
