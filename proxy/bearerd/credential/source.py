"""The sole owner of the credential that is held, and the only way to get one.

Three questions: `current` (which credential may be sent?), `reload` (this one was
rejected: has the store another?) and `refresh` (this one was rejected: get a new one).
The last two take the rejected credential, so a 401 that comes late finds the work done.

Rules:

1. A credential is taken up only if it belongs to the account of this profile.
2. At most one refresh is under way. Callers may leave it or lose patience; it goes on,
   and its result is stored.
3. An older login never replaces a newer one: neither a token that any process is known
   to have spent, nor a file whose last refresh is older than that of what is held.
4. What the profile's state is, `conditions` decides; the source only collects the facts.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace

from bearerd.clock import Clock
from bearerd.credential.authority.errors import AuthorityFailure, client_error
from bearerd.credential.cached import CachedCredential
from bearerd.credential.conditions import (
    Facts,
    ProfileState,
    RefreshProblem,
    StateTracker,
    StoreProblem,
)
from bearerd.credential.refresh.refresher import (
    Refresher,
    RefreshRequest,
    RefreshResult,
)
from bearerd.credential.single_flight import SingleFlight
from bearerd.credential.status import SourceStatus, source_status, state_events
from bearerd.credential.store.account_pin import AccountPin
from bearerd.credential.store.store import Store
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
    CredentialHeldInMemory,
    CredentialLoaded,
    CredentialRefreshed,
    CredentialSaved,
    Observer,
    RefreshFailed,
    RefreshOutcome,
    Trigger,
)

LOG = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 2
"""What clients are told while a refresh is waited for: asking again costs no call."""

LOOK_TRIES = 3
"""How often the store is read again because what is held has changed meanwhile."""

TORN_PATIENCE_SECONDS = 5.0
"""How long a torn file may stay torn before what is held is written over it."""


class CredentialSource:
    """The credential of one profile. Owns what is held; others get frozen values."""

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
        self._patience_seconds = patience_seconds
        self._single_flight: SingleFlight[Credential] = SingleFlight()
        self._pin = AccountPin(store)
        self._tracker = StateTracker(clock.now, self._announce_state)
        # Facts that are not derived from the parts above.
        self._store_problem: StoreProblem | None = None
        self._is_store_blocking = False
        self._torn_since: float | None = None  # monotonic
        self._seen_writes = 0  # of the store, by others
        self._loads_under_way = 0
        self._refresh_problem: RefreshProblem | None = None
        self._rejected_generation = (
            0  # the upstream rejected it, and accepted none since
        )
        self._is_forced = False  # the next refresh overrides a remembered refusal
        self._is_accepted = False  # by the upstream, since the last refresh
        self._is_unsaved = False
        self._last_failure: tuple[RefreshOutcome, str] | None = None
        self._last_refreshed_at: float | None = None

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
        if held is None or self._is_store_blocking:
            held = await self._look()
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
        if self._is_store_blocking or self._cached.credential == rejected:
            await self._look()
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
        self._is_forced |= is_forced
        await self._check_final()
        deadline = self._clock.monotonic() + self._patience_seconds
        credential = await self._wait_for_refresh(trigger, deadline)
        if rejected is not None and credential.access_token == rejected.access_token:
            # It began before *rejected* was, and brought what has been rejected since.
            credential = await self._wait_for_refresh(trigger, deadline)
        return credential

    def newer_than(self, rejected: Credential | None) -> Credential | None:
        """Return what is held, if it is not *rejected* and may be sent."""
        held = self._cached.credential
        if rejected is None or held == rejected or self._cached.is_expired:
            return None
        return None if self._is_store_blocking else held

    def note_accepted(self, credential: Credential) -> None:
        """Note that the upstream has accepted *credential*."""
        if credential.generation != self._cached.generation:
            return
        self._rejected_generation = 0
        self._refresher.note_accepted()
        self._is_accepted = True
        problem = self._refresh_problem
        if problem is not None and not problem.is_final and not self._cached.is_due:
            # No refresh is wanted any more, so that the last one failed is over too.
            self._refresh_problem = None
            self._tracker.update(self._facts())

    def note_rejected(self, credential: Credential) -> None:
        """Note that the upstream's last word on *credential* was a rejection."""
        if credential.generation == self._cached.generation:
            self._rejected_generation = credential.generation

    # For the background and the commands.

    @property
    def waiters(self) -> int:
        """How many callers wait for the refresh under way."""
        return self._single_flight.waiters

    @property
    def state(self) -> ProfileState:
        """The state of the profile now."""
        return self._tracker.update(self._facts())

    async def start(self) -> None:
        """Finish what a process that died has left, and take up what is stored."""
        recovered = await self._refresher.recover()
        await self.reload_if_changed()
        is_foreign = isinstance(self._store_problem, AccountChanged)
        if recovered.unsaved is not None and not is_foreign:
            result = RefreshResult(recovered.unsaved, "adopted", recovered.error)
            await self._publish(result, "interrupted", 0.0)
        if recovered.is_maybe_spent and self.state.error is None:
            self._single_flight.start(lambda: self._renew("interrupted"))

    async def reload_if_changed(self) -> None:
        """Look at the store if it may have changed; what is wrong is announced."""
        with suppress(BearerdError):
            await self._look()
            await self._pin.record()
        with suppress(BearerdError):
            if await self._store.quarantine.read("new_login") is not None:
                await self._refresher.recover()
                await self._load()
        self._tracker.update(self._facts())

    def refresh_if_due(self) -> None:
        """Start a refresh if one is due, unless it is known to be in vain."""
        problem = self._refresh_problem
        if not self._cached.is_due or self._is_store_blocking:
            return
        if problem is not None and problem.is_final:
            return
        if problem is not None and (problem.retry_at or 0.0) > self._clock.now():
            return
        trigger: Trigger = "expired" if self._cached.is_expired else "expiring"
        self._single_flight.start(lambda: self._renew(trigger))

    async def retry_save(self) -> None:
        """Store what lives in memory only, if that can be done by now."""
        self._write_over_torn()
        if not self._is_unsaved:
            return
        is_saved = await self._refresher.retry_save()
        self._is_unsaved = self._refresher.has_unsaved
        if is_saved:
            self._observe(CredentialSaved(self._profile))
        if not self._is_unsaved:
            with suppress(BearerdError):
                await self._load()  # perhaps another login: a newer one, or a sign-in
        self._tracker.update(self._facts())

    async def adopt(self) -> Credential:
        """Pin the profile to the store's account, whatever it was before.

        Raises:
            LoginRequired: the store holds no login.
            StoreError, StoreUnavailable, TimeoutError: it could not be recorded.
        """
        await self._refresher.adopt()
        adopted = self._take(await self._pin.adopt())
        self._is_unsaved = self._refresher.has_unsaved
        return adopted

    async def close(self) -> None:
        """Wait until the refresh under way has ended, and try a last save.

        A refresh that only waits for the lock is given up: nothing is presented yet.
        """
        self._refresher.close()
        await self._single_flight.wait_idle()
        self._torn_since = None if self._torn_since is None else float("-inf")
        await self.retry_save()

    def status(self) -> SourceStatus:
        """Return what operators see."""
        return source_status(
            self._profile,
            self._store.name,
            cached=self._cached,
            state=self.state,
            is_unsaved=self._is_unsaved,
            last_failure=self._last_failure,
            last_refreshed_at=self._last_refreshed_at,
        )

    # The facts.

    def _facts(self) -> Facts:
        held = self._cached.credential
        return Facts(
            has_credential=held is not None,
            is_expired=self._cached.is_expired,
            is_rejected=held is not None
            and self._rejected_generation == held.generation,
            is_unsaved=self._is_unsaved,
            store_problem=self._store_problem,
            is_store_blocking=self._is_store_blocking,
            refresh_problem=self._refresh_problem,
        )

    def _announce_state(self, before: ProfileState, now: ProfileState) -> None:
        generation = self._cached.generation
        for event in state_events(self._profile, before, now, generation):
            self._observe(event)

    # Looking at the store.

    async def _look(self) -> Credential:
        """Return what the store allows to be held now, or raise what is wrong with it.

        It is read only if it has changed, if something was wrong at the last look, or if
        another look is under way: that one has seen the change, and may not have taken up
        yet what it has read.
        """
        held, problem = self._cached.credential, self._store_problem
        if held is None or problem is not None:
            return await self._load()
        if await self._store.has_changed() or self._loads_under_way:
            return await self._load()
        return held

    async def _load(self) -> Credential:
        """Read the store, and take up what it holds if that belongs to the profile.

        What was read before another look, or a refresh, has ended says nothing about the
        store as it is now; it is read again then.
        """
        known = self._store_problem
        self._loads_under_way += 1
        try:
            for _ in range(LOOK_TRIES - 1):
                generation = self._cached.generation
                stored = await self._read()
                if generation == self._cached.generation:
                    return self._take(stored)
            return self._take(await self._read())
        except (LoginRequired, AccountChanged, StoreUnavailable) as problem:
            return self._tolerate(problem, known)
        finally:
            self._loads_under_way -= 1

    async def _read(self) -> Credential:
        """Return what the store holds, if it belongs to the account of the profile."""
        stored = await self._store.load()
        self._refresher.sync(await self._store.read_state())
        await self._pin.check(stored)
        return stored

    def _tolerate(
        self, problem: StoreProblem, known: StoreProblem | None
    ) -> Credential:
        """Return what is held if *problem* may pass by itself; else block, and raise it.

        *known* is what was wrong when the look began: of two looks at the same time,
        neither is the next.

        1. A torn file, or one that cannot be read, is a writer or a disk in trouble. What
           is held is served meanwhile.
        2. A file that is gone, or holds no login, for one look is a writer at work. At
           the next look too it is a sign-out.
        3. What is held and blocked, because the store held another account or a login of
           another kind, stays blocked for that reason while the file is in trouble: it
           may hold the same as before.
        """
        held, before = self._cached.credential, self._store_problem
        reason = problem.reason if isinstance(problem, LoginRequired) else None
        is_trouble = isinstance(problem, StoreUnavailable) or reason == "unreadable"
        is_sign_out = reason in ("missing", "no_login")
        is_first = not (isinstance(known, LoginRequired) and known.reason == reason)
        if reason == "unreadable" and self._torn_since is None:
            self._torn_since = self._clock.monotonic()
        if held is not None and not self._is_store_blocking:
            if is_trouble or (is_sign_out and is_first):  # 1, 2
                self._store_problem = problem
                self._tracker.update(self._facts())
                return held
        elif held is not None and is_trouble and before is not None:  # 3
            raise before.with_traceback(None)
        self._store_problem = problem
        if reason == "missing":
            self._cached.clear()
        self._is_store_blocking = True
        self._tracker.update(self._facts())
        raise problem.with_traceback(None) from None  # or it grows with each raise

    def _take(self, stored: Credential) -> Credential:
        """Hold *stored*, unless it is what is held, or an older file of that login."""
        held = self._cached.credential
        is_touched = self._seen_writes != self._store.foreign_writes
        self._seen_writes = self._store.foreign_writes
        if held is None or held == stored:
            return self._hold(stored, is_touched=is_touched)
        problem = self._refresh_problem
        is_refused = problem is not None and problem.is_final
        if self._refresher.supersedes(held, stored, is_refused=is_refused):
            self._keep_over_stale(stored, held)
            return self._hold(held, is_touched=is_touched)
        self._refresher.note_displaced(held, stored)
        return self._hold(stored)

    def _hold(self, credential: Credential, *, is_touched: bool = False) -> Credential:
        """Hold *credential*, and forget what was wrong with the store."""
        held = self._cached.credential
        self._store_problem, self._is_store_blocking = None, False
        self._torn_since = None
        if held is None or held != credential:
            held = self._cached.set(credential)
            self._refresh_problem = None
            self._observe(
                CredentialLoaded(
                    self._profile,
                    self._cached.generation,
                    held.account_id,
                    self._cached.schedule.expires_at,
                )
            )
        elif is_touched and self._refresh_problem is not None:
            # The file was touched, or written again as it was: a wish for another try.
            self._refresh_problem = replace(self._refresh_problem, retry_at=None)
            self._is_forced = True
        self._tracker.update(self._facts())
        return held

    def _keep_over_stale(self, stored: Credential, held: Credential) -> None:
        """Have *held* saved over a store that went back to an older login."""
        self._refresher.keep_over_stale(stored, held)
        self._hold_in_memory(
            f"{self._store.name}: holds an older login again, whose refresh token is "
            "spent; it will be replaced"
        )

    def _write_over_torn(self) -> None:
        """Have what is held saved over a file that has been torn for too long."""
        held, since = self._cached.credential, self._torn_since
        if held is None or since is None or self._is_store_blocking:
            return
        if self._clock.monotonic() - since >= TORN_PATIENCE_SECONDS:
            self._refresher.keep_over_stale(held, held)
            self._hold_in_memory(
                f"{self._store.name}: holds no whole login; it will be replaced"
            )

    def _hold_in_memory(self, reason: str) -> None:
        if not self._is_unsaved:
            self._is_unsaved = True
            self._observe(CredentialHeldInMemory(self._profile, reason))

    # Refreshing.

    async def _check_final(self) -> None:
        """Raise a refusal for good again, while nothing has changed that could end it."""
        problem = self._refresh_problem
        if problem is None or not problem.is_final:
            return
        if self._is_forced or self._is_accepted:
            return  # the limiter decides whether the authority is asked again
        if not await self._store.has_changed():
            raise problem.error.with_traceback(None)

    async def _wait_for_refresh(self, trigger: Trigger, deadline: float) -> Credential:
        """Join the refresh under way, or start one, for as long as patience lasts."""
        patience = max(0.0, deadline - self._clock.monotonic())
        try:
            return await self._single_flight.run(
                lambda: self._renew(trigger), patience_seconds=patience
            )
        except TimeoutError:
            raise AuthorityUnavailable(
                f"a refresh of the access token has been under way for "
                f"{self._patience_seconds:.0f} s and has not ended; it goes on, try "
                "again soon",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            ) from None

    async def _renew(self, trigger: Trigger) -> Credential:
        """Run one refresh and publish its result. This is the call of the flight."""
        began, known = self._clock.monotonic(), self._store_problem
        last = self._refresh_problem
        is_forced, self._is_forced = self._is_forced, False
        self._is_accepted = False
        request = RefreshRequest(
            held=self._cached.credential,
            account=self._pin.account,
            can_wait=trigger == "expiring",
            is_rejected=trigger == "refused",
            is_refused=last is not None and last.is_final,
            is_forced=is_forced,
            skew_seconds=self._cached.skew_seconds,
        )
        try:
            result = await self._refresher.run(request)
            return await self._publish(result, trigger, self._clock.monotonic() - began)
        except AuthorityFailure as failure:
            self._record_failure(
                trigger, failure.outcome, failure.reason, began, is_call=failure.is_call
            )
            raise self._refresh_failed(failure) from failure
        except StoreUnavailable as problem:
            self._record_failure(
                trigger, "undelivered", problem.code, began, is_call=False
            )
            self._refresh_problem = RefreshProblem(problem)
            self._tracker.update(self._facts())
            raise
        except LoginRequired as problem:
            self._record_failure(trigger, "blocked", problem.code, began, is_call=False)
            with suppress(BearerdError):
                self._tolerate(problem, known)
            raise
        except AccountChanged as problem:
            self._record_failure(trigger, "blocked", problem.code, began, is_call=False)
            await self._on_account_changed(problem)
            raise
        except Exception as error:
            # A defect, or a failure of the system that no room foresaw. The flight must
            # end with an answer that clients understand, and the daemon goes on.
            LOG.exception("a refresh failed for a reason that was not foreseen")
            self._record_failure(
                trigger, "undelivered", type(error).__name__, began, is_call=False
            )
            unforeseen = AuthorityUnavailable(
                "the refresh of the access token failed inside bearerd "
                f"({type(error).__name__}); try again soon",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )
            self._refresh_problem = RefreshProblem(unforeseen)
            self._tracker.update(self._facts())
            raise unforeseen from error

    def _refresh_failed(self, failure: AuthorityFailure) -> CredentialError:
        """Keep *failure* as the profile's refresh problem; return it for clients."""
        error = client_error(failure, self._profile)
        retry_at = None
        if failure.retry_after_seconds is not None:
            retry_at = self._clock.now() + failure.retry_after_seconds
        self._refresh_problem = RefreshProblem(
            error,
            is_final=isinstance(error, LoginRequired),
            is_misconfigured=failure.outcome == "misconfigured",
            retry_at=retry_at,
        )
        self._tracker.update(self._facts())
        return error

    async def _on_account_changed(self, problem: AccountChanged) -> None:
        """Tell a file of another account from a grant for one.

        The first is the store's condition. After the second the store is as it was, and
        the refresh token in it is spent: the access token may live on.
        """
        try:
            stored = await self._store.load()
            await self._pin.check(stored)
        except (LoginRequired, AccountChanged, StoreUnavailable) as found:
            with suppress(BearerdError):
                self._tolerate(found, self._store_problem)
        else:
            self._refresh_problem = RefreshProblem(problem, is_final=True)
        self._is_unsaved = self._refresher.has_unsaved
        self._tracker.update(self._facts())

    def _record_failure(
        self,
        trigger: Trigger,
        outcome: RefreshOutcome,
        reason: str,
        began: float,
        *,
        is_call: bool,
    ) -> None:
        """Announce a refresh that failed."""
        is_repeated = self._last_failure == (outcome, reason)
        self._last_failure = (outcome, reason)
        self._observe(
            RefreshFailed(
                self._profile,
                trigger,
                outcome,
                reason,
                self._cached.generation,
                self._clock.monotonic() - began,
                is_call=is_call,
                is_repeated=is_repeated,
            )
        )

    async def _publish(
        self, result: RefreshResult, trigger: Trigger, duration_seconds: float
    ) -> Credential:
        """Hold what a refresh gave, and announce it."""
        self._last_failure = None
        if result.outcome == "renewed":
            credential = self._cached.set_received(
                result.credential, issued_at=result.issued_at
            )
            self._refresh_problem = None
            self._last_refreshed_at = self._clock.now()
            await self._pin.learn(credential)
        else:
            # Decided under the lock: after a refusal for good an older file may win.
            held = self._cached.credential
            if held is not None:
                self._refresher.note_displaced(held, result.credential)
            credential = self._hold(result.credential)
        if self._torn_since is not None or isinstance(
            self._store_problem, StoreUnavailable
        ):
            self._store_problem, self._torn_since = None, None
        if result.unsaved is not None:
            self._is_unsaved = False  # announced anew: it is another credential
            self._hold_in_memory(result.unsaved.message)
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
        self._tracker.update(self._facts())
        return credential
