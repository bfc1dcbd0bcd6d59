"""The sole owner of the credential that is held, and the only way to get one.

Three questions: `current` (what do I sign with?), `reload` (this one was refused: has
the store another?), `refresh` (this one was refused: get a new one). The last two take
the credential that was refused, so a 401 that comes late finds the work already done.

Rules:

1. A credential is taken up only if it belongs to the owner of this profile.
2. At most one refresh is in the air; callers may leave it, and it lands all the same.
3. A problem that needs a person is announced once, and again only when it changes.
4. A refresh refused for good ends no service by itself: the access token may live on.
"""

from __future__ import annotations

from contextlib import suppress

from bearerd.clock import Clock
from bearerd.credential.authority.errors import AuthorityFailure, client_error
from bearerd.credential.cached import CachedCredential
from bearerd.credential.conditions import Blocking, Conditions
from bearerd.credential.refresh.refresher import (
    Refresher,
    RefreshRequest,
    RefreshResult,
)
from bearerd.credential.rejections import RejectionHistory
from bearerd.credential.single_flight import SingleFlight
from bearerd.credential.status import SourceStatus, described
from bearerd.credential.store.account_pin import AccountPin
from bearerd.credential.store.store import Store
from bearerd.credential.token import Credential
from bearerd.errors import (
    AccountChanged,
    AuthorityUnavailable,
    BearerdError,
    LoginRequired,
    StoreError,
)
from bearerd.events import (
    CredentialHeldInMemory,
    CredentialLoaded,
    CredentialRefreshed,
    CredentialSaved,
    Observer,
    RefreshOutcome,
    Trigger,
)

STORE_RETRY_SECONDS = 5
"""When a client may ask again after the store gave no lock; a person has to mend it."""


