"""The facts about one profile, from which its state is computed.

Three parts record facts: the store loader reads the store, the refresh runner refreshes,
and the relay reports what the upstream accepts and rejects. One change may need several
calls here, and the intermediate values are not a state of the profile. So no method here
assesses by itself: its caller calls `assess` once, after its last call.

Two facts change with time alone: the credential expires, and a condition persists. The
background calls `assess` each second for them. Reading the state changes nothing.
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
    """Owns the facts that the cached credential does not contain, and the state.

    *on_change* is called with the previous state and the new one.
    """

    def __init__(
        self,
        cached: CachedCredential,
        clock: Clock,
        on_change: Callable[[ProfileState, ProfileState], None],
    ) -> None:
        self._cached = cached
        self._tracker = StateTracker(clock.now, on_change)
        self._store_problem: StoreProblem | None = None
        self._is_store_blocking = False
        self._refresh_problem: RefreshProblem | None = None
        self._is_unsaved = False
        self._rejected_generation = 0
        self._is_retry_requested = False

    @property
    def state(self) -> ProfileState:
        """The state of the profile at the last `assess`."""
        return self._tracker.state

    def assess(self) -> None:
        """Compute the state of the profile now, and report a change of it."""
        self._tracker.update(
            Facts(
                has_credential=self._cached.credential is not None,
                is_expired=self._cached.is_expired,
                is_rejected=self.is_rejected,
                is_unsaved=self._is_unsaved,
                store_problem=self._store_problem,
                is_store_blocking=self._is_store_blocking,
                refresh_problem=self._refresh_problem,
            )
        )

    @property
    def store_problem(self) -> StoreProblem | None:
        """The error of the last read of the store, or None."""
        return self._store_problem

    @property
    def is_store_blocking(self) -> bool:
        """True if `store_problem` also blocks the cached credential."""
        return self._is_store_blocking

    @property
    def refresh_problem(self) -> RefreshProblem | None:
        """Why the last refresh failed, or None."""
        return self._refresh_problem

    @property
    def is_refused(self) -> bool:
        """True if the authority has refused the refresh token permanently."""
        return self._refresh_problem is not None and self._refresh_problem.is_final

    @property
    def is_rejected(self) -> bool:
        """True if the upstream has rejected the cached credential, and not accepted it
        since.
        """
        credential = self._cached.credential
        return (
            credential is not None
            and self._rejected_generation == credential.generation
        )

    @property
    def is_unsaved(self) -> bool:
        """True if the cached credential is in memory only."""
        return self._is_unsaved

    @property
    def is_retry_requested(self) -> bool:
        """True if the next refresh ignores a recorded refusal or pause."""
        return self._is_retry_requested

    def record_store_problem(self, problem: StoreProblem, *, is_blocking: bool) -> None:
        """Record what is wrong with the store.

        *is_blocking* also blocks the cached credential, until `record_store_read`.
        """
        self._store_problem = problem
        self._is_store_blocking |= is_blocking

    def record_store_read(self) -> None:
        """Record that the store holds a login of this profile."""
        self._store_problem, self._is_store_blocking = None, False

    def record_store_written(self) -> None:
        """Record that the cached credential was written to the store.

        Then no problem is left that could block it.
        """
        self._store_problem, self._is_store_blocking = None, False

    def set_unsaved(self, *, is_unsaved: bool) -> None:
        """Record whether the cached credential is in memory only."""
        self._is_unsaved = is_unsaved

    def record_refresh_problem(self, problem: RefreshProblem) -> None:
        """Record why a refresh failed."""
        self._refresh_problem = problem

    def clear_refresh_problem(self) -> None:
        """Record that there is a new credential, or that no refresh is needed."""
        self._refresh_problem = None

    def request_retry(self) -> None:
        """Record that a person wants the next refresh to run at once."""
        self._is_retry_requested = True
        if self._refresh_problem is not None:
            self._refresh_problem = replace(self._refresh_problem, retry_at=None)

    def take_retry_request(self) -> bool:
        """Return `is_retry_requested`, and reset it."""
        is_requested, self._is_retry_requested = self._is_retry_requested, False
        return is_requested

    def record_acceptance(self) -> bool:
        """Record that the upstream has accepted the cached credential.

        Return True if that is news. It is none with almost every request, which then
        needs no `assess`.
        """
        is_news = self.is_rejected
        self._rejected_generation = 0
        problem = self._refresh_problem
        if problem is not None and not problem.is_final and not self._cached.is_due:
            # No refresh is due any more, so the failure of the last one is obsolete.
            self.clear_refresh_problem()
            is_news = True
        return is_news

    def record_rejection(self, credential: Credential) -> None:
        """Record that the upstream has rejected *credential*, and not accepted it since."""
        if credential.generation == self._cached.generation:
            self._rejected_generation = credential.generation
