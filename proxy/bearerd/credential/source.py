"""The source of a profile's credential: the only way for a request to get one.

Three methods serve requests: `current` returns the credential to send; after a 401,
`reload` returns a different one from the store, and `refresh` returns a new one. The last
two take the rejected credential as an argument. So a late 401, for a credential that has
been replaced since, causes no work.

Three parts do the work, on one `CachedCredential` that they share: `store_loader` caches
the stored credential, `refresh_runner` gets a new one from the authority and caches that,
and `profile_facts` records the facts from which `conditions` computes the state of the
profile. The source itself decides only which part acts.
"""

from __future__ import annotations

from contextlib import suppress

from bearerd.clock import Clock
from bearerd.credential.cached import CachedCredential
from bearerd.credential.conditions import ProfileState
from bearerd.credential.profile_facts import ProfileFacts
from bearerd.credential.refresh.refresher import Refresher
from bearerd.credential.refresh.request import RefreshResult
from bearerd.credential.refresh_runner import RefreshRunner
from bearerd.credential.status import SourceStatus, source_status, state_events
from bearerd.credential.store.account_pin import AccountPin
from bearerd.credential.store.store import Store
from bearerd.credential.store_loader import StoreLoader
from bearerd.credential.token import Credential
from bearerd.errors import AccountChanged, BearerdError
from bearerd.events import Observer, Trigger


