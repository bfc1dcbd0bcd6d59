"""What is known of one profile: the facts behind its state.

The parts of the source learn them: the watch looks at the store, the flight refreshes,
the upstream accepts and rejects. A change may touch several facts, and what lies between
is no state of the profile; so whoever changes facts calls `assess` once at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from bearerd.clock import Clock
from bearerd.credential.cached import CachedCredential
from bearerd.credential.conditions import (
    Facts,
    ProfileState,
    RefreshProblem,
    StateTracker,
    StoreProblem,
)
from bearerd.credential.token import Credential


class ProfileFacts:
    """Owns the facts that are not derived from the cached credential, and the state.

    *changed* is called with the state before and the state now.
    """

    def __init__(
        self,
        cached: CachedCredential,
        clock: Clock,
        changed: Callable[[ProfileState, ProfileState], None],
    ) -> None:
        self._cached = cached
        self._tracker = StateTracker(clock.now, changed)
        self._store_problem: StoreProblem | None = None
        self._is_store_blocking = False
        self._refresh_problem: RefreshProblem | None = None
        self._is_unsaved = False
        self._rejected_generation = 0
        self._is_retry_wished = False

    def assess(self) -> ProfileState:
        """Return the state of the profile now; a change of it is announced."""
        held = self._cached.credential
        return self._tracker.update(
            Facts(
                has_credential=held is not None,
                is_expired=self._cached.is_expired,
                is_rejected=held is not None
                and self._rejected_generation == held.generation,
                is_unsaved=self._is_unsaved,
                store_problem=self._store_problem,
                is_store_blocking=self._is_store_blocking,
                refresh_problem=self._refresh_problem,
            )
        )

    @property
    def store_problem(self) -> StoreProblem | None:
        """What was wrong with the store at the last look, or None."""
        return self._store_problem

    @property
    def is_store_blocking(self) -> bool:
        """True if that holds for the credential in memory too."""
        return self._is_store_blocking

    @property
    def refresh_problem(self) -> RefreshProblem | None:
        """Why the last refresh gave nothing, or None."""
        return self._refresh_problem

    @property
    def is_refused(self) -> bool:
        """True if the authority has refused the refresh token for good."""
        return self._refresh_problem is not None and self._refresh_problem.is_final

    @property
    def is_unsaved(self) -> bool:
        """True if the credential is in memory only."""
        return self._is_unsaved

    @property
    def is_retry_wished(self) -> bool:
        """True if the next refresh overrides a remembered refusal or pause."""
        return self._is_retry_wished

    def store_failed(self, problem: StoreProblem, *, is_blocking: bool) -> None:
        """Note what is wrong with the store; a block stays until it can be read."""
        self._store_problem = problem
        self._is_store_blocking |= is_blocking

    def store_read(self) -> None:
        """Note that the store holds a login of this profile."""
        self._store_problem, self._is_store_blocking = None, False

    def store_written(self) -> None:
        """Note that the store holds what is in memory: it is neither torn nor away."""
        self._store_problem = None

    def saved(self, *, is_unsaved: bool) -> None:
        """Note whether the credential is in memory only."""
        self._is_unsaved = is_unsaved

    def refresh_failed(self, problem: RefreshProblem) -> None:
        """Note why a refresh gave nothing."""
        self._refresh_problem = problem

    def refresh_ended(self) -> None:
        """Note that no refresh is owed: there is a new credential."""
        self._refresh_problem = None

    def wish_retry(self) -> None:
        """Note that a person wants the next refresh to be tried at once."""
        self._is_retry_wished = True
        if self._refresh_problem is not None:
            self._refresh_problem = replace(self._refresh_problem, retry_at=None)

    def take_retry_wish(self) -> bool:
        """Return `is_retry_wished`, and fulfil the wish by that."""
        is_wished, self._is_retry_wished = self._is_retry_wished, False
        return is_wished

    def accepted(self) -> None:
        """Note that the upstream has accepted the credential held."""
        self._rejected_generation = 0
        problem = self._refresh_problem
        if problem is not None and not problem.is_final and not self._cached.is_due:
            # No refresh is wanted any more, so that the last one failed is over too.
            self.refresh_ended()
            self.assess()

    def rejected(self, credential: Credential) -> None:
        """Note that the upstream's last word on *credential* was a rejection."""
        if credential.generation == self._cached.generation:
            self._rejected_generation = credential.generation
