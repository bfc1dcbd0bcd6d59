"""The refresh under way: at most one, whoever waits for it, and its result published.

Callers may leave it or lose patience; it goes on, and its result is stored. How it failed
is kept as the profile's refresh problem, which `conditions` assesses and requests get.
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
from bearerd.credential.store_watch import StoreWatch
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
    RefreshOutcome,
    Trigger,
)

LOG = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 2
"""What clients are told while a refresh is waited for: asking again costs no call."""


@dataclass(frozen=True, slots=True)
class _Begun:
    """What a refresh began from; *at* is monotonic."""

    trigger: Trigger
    at: float


class RefreshFlight:
    """Runs the refreshes of one profile. Owns the one under way, and how the last ended."""

    def __init__(
        self,
        *,
        profile: str,
        refresher: Refresher,
        pin: AccountPin,
        cached: CachedCredential,
        facts: ProfileFacts,
        watch: StoreWatch,
        clock: Clock,
        observe: Observer,
        patience_seconds: float,
    ) -> None:
        self._profile = profile
        self._refresher = refresher
        self._pin = pin
        self._cached = cached
        self._facts = facts
        self._watch = watch
        self._clock = clock
        self._observe = observe
        self._patience_seconds = patience_seconds
        self._single_flight: SingleFlight[Credential] = SingleFlight()
        self._is_accepted = False  # by the upstream, since the last refresh
        self._last_failure: tuple[RefreshOutcome, str] | None = None
        self._last_refreshed_at: float | None = None

    @property
    def waiters(self) -> int:
        """How many callers wait for the refresh under way."""
        return self._single_flight.waiters

    @property
    def is_refreshing(self) -> bool:
        """True while a refresh is under way."""
        return self._single_flight.is_under_way

    @property
    def last_failure(self) -> tuple[RefreshOutcome, str] | None:
        """The outcome and the reason of the last refresh, if it failed."""
        return self._last_failure

    @property
    def last_refreshed_at(self) -> float | None:
        """When the authority issued a credential last, in epoch seconds."""
        return self._last_refreshed_at

    @property
    def may_ask_again(self) -> bool:
        """True if something speaks for a call although this token was refused for good.

        The limiter decides whether it is made.
        """
        return self._facts.is_retry_wished or self._is_accepted

    def note_accepted(self) -> None:
        """Note that the upstream has accepted the credential held."""
        self._refresher.note_accepted()
        self._is_accepted = True

    def start(self, trigger: Trigger) -> None:
        """Start a refresh unless one is under way; its result is not waited for."""
        self._single_flight.start(lambda: self._run(trigger))

    async def wait(self, rejected: Credential | None, trigger: Trigger) -> Credential:
        """Return the result of a refresh, joining the one under way.

        Raises:
            LoginRequired, AccountChanged: a person must act.
            RefreshThrottled: the budget is spent.
            AuthorityUnavailable, StoreUnavailable: worth another try soon.
        """
        deadline = self._clock.monotonic() + self._patience_seconds
        credential = await self._join(trigger, deadline)
        if rejected is not None and credential.access_token == rejected.access_token:
            # It began before *rejected* was, and brought what has been rejected since.
            credential = await self._join(trigger, deadline)
        return credential

    async def wait_idle(self) -> None:
        """Wait until no refresh is under way."""
        await self._single_flight.wait_idle()

    async def publish(
        self, result: RefreshResult, trigger: Trigger, duration_seconds: float
    ) -> Credential:
        """Hold what a refresh gave, and announce it."""
        self._last_failure = None
        if result.outcome == "renewed":
            credential = self._cached.set_received(
                result.credential, issued_at=result.issued_at
            )
            self._facts.refresh_ended()
            self._last_refreshed_at = self._clock.now()
            await self._pin.learn(credential)
        else:
            # Decided under the lock: after a refusal for good an older file may win.
            held = self._cached.credential
            if held is not None:
                self._refresher.note_displaced(held, result.credential)
            credential = self._watch.hold(result.credential)
        self._watch.note_saved()
        if result.unsaved is not None:
            self._facts.saved(is_unsaved=False)  # announced anew: it is another one
            self._watch.hold_in_memory(result.unsaved.message)
        elif self._refresher.has_unsaved:
            # Its file was gone when it came, and is back.
            self._watch.hold_in_memory(
                f"{self._watch.store_name}: holds an older login; it will be replaced"
            )
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

    async def _join(self, trigger: Trigger, deadline: float) -> Credential:
        """Join the refresh under way, or start one, for as long as patience lasts."""
        patience = max(0.0, deadline - self._clock.monotonic())
        try:
            return await self._single_flight.run(
                lambda: self._run(trigger), patience_seconds=patience
            )
        except TimeoutError:
            raise AuthorityUnavailable(
                f"a refresh of the access token has been under way for "
                f"{self._patience_seconds:.0f} s and has not ended; it goes on, try "
                "again soon",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            ) from None

    async def _run(self, trigger: Trigger) -> Credential:
        """Run one refresh and publish its result. This is the call of the flight."""
        begun, known = (
            _Begun(trigger, self._clock.monotonic()),
            self._facts.store_problem,
        )
        request = self._request(trigger)
        try:
            result = await self._refresher.run(request)
            return await self.publish(
                result, trigger, self._clock.monotonic() - begun.at
            )
        except AuthorityFailure as failure:
            self._announce(
                begun, failure.outcome, failure.reason, is_call=failure.is_call
            )
            raise self._end_with(failure) from failure
        except StoreUnavailable as problem:
            self._announce(begun, "undelivered", problem.code)
            self._facts.refresh_failed(RefreshProblem(problem))
            self._facts.assess()
            raise
        except LoginRequired as problem:
            self._announce(begun, "blocked", problem.code)
            with suppress(BearerdError):
                self._watch.tolerate(problem, known)
            raise
        except AccountChanged as problem:
            self._announce(begun, "blocked", problem.code)
            await self._end_with_another_account(problem)
            raise
        except Exception as error:
            # A defect, or a failure of the system that no room foresaw. The flight must
            # end with a response that clients understand, and the daemon goes on.
            LOG.exception("a refresh failed for a reason that was not foreseen")
            self._announce(begun, "undelivered", type(error).__name__)
            raise self._end_unforeseen(error) from error

    def _request(self, trigger: Trigger) -> RefreshRequest:
        """Return what a refresh that begins now starts from."""
        self._is_accepted = False
        return RefreshRequest(
            held=self._cached.credential,
            account=self._pin.account,
            can_wait=trigger == "expiring",
            is_rejected=trigger == "refused",
            is_refused=self._facts.is_refused,
            is_forced=self._facts.take_retry_wish(),
            skew_seconds=self._cached.skew_seconds,
        )

    def _end_with(self, failure: AuthorityFailure) -> CredentialError:
        """Keep *failure* as the profile's refresh problem; return it for clients."""
        error = client_error(failure, self._profile)
        retry_at = None
        if failure.retry_after_seconds is not None:
            retry_at = self._clock.now() + failure.retry_after_seconds
        self._facts.refresh_failed(
            RefreshProblem(
                error,
                is_final=isinstance(error, LoginRequired),
                is_misconfigured=failure.outcome == "misconfigured",
                retry_at=retry_at,
            )
        )
        self._facts.assess()
        return error

    async def _end_with_another_account(self, problem: AccountChanged) -> None:
        """Tell a file of another account from a grant for one.

        The first is the store's condition. After the second the store is as it was, and
        the refresh token in it is spent: the access token may live on.
        """
        if await self._watch.check() is None:
            self._facts.refresh_failed(RefreshProblem(problem, is_final=True))
        self._facts.saved(is_unsaved=self._refresher.has_unsaved)
        self._facts.assess()

    def _end_unforeseen(self, error: Exception) -> AuthorityUnavailable:
        """Keep *error* as the profile's refresh problem; return it for clients."""
        unforeseen = AuthorityUnavailable(
            "the refresh of the access token failed inside bearerd "
            f"({type(error).__name__}); try again soon",
            retry_after_seconds=RETRY_AFTER_SECONDS,
        )
        self._facts.refresh_failed(RefreshProblem(unforeseen))
        self._facts.assess()
        return unforeseen

    def _announce(
        self,
        begun: _Begun,
        outcome: RefreshOutcome,
        reason: str,
        *,
        is_call: bool = False,
    ) -> None:
        """Announce a refresh that failed."""
        is_repeated = self._last_failure == (outcome, reason)
        self._last_failure = (outcome, reason)
        self._observe(
            RefreshFailed(
                self._profile,
                begun.trigger,
                outcome,
                reason,
                self._cached.generation,
                self._clock.monotonic() - begun.at,
                is_call=is_call,
                is_repeated=is_repeated,
            )
        )