class CredentialSource:
    """The credential of one profile. Owns the three parts, and returns frozen values.

    *wait_timeout_seconds* is how long a caller waits for a refresh; the refresh itself
    may take longer.
    """

    def __init__(
        self,
        *,
        profile: str,
        store: Store,
        refresher: Refresher,
        cached: CachedCredential,
        clock: Clock,
        observe: Observer,
        wait_timeout_seconds: float,
    ) -> None:
        self._profile = profile
        self._store = store
        self._refresher = refresher
        self._cached = cached
        self._clock = clock
        self._observe = observe
        self._pin = pin = AccountPin(store)
        self._facts = facts = ProfileFacts(cached, clock, self._emit_state_events)
        self._loader = StoreLoader(
            profile=profile,
            store=store,
            pin=pin,
            refresher=refresher,
            cached=cached,
            facts=facts,
            clock=clock,
            observe=observe,
        )
        self._runner = RefreshRunner(
            profile=profile,
            refresher=refresher,
            pin=pin,
            cached=cached,
            facts=facts,
            loader=self._loader,
            clock=clock,
            observe=observe,
            wait_timeout_seconds=wait_timeout_seconds,
        )

    async def current(self) -> Credential:
        """Return the credential to send with a request.

        Within the refresh window, this starts a refresh in the background and returns
        the cached credential.

        Raises:
            LoginRequired, AccountChanged: a person must act.
            StoreUnavailable: no credential is cached, and the store cannot be read.
            AuthorityUnavailable: the credential has expired, and the refresh failed.
        """
        cached = self._cached.credential
        if cached is None or self._facts.is_store_blocking:
            cached = await self._loader.load_if_changed()
        if self._cached.is_due:
            if self._cached.is_expired:
                self._facts.assess()  # operators see it no later than this client
                return await self.refresh(cached, "expired")
            self.refresh_if_due()
        return cached

    async def reload(self, rejected: Credential) -> Credential | None:
        """Return a credential from the store, or None if it still holds *rejected*.

        Raises:
            LoginRequired, AccountChanged: the store holds no login, or another account.
        """
        if self._facts.is_store_blocking or self._cached.credential == rejected:
            await self._loader.load_if_changed()
        cached = self._cached.credential
        return cached if cached != rejected else None

    async def refresh(
        self, rejected: Credential | None, trigger: Trigger, *, is_forced: bool = False
    ) -> Credential:
        """Return a credential other than *rejected*, from the authority if necessary.

        *is_forced* calls the authority even if it has refused this token before.

        Raises:
            LoginRequired, AccountChanged: a person must act.
            RefreshThrottled: the budget is used up.
            AuthorityUnavailable, StoreUnavailable: a retry may succeed.
        """
        newer = self.newer_than(rejected)
        if newer is not None:
            return newer
        if is_forced:
            self._facts.request_retry()
            self._facts.assess()
        await self._raise_permanent_refusal()
        newer = self.newer_than(rejected)
        if newer is not None:
            return newer
        return await self._runner.wait(rejected, trigger)

    def newer_than(self, rejected: Credential | None) -> Credential | None:
        """Return the cached credential if it is not *rejected* and may be sent."""
        cached = self._cached.credential
        if rejected is None or cached == rejected or self._cached.is_expired:
            return None
        return None if self._facts.is_store_blocking else cached

    def record_acceptance(self, credential: Credential) -> None:
        """Record that the upstream has accepted *credential*."""
        if credential.generation == self._cached.generation:
            self._runner.record_acceptance()
            if self._facts.record_acceptance():
                self._facts.assess()

    def record_rejection(self, credential: Credential) -> None:
        """Record that the upstream has rejected *credential*."""
        self._facts.record_rejection(credential)
        self._facts.assess()

    @property
    def waiters(self) -> int:
        """The number of callers that wait for the refresh in progress."""
        return self._runner.waiters

    @property
    def is_refreshing(self) -> bool:
        """True while a refresh is in progress."""
        return self._runner.is_refreshing

    @property
    def state(self) -> ProfileState:
        """The state of the profile at the last `assess`. Reading it changes nothing."""
        return self._facts.state

    def assess(self) -> None:
        """Compute the state of the profile now, and emit the events of a change.

        Every change of a fact does that too, so it is needed only for what changes with
        time alone.
        """
        self._facts.assess()

    async def start(self) -> None:
        """Recover from an interrupted refresh, and load the store's credential."""
        recovered = await self._refresher.recover()
        await self.reload_if_changed()
        is_foreign = isinstance(self._facts.store_problem, AccountChanged)
        if recovered.unsaved is not None and not is_foreign:
            result = RefreshResult(recovered.unsaved, "adopted", recovered.error)
            await self._runner.publish(result, "interrupted", 0.0)
        if recovered.is_maybe_spent and self.state.error is None:
            self._runner.start("interrupted")

    async def reload_if_changed(self) -> None:
        """Load the store if it may have changed; record an error instead of raising it."""
        with suppress(BearerdError):
            await self._loader.load_if_changed()
            await self._pin.record()
        with suppress(BearerdError):
            if await self._store.quarantine.read("new_login") is not None:
                await self._refresher.recover()
                await self._loader.load()
        self._facts.assess()

    def refresh_if_due(self) -> None:
        """Start a refresh if one is due, unless it is known to fail.

        A refresh is due within the refresh window. A failed refresh of a token that the
        upstream rejects is due too: it is retried even if no request arrives.
        """
        problem = self._facts.refresh_problem
        must_retry = problem is not None and self._facts.is_rejected
        if self._facts.is_store_blocking or not (self._cached.is_due or must_retry):
            return
        if problem is not None and problem.is_final:
            return
        if problem is not None and (problem.retry_at or 0.0) > self._clock.now():
            return
        if self._cached.is_due:
            self._runner.start("expired" if self._cached.is_expired else "expiring")
        else:
            self._runner.start("refused")

    async def retry_save(self) -> None:
        """Try again to store a credential that is in memory only."""
        await self._loader.retry_save()

    async def adopt(self) -> Credential:
        """Pin the profile to the account in the store, and return its credential.

        Raises:
            LoginRequired: the store holds no login.
            StoreError, StoreUnavailable, TimeoutError: the pin could not be recorded.
        """
        return await self._loader.adopt()

    async def wait_idle(self) -> None:
        """Wait until no refresh is in progress."""
        await self._runner.wait_idle()

    async def close(self) -> None:
        """Wait for the refresh in progress, and try a last time to save the credential.

        A refresh that still waits for the lock is aborted: it has presented no token. The
        store is read again first: the cached credential may have to replace a file that
        was torn, or set back, a moment ago.
        """
        self._refresher.close()
        await self._runner.wait_idle()
        if self._cached.credential is not None:
            await self.reload_if_changed()
        await self._loader.retry_save(is_last=True)

    def status(self) -> SourceStatus:
        """Return the status of the profile for operators."""
        return source_status(
            self._profile,
            self._store.name,
            cached=self._cached,
            state=self.state,
            is_unsaved=self._facts.is_unsaved,
            last_failure=self._runner.last_failure,
            last_refreshed_at=self._runner.last_refreshed_at,
        )

    async def _raise_permanent_refusal(self) -> None:
        """Raise the recorded permanent refusal, unless something has changed since.

        Raises:
            LoginRequired, AccountChanged, StoreUnavailable: the recorded refusal, or the
                new problem of the store.
        """
        problem = self._facts.refresh_problem
        if problem is None or not problem.is_final:
            return
        if await self._store.has_changed() or self._loader.has_unseen_writes:
            await self._loader.load()  # another login, or a file that was touched
        elif not self._runner.may_retry_refused:
            raise problem.error.with_traceback(None)
        # The limiter decides whether the authority is called again.

    def _emit_state_events(self, before: ProfileState, now: ProfileState) -> None:
        generation = self._cached.generation
        for event in state_events(self._profile, before, now, generation):
            self._observe(event)
