"""The sole owner of the credential that is held, and the only way to get one.

Three questions: `current` (which credential may be sent?), `reload` (this one was
rejected: has the store another?) and `refresh` (this one was rejected: get a new one).
The last two take the rejected credential, so a 401 that comes late finds the work done.

Three parts do the work: `store_watch` decides what the store allows to be held,
`refresh_flight` gets a new credential from the authority, and `profile_facts` keeps what
both learn, from which `conditions` computes the one state of the profile.
"""

from __future__ import annotations

from contextlib import suppress

from bearerd.clock import Clock
from bearerd.credential.cached import CachedCredential
from bearerd.credential.conditions import ProfileState
from bearerd.credential.profile_facts import ProfileFacts
from bearerd.credential.refresh.refresher import Refresher
from bearerd.credential.refresh.request import RefreshResult
from bearerd.credential.refresh_flight import RefreshFlight
from bearerd.credential.status import SourceStatus, source_status, state_events
from bearerd.credential.store.account_pin import AccountPin
from bearerd.credential.store.store import Store
from bearerd.credential.store_watch import StoreWatch
from bearerd.credential.token import Credential
from bearerd.errors import AccountChanged, BearerdError
from bearerd.events import Observer, Trigger


class CredentialSource:
    """The credential of one profile. Owns what is held; others get frozen values.

    *patience_seconds* is how long a caller waits for a refresh, which may take longer.
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
        patience_seconds: float,
    ) -> None:
        self._profile = profile
        self._store = store
        self._refresher = refresher
        self._cached = cached
        self._clock = clock
        self._observe = observe
        self._pin = pin = AccountPin(store)
        self._facts = facts = ProfileFacts(cached, clock, self._announce_state)
        self._watch = StoreWatch(
            profile=profile,
            store=store,
            pin=pin,
            refresher=refresher,
            cached=cached,
            facts=facts,
            clock=clock,
            observe=observe,
        )
        self._flight = RefreshFlight(
            profile=profile,
            refresher=refresher,
            pin=pin,
            cached=cached,
            facts=facts,
            watch=self._watch,
            clock=clock,
            observe=observe,
            patience_seconds=patience_seconds,
        )

    # For the exchange.

    async def current(self) -> Credential:
        """Return the credential to send with a request.

        Inside the refresh window the one held is returned while a refresh runs behind it.

        Raises:
            LoginRequired, AccountChanged: a person must act.
            StoreUnavailable: no credential is known, and the store cannot be read.
            AuthorityUnavailable: it has expired, and no new one can be had now.
        """
        held = self._cached.credential
        if held is None or self._facts.is_store_blocking:
            held = await self._watch.look()
        if self._cached.is_due:
            if self._cached.is_expired:
                return await self.refresh(held, "expired")
            self.refresh_if_due()
        return held

    async def reload(self, rejected: Credential) -> Credential | None:
        """Return the store's credential, or None if *rejected* is what it holds.

        Raises:
            LoginRequired, AccountChanged: it holds nothing, or another account.
        """
        if self._facts.is_store_blocking or self._cached.credential == rejected:
            await self._watch.look()
        held = self._cached.credential
        return held if held != rejected else None

    async def refresh(
        self, rejected: Credential | None, trigger: Trigger, *, is_forced: bool = False
    ) -> Credential:
        """Return a credential that is not *rejected*, from the authority if need be.

        *is_forced* asks the authority even if it has refused this token before.

        Raises:
            LoginRequired, AccountChanged: a person must act.
            RefreshThrottled: the budget is spent.
            AuthorityUnavailable, StoreUnavailable: worth another try soon.
        """
        newer = self.newer_than(rejected)
        if newer is not None:
            return newer
        if is_forced:
            self._facts.wish_retry()
        await self._check_final()
        newer = self.newer_than(rejected)
        if newer is not None:
            return newer
        return await self._flight.wait(rejected, trigger)

    def newer_than(self, rejected: Credential | None) -> Credential | None:
        """Return what is held, if it is not *rejected* and may be sent."""
        held = self._cached.credential
        if rejected is None or held == rejected or self._cached.is_expired:
            return None
        return None if self._facts.is_store_blocking else held

    def note_accepted(self, credential: Credential) -> None:
        """Note that the upstream has accepted *credential*."""
        if credential.generation == self._cached.generation:
            self._flight.note_accepted()
            self._facts.accepted()

    def note_rejected(self, credential: Credential) -> None:
        """Note that the upstream's last word on *credential* was a rejection."""
        self._facts.rejected(credential)

    # For the background and the commands.

    @property
    def waiters(self) -> int:
        """How many callers wait for the refresh under way."""
        return self._flight.waiters

    @property
    def is_refreshing(self) -> bool:
        """True while a refresh is under way."""
        return self._flight.is_refreshing

    @property
    def state(self) -> ProfileState:
        """The state of the profile now."""
        return self._facts.assess()

    async def start(self) -> None:
        """Finish what a process that died has left, and take up what is stored."""
        recovered = await self._refresher.recover()
        await self.reload_if_changed()
        is_foreign = isinstance(self._facts.store_problem, AccountChanged)
        if recovered.unsaved is not None and not is_foreign:
            result = RefreshResult(recovered.unsaved, "adopted", recovered.error)
            await self._flight.publish(result, "interrupted", 0.0)
        if recovered.is_maybe_spent and self.state.error is None:
            self._flight.start("interrupted")

    async def reload_if_changed(self) -> None:
        """Look at the store if it may have changed; what is wrong is announced."""
        with suppress(BearerdError):
            await self._watch.look()
            await self._pin.record()
        with suppress(BearerdError):
            if await self._store.quarantine.read("new_login") is not None:
                await self._refresher.recover()
                await self._watch.load()
        self._facts.assess()

    def refresh_if_due(self) -> None:
        """Start a refresh if one is due, unless it is known to be in vain."""
        problem = self._facts.refresh_problem
        if not self._cached.is_due or self._facts.is_store_blocking:
            return
        if problem is not None and problem.is_final:
            return
        if problem is not None and (problem.retry_at or 0.0) > self._clock.now():
            return
        self._flight.start("expired" if self._cached.is_expired else "expiring")

    async def retry_save(self) -> None:
        """Store what lives in memory only, if that can be done by now."""
        await self._watch.retry_save()

    async def adopt(self) -> Credential:
        """Pin the profile to the store's account, whatever it was before.

        Raises:
            LoginRequired: the store holds no login.
            StoreError, StoreUnavailable, TimeoutError: it could not be recorded.
        """
        return await self._watch.adopt()

    async def wait_idle(self) -> None:
        """Wait until no refresh is under way."""
        await self._flight.wait_idle()

    async def close(self) -> None:
        """Wait until the refresh under way has ended, and try a last save.

        A refresh that only waits for the lock is given up: nothing is presented yet. The
        store is looked at once more, since the cached credential may have to be written
        over a file that was torn, or went back, a moment ago.
        """
        self._refresher.close()
        await self._flight.wait_idle()
        if self._cached.credential is not None:
            await self.reload_if_changed()
        await self._watch.retry_save(is_last=True)

    def status(self) -> SourceStatus:
        """Return what operators see."""
        return source_status(
            self._profile,
            self._store.name,
            cached=self._cached,
            state=self.state,
            is_unsaved=self._facts.is_unsaved,
            last_failure=self._flight.last_failure,
            last_refreshed_at=self._flight.last_refreshed_at,
        )

    async def _check_final(self) -> None:
        """Raise a refusal for good again, while nothing has changed that could end it.

        Raises:
            LoginRequired, AccountChanged, StoreUnavailable: as before, or what the store
                has come to since.
        """
        problem = self._facts.refresh_problem
        if problem is None or not problem.is_final:
            return
        if await self._store.has_changed() or self._watch.has_unseen_writes:
            await self._watch.load()  # another login, or a file that was touched
        elif not self._flight.may_ask_again:
            raise problem.error.with_traceback(None)
        # The limiter decides whether the authority is asked again.

    def _announce_state(self, before: ProfileState, now: ProfileState) -> None:
        generation = self._cached.generation
        for event in state_events(self._profile, before, now, generation):
            self._observe(event)
