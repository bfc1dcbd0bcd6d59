"""The refresh in progress of one profile, and the publication of its result.

At most one refresh runs at a time, and all callers share it. A caller can be cancelled
or time out; the refresh continues and its result is stored. A failure is recorded as the
refresh problem of the profile, from which `conditions` derives what requests get.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass

from bearerd.clock import Clock
from bearerd.credential.authority.errors import AuthorityFailure, client_error
from bearerd.credential.cached import CachedCredential
from bearerd.credential.conditions import RefreshProblem
from bearerd.credential.profile_facts import ProfileFacts
from bearerd.credential.refresh.refresher import Refresher
from bearerd.credential.refresh.request import RefreshRequest, RefreshResult
from bearerd.credential.single_flight import SingleFlight
from bearerd.credential.store.account_pin import AccountPin
from bearerd.credential.store_loader import StoreLoader
from bearerd.credential.token import Credential
from bearerd.errors import (
    AccountChanged,
    AuthorityUnavailable,
    BearerdError,
    CredentialError,
    LoginRequired,
    StoreUnavailable,
)
from bearerd.events import (
    CredentialRefreshed,
    Observer,
    RefreshFailed,
    RefreshFailure,
    Trigger,
)

LOG = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 2
"""Retry-After for clients while a refresh is in progress. Their retry joins it."""


@dataclass(frozen=True, slots=True)
class _RunStart:
    """The trigger of a refresh, and when it started on the monotonic clock."""

    trigger: Trigger
    at: float


class RefreshRunner:
    """Runs the refreshes of one profile.

    Owns the refresh in progress and the outcome of the last one. *wait_timeout_seconds*
    is how long a caller waits; the refresh itself may take longer.
    """

    def __init__(
        self,
        *,
        profile: str,
        refresher: Refresher,
        pin: AccountPin,
        cached: CachedCredential,
        facts: ProfileFacts,
        loader: StoreLoader,
        clock: Clock,
        observe: Observer,
        wait_timeout_seconds: float,
    ) -> None:
        self._profile = profile
        self._refresher = refresher
        self._pin = pin
        self._cached = cached
        self._facts = facts
        self._loader = loader
        self._clock = clock
        self._observe = observe
        self._wait_timeout_seconds = wait_timeout_seconds
        self._single_flight: SingleFlight[Credential] = SingleFlight()
        self._last_failure: tuple[RefreshFailure, str] | None = None
        self._last_refreshed_at: float | None = None

    @property
    def waiters(self) -> int:
        """The number of callers that wait for the refresh in progress."""
        return self._single_flight.waiters

    @property
    def is_refreshing(self) -> bool:
        """True while a refresh is in progress."""
        return self._single_flight.is_in_progress

    @property
    def last_failure(self) -> tuple[RefreshFailure, str] | None:
        """The outcome and the reason of the last refresh, or None if it succeeded."""
        return self._last_failure

    @property
    def last_refreshed_at(self) -> float | None:
        """When the authority last issued a credential, in epoch seconds."""
        return self._last_refreshed_at

    @property
    def may_retry_refused(self) -> bool:
        """True if a refresh may be tried although this token was refused permanently.

        That is after an explicit retry, or after the upstream has accepted the
        credential. The limiter decides whether the authority is called.
        """
        return self._facts.is_retry_requested or self._refresher.is_accepted

    def record_acceptance(self) -> None:
        """Record that the upstream has accepted the cached credential."""
        self._refresher.record_acceptance()

    def start(self, trigger: Trigger) -> None:
        """Start a refresh unless one is in progress; do not wait for its result."""
        self._single_flight.start(lambda: self._run(trigger))

    async def wait(self, rejected: Credential | None, trigger: Trigger) -> Credential:
        """Return the result of a refresh; join the one in progress if there is one.

        *rejected* is the credential that the upstream has rejected, or None.

        Raises:
            LoginRequired, AccountChanged: a person must act.
            RefreshThrottled: the budget is used up.
            AuthorityUnavailable, StoreUnavailable: a retry may succeed.
        """
        deadline = self._clock.monotonic() + self._wait_timeout_seconds
        credential = await self._join(trigger, deadline)
        if rejected is not None and credential.access_token == rejected.access_token:
            # The joined refresh had started earlier, and its result is the credential
            # that the upstream has rejected in the meantime.
            credential = await self._join(trigger, deadline)
        return credential

    async def wait_idle(self) -> None:
        """Wait until no refresh is in progress."""
        await self._single_flight.wait_idle()

    async def publish(
        self, result: RefreshResult, trigger: Trigger, duration_seconds: float
    ) -> Credential:
        """Cache the result of a refresh and emit its event."""
        self._last_failure = None
        credential = await self._cache(result)
        self._loader.record_store_written()
        self._record_unsaved(result)
        self._observe(
            CredentialRefreshed(
                self._profile,
                trigger,
                result.outcome,
                self._cached.generation,
                duration_seconds,
                self._cached.schedule.expires_at,
            )
        )
        self._facts.assess()
        return credential

    async def _cache(self, result: RefreshResult) -> Credential:
        """Cache the credential of *result*; return it with its generation."""
        if result.outcome == "renewed":
            credential = self._cached.set_issued(
                result.credential, issued_at=result.issued_at
            )
            self._facts.clear_refresh_problem()
            self._last_refreshed_at = self._clock.now()
            await self._pin.learn(credential)
            return credential
        # The refresher chose it under the lock. After a permanent refusal it may be an
        # older login, so the two are not compared again.
        cached = self._cached.credential
        if cached is not None:
            self._refresher.record_replacement(cached, result.credential)
        return self._loader.set_cached(result.credential)

    def _record_unsaved(self, result: RefreshResult) -> None:
        """Record whether the cached credential is in memory only."""
        if result.unsaved is not None:
            # Another credential is unsaved now, so the event is emitted again.
            self._facts.set_unsaved(is_unsaved=False)
            self._loader.record_unsaved(result.unsaved.message)
        elif self._refresher.has_unsaved:
            # The file was missing when the response arrived, and is there again.
            self._loader.record_unsaved(
                f"{self._loader.store_name}: holds an older login; it will be replaced"
            )

    async def _join(self, trigger: Trigger, deadline: float) -> Credential:
        """Join the refresh in progress, or start one, and wait until *deadline*."""
        remaining_seconds = max(0.0, deadline - self._clock.monotonic())
        try:
            return await self._single_flight.run(
                lambda: self._run(trigger), timeout_seconds=remaining_seconds
            )
        except TimeoutError:
            raise AuthorityUnavailable(
                "the refresh of the access token did not complete within "
                f"{self._wait_timeout_seconds:.0f} s; it continues in the background, "
                "try again",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            ) from None

    async def _run(self, trigger: Trigger) -> Credential:
        """Run one refresh and publish its result. The single flight calls it."""
        start = _RunStart(trigger, self._clock.monotonic())
        problem_at_start = self._facts.store_problem
        request = self._take_request(trigger)
        try:
            result = await self._refresher.run(request)
            return await self.publish(
                result, trigger, self._clock.monotonic() - start.at
            )
        except AuthorityFailure as failure:
            self._emit_failed(
                start, failure.outcome, failure.reason, is_call=failure.is_call
            )
            raise self._record_failure(failure) from failure
        except StoreUnavailable as problem:
            self._emit_failed(start, "undelivered", problem.code)
            self._facts.record_refresh_problem(RefreshProblem(problem))
            self._facts.assess()
            raise
        except LoginRequired as problem:
            self._emit_failed(start, "blocked", problem.code)
            with suppress(BearerdError):
                self._loader.handle_problem(problem, problem_at_start)
            raise
        except AccountChanged as problem:
            self._emit_failed(start, "blocked", problem.code)
            await self._record_account_changed(problem)
            raise
        except Exception as error:
            # A defect, or an unexpected failure of the system. Clients must get a
            # response that they understand, and the daemon must continue.
            LOG.exception("a refresh failed with an unexpected error")
            self._emit_failed(start, "undelivered", type(error).__name__)
            raise self._record_unexpected(error) from error

    def _take_request(self, trigger: Trigger) -> RefreshRequest:
        """Return the input of a refresh that starts now; reset what asked for it."""
        return RefreshRequest(
            cached=self._cached.credential,
            account=self._pin.account,
            can_wait=trigger == "expiring",
            is_rejected=trigger == "refused",
            is_refused=self._facts.is_refused,
            is_forced=self._facts.take_retry_request(),
            skew_seconds=self._cached.skew_seconds,
        )

    def _record_failure(self, failure: AuthorityFailure) -> CredentialError:
        """Record *failure* as the refresh problem; return the error for clients."""
        error = client_error(failure, self._profile)
        retry_at = None
        if failure.retry_after_seconds is not None:
            retry_at = self._clock.now() + failure.retry_after_seconds
        self._facts.record_refresh_problem(
            RefreshProblem(
                error,
                is_final=isinstance(error, LoginRequired),
                is_misconfigured=failure.outcome == "misconfigured",
                retry_at=retry_at,
            )
        )
        self._facts.assess()
        return error

    async def _record_account_changed(self, problem: AccountChanged) -> None:
        """Record where the other account came from: the store or the authority.

        1. The store holds another account: `check` records that as a store problem.
        2. The authority issued a grant for another account. The store is unchanged, and
           its refresh token is spent; the access token may still be valid.
        """
        if await self._loader.check() is None:
            self._facts.record_refresh_problem(RefreshProblem(problem, is_final=True))
        self._facts.set_unsaved(is_unsaved=self._refresher.has_unsaved)
        self._facts.assess()

    def _record_unexpected(self, error: Exception) -> AuthorityUnavailable:
        """Record *error* as the refresh problem; return the error for clients."""
        unexpected = AuthorityUnavailable(
            "the refresh of the access token failed inside bearerd "
            f"({type(error).__name__}); try again, and see the log",
            retry_after_seconds=RETRY_AFTER_SECONDS,
        )
        self._facts.record_refresh_problem(RefreshProblem(unexpected))
        self._facts.assess()
        return unexpected

    def _emit_failed(
        self,
        start: _RunStart,
        outcome: RefreshFailure,
        reason: str,
        *,
        is_call: bool = False,
    ) -> None:
        """Emit `RefreshFailed`."""
        is_repeated = self._last_failure == (outcome, reason)
        self._last_failure = (outcome, reason)
        self._observe(
            RefreshFailed(
                self._profile,
                start.trigger,
                outcome,
                reason,
                self._cached.generation,
                self._clock.monotonic() - start.at,
                is_call=is_call,
                is_repeated=is_repeated,
            )
        )