class CredentialSource:
    """One profile's credential. Owns what is held; everybody else gets frozen values."""

    def __init__(
        self,
        *,
        profile: str,
        store: Store,
        refresher: Refresher,
        cached: CachedCredential,
        clock: Clock,
        observe: Observer,
    ) -> None:
        self._profile = profile
        self._store = store
        self._refresher = refresher
        self._cached = cached
        self._clock = clock
        self._observe = observe
        self._conditions = Conditions(profile, observe)
        self._rejections = RejectionHistory()
        self._single_flight: SingleFlight[Credential] = SingleFlight()
        self._pin = AccountPin(store)
        self._is_missing = False  # the file was gone at the last look
        self._is_unsaved = False
        self._last_refreshed_at: float | None = None

    # What the exchange asks.

    async def current(self, path: str = "") -> Credential:
        """Return the credential to sign a request to *path* with.

        Inside the window the held one is served while a refresh runs behind it. One
        that the upstream has refused on this path is not sent there again.

        Raises:
            LoginRequired, AccountChanged: a person has to act.
            AuthorityUnavailable: it has expired, and no new one is to be had now.
        """
        held = self._cached.credential
        if held is None or self._conditions.blocking is not None:
            held = await self._look()
        if self._cached.is_due:
            if self._cached.is_expired:
                return await self.refresh(held, "expired")
            self.refresh_if_due()
        if self._rejections.is_known_bad(path, held.generation):
            # Unreachable or throttled: the upstream's own word is better than ours.
            with suppress(AuthorityUnavailable):
                return await self.refresh(held, "refused")
        return held

    async def reload(self, refused: Credential) -> Credential | None:
        """Return the store's credential, or None if *refused* is what it holds.

        Raises:
            LoginRequired, AccountChanged: it holds nothing, or somebody else's.
        """
        is_blocked = self._conditions.blocking is not None
        if is_blocked or self._cached.credential == refused:
            await self._look()
        held = self._cached.credential
        return held if held != refused else None

    async def refresh(self, refused: Credential | None, trigger: Trigger) -> Credential:
        """Return a credential that is not *refused*, from the authority if need be.

        Raises:
            LoginRequired, AccountChanged: a person has to act.
            RefreshThrottled: the budget is spent.
            AuthorityUnavailable: worth another try after `retry_after_seconds`.
        """
        newer = self.newer_than(refused)
        if newer is not None:
            return newer
        credential = await self._single_flight.run(lambda: self._renew(trigger))
        if refused is not None and credential.access_token == refused.access_token:
            # It had landed just before and brought what has been refused since.
            credential = await self._single_flight.run(lambda: self._renew(trigger))
        return credential

    def newer_than(self, refused: Credential | None) -> Credential | None:
        """Return what is held, if it is not *refused* and may be sent."""
        held = self._cached.credential
        if refused is None or held == refused or self._cached.is_expired:
            return None
        return held if self._conditions.blocking is None else None

    def record_success(self, path: str, credential: Credential) -> None:
        """Note that the upstream took *credential* at *path*."""
        self._rejections.record_success(
            path, credential.generation, self._clock.monotonic()
        )

    def record_rejection(
        self, path: str, credential: Credential, *, blames_token: bool, is_fresh: bool
    ) -> bool:
        """Note a 401 at *path*; say whether it speaks of the token.

        *is_fresh*: the authority had just given it, and it was refused all the same.
        """
        if is_fresh:
            self._rejections.record_fresh_rejection(path, credential.generation)
        return self._rejections.record_rejection(
            path,
            credential.generation,
            self._clock.monotonic(),
            blames_token=blames_token,
        )

    # What upkeep and commands ask.

    @property
    def waiters(self) -> int:
        """Count the callers that wait for the refresh in the air."""
        return self._single_flight.waiters

    async def start(self) -> None:
        """Finish what a process that died left behind, and take up what is stored."""
        finished = await self._refresher.recover()
        await self.reload_if_changed()
        is_foreign = isinstance(self._conditions.blocking, AccountChanged)
        if finished.unsaved is not None and not is_foreign:
            renewed = RefreshResult(finished.unsaved, "adopted", unsaved=finished.error)
            self._publish(renewed, "interrupted", 0.0)
        if finished.is_maybe_spent and self._conditions.most_severe is None:
            self._single_flight.start(lambda: self._renew("interrupted"))

    async def reload_if_changed(self) -> None:
        """Look at the store if it may have changed; what is wrong gets announced."""
        with suppress(BearerdError):
            await self._look()
            await self._pin.record()

    def refresh_if_due(self) -> None:
        """Start a refresh if one is due, unless it is known to be in vain."""
        if self._cached.is_due and self._conditions.most_severe is None:
            trigger: Trigger = "expired" if self._cached.is_expired else "expiring"
            self._single_flight.start(lambda: self._renew(trigger))

    async def retry_save(self) -> None:
        """Store what lives in memory only, if that can be done by now."""
        if not self._is_unsaved:
            return
        is_saved = await self._refresher.retry_save()
        self._is_unsaved = self._refresher.has_unsaved
        if is_saved:
            self._observe(CredentialSaved(self._profile))
        if not self._is_unsaved:
            with suppress(BearerdError):
                await self._load()  # it may be another's: a newer one, or a sign-in

    async def adopt(self) -> Credential:
        """Take the store's account for this profile's own, whatever it was before.

        Raises:
            LoginRequired: the store holds none.
            StoreError, TimeoutError: the choice could not be noted.
        """
        return self._take(await self._pin.adopt())

    async def close(self) -> None:
        """Wait until the refresh in the air has landed, and try a last save.

        One that only waits for the lock is given up: nothing is spent yet.
        """
        self._refresher.close()
        await self._single_flight.wait_idle()
        await self.retry_save()

    def status(self) -> SourceStatus:
        """Return what a person is told."""
        return described(
            self._profile,
            self._store.name,
            cached=self._cached,
            conditions=self._conditions,
            is_refused=self._rejections.is_rejected(self._cached.generation),
            is_in_memory_only=self._is_unsaved,
            last_refreshed_at=self._last_refreshed_at,
        )

    # Inside.

    async def _look(self) -> Credential:
        """Return what the store allows to be held now, or raise what is wrong with it.

        Reads only what has changed, or what was gone at the last look.
        """
        held, blocking = self._cached.credential, self._conditions.blocking
        is_open = self._is_missing or self._conditions.transient is not None
        if held is not None and not (is_open or self._store.has_changed()):
            if blocking is not None:
                raise blocking.with_traceback(None)  # or it grows with each raise
            return held
        return await self._load()

    async def _load(self) -> Credential:
        """Read the store, and take up what it holds if it is ours."""
        try:
            stored = await self._store.load()
            await self._pin.check(stored)
        except (LoginRequired, AccountChanged) as problem:
            return self._borne(problem)
        return self._take(stored)

    def _borne(self, problem: Blocking) -> Credential:
        """Return what is held if *problem* may pass by itself; else stop, and raise it.

        A file that is torn, or gone for a moment, is a foreign writer at work. One that
        is gone at the next look too is a sign-out.
        """
        held, reason = self._cached.credential, getattr(problem, "reason", None)
        is_bearable = reason == "unreadable"
        if reason == "missing":
            is_bearable, self._is_missing = not self._is_missing, True
        if held is not None and is_bearable and self._conditions.blocking is None:
            if reason == "unreadable":  # one that is gone may be back at the next look
                self._conditions.tolerate(problem)
            return held
        if reason == "missing":
            self._cached.clear()
        raise self._conditions.block(problem) from None

    def _take(self, stored: Credential, *, is_received: bool = False) -> Credential:
        """Hold *stored*, unless it is what is held, or older."""
        self._is_missing = False
        held = self._cached.credential
        is_new = held is None or held != stored
        if held is not None and is_new and self._refresher.is_superseded(stored):
            is_new = False
            self._keep_over_stale(stored, held)
        if held is None or is_new:
            held = self._cached.set(stored, is_received=is_received)
            if not is_received:
                self._observe(
                    CredentialLoaded(
                        self._profile,
                        self._cached.generation,
                        held.account_id,
                        self._cached.due.expires_at,
                    )
                )
        self._conditions.clear(self._cached.generation, is_new=is_new)
        return held

    def _keep_over_stale(self, stored: Credential, held: Credential) -> None:
        """Have *held* saved over a store that went back to a token we have spent."""
        self._refresher.keep_over_stale(stored, held)
        if not self._is_unsaved:
            self._is_unsaved = True
            self._observe(
                CredentialHeldInMemory(
                    self._profile,
                    f"{self._store.name}: holds an older login again, whose refresh "
                    "token is spent; it will be replaced",
                )
            )

    async def _renew(self, trigger: Trigger) -> Credential:
        """Run one refresh and publish what came of it. This is what flies."""
        began = self._clock.monotonic()

        def failed(outcome: RefreshOutcome, reason: str) -> None:
            self._conditions.record_failure(
                trigger,
                outcome,
                reason,
                generation=self._cached.generation,
                duration_seconds=self._clock.monotonic() - began,
            )

        try:
            renewed = await self._refresher.run(
                RefreshRequest(
                    held=self._cached.credential,
                    account=self._pin.account,
                    can_wait=trigger == "expiring",
                    skew_seconds=self._cached.skew_seconds,
                )
            )
        except AuthorityFailure as failure:
            failed(failure.outcome, failure.reason)
            error = client_error(failure, self._profile)
            if isinstance(error, LoginRequired):
                self._conditions.set_terminal(error)
            raise error from failure
        except (LoginRequired, AccountChanged) as problem:
            failed("blocked", problem.code)
            with suppress(LoginRequired, AccountChanged):
                self._borne(problem)
            raise
        except StoreError as error:
            failed("undelivered", error.code)
            raise AuthorityUnavailable(
                error.message, retry_after_seconds=STORE_RETRY_SECONDS
            ) from error
        return self._publish(renewed, trigger, self._clock.monotonic() - began)

    def _publish(
        self, renewed: RefreshResult, trigger: Trigger, duration_seconds: float
    ) -> Credential:
        is_received = renewed.outcome == "renewed"
        credential = self._take(renewed.credential, is_received=is_received)
        self._conditions.record_success()
        if is_received:
            self._last_refreshed_at = self._clock.now()
        if renewed.unsaved is not None:
            self._is_unsaved = True
            self._observe(
                CredentialHeldInMemory(self._profile, renewed.unsaved.message)
            )
        self._observe(
            CredentialRefreshed(
                self._profile,
                trigger,
                renewed.outcome,
                self._cached.generation,
                duration_seconds,
                self._cached.due.expires_at,
            )
        )
        return credential
