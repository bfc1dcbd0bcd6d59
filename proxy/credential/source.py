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

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from proxy.credential.authority import AuthorityFailure
from proxy.credential.clock import Clock
from proxy.credential.flight import Flight
from proxy.credential.ledger import Owner
from proxy.credential.renewal import Renewal, Renewed, guarded
from proxy.credential.schedule import NEVER, due
from proxy.credential.standing import Standing
from proxy.credential.status import SourceStatus, State
from proxy.credential.store import Store
from proxy.credential.told import told
from proxy.credential.token import Credential, seconds_claim
from proxy.errors import (
    AccountChanged,
    AuthorityUnavailable,
    BearerdError,
    CredentialError,
    LoginRequired,
)
from proxy.events import (
    CredentialHeldInMemory,
    CredentialLoaded,
    CredentialRefreshed,
    CredentialSaved,
    LoginNeeded,
    LoginRestored,
    Observer,
    RefreshFailed,
    RefreshOutcome,
    Trigger,
)

SKEW_SECONDS = 60.0
"""A difference between two clocks that is more than delay."""

PIN_LOCK_SECONDS = 5.0


class CredentialSource:
    """One profile's credential. Owns what is held; everybody else gets frozen values.

    *draw* returns a number in [0, 1), for jitter.
    """

    def __init__(
        self,
        *,
        profile: str,
        store: Store,
        renewal: Renewal,
        clock: Clock,
        observe: Observer,
        window_seconds: float,
        draw: Callable[[], float],
    ) -> None:
        self._profile = profile
        self._store = store
        self._renewal = renewal
        self._clock = clock
        self._observe = observe
        self._window_seconds = window_seconds
        self._draw = draw
        self._standing = Standing()
        self._flight: Flight[Credential] = Flight()
        self._held: Credential | None = None
        self._due = NEVER
        self._generation = 0
        self._owner = Owner()
        self._blocked: LoginRequired | AccountChanged | None = None  # by the store
        self._final: LoginRequired | None = None  # by the authority, for what is held
        self._is_missing = False  # seen so once; a foreign writer may be at work
        self._is_in_memory_only = False
        self._skew_seconds = 0.0
        self._last_failure: tuple[str, str] | None = None
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
        held = self._held
        if held is None or self._blocked is not None:
            held = await self._look()
        now = self._clock.now()
        if self._due.is_expired(now):
            return await self.refresh(held, "expired")
        if self._due.is_due(now) and self._final is None:
            self.refresh_soon()
        if self._standing.is_condemned(path, held.generation):
            # Unreachable or throttled: the upstream's own word is better than ours.
            with suppress(AuthorityUnavailable):
                return await self.refresh(held, "refused")
        return held

    async def reload(self, refused: Credential) -> Credential | None:
        """Return the store's credential, or None if *refused* is what it holds.

        Raises:
            LoginRequired, AccountChanged: it holds nothing, or somebody else's.
        """
        if self._held == refused and self._store.has_changed():
            await self._look()
        if self._held is None or self._blocked is not None:
            await self._look()
        return self._held if self._held != refused else None

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
        credential = await self._flight.join(lambda: self._renew(trigger))
        if credential == refused:
            # It had landed just before and brought what has been refused since.
            credential = await self._flight.join(lambda: self._renew(trigger))
        return credential

    def newer_than(self, refused: Credential | None) -> Credential | None:
        """Return what is held if it is not *refused* and may be sent."""
        if self._blocked is not None or refused is None or self._held == refused:
            return None
        held = self._held
        if held is None or self._due.is_expired(self._clock.now()):
            return None
        return held

    def accepted(self, path: str, credential: Credential) -> None:
        """Note that the upstream took *credential* at *path*: any answer but 401."""
        self._standing.accepted(path, credential.generation, self._clock.monotonic())

    def is_about_token(
        self, path: str, credential: Credential, *, names_token: bool, is_fresh: bool
    ) -> bool:
        """Note a 401 at *path*; say whether it speaks of the token.

        *is_fresh*: the authority had just given it, and it was refused all the same.
        """
        generation, now = credential.generation, self._clock.monotonic()
        if is_fresh:
            self._standing.refused_fresh(path)
        return self._standing.is_about_token(
            path, generation, now, names_token=names_token
        )

    # What upkeep and commands ask.

    @property
    def waiters(self) -> int:
        """Count the callers that wait for the refresh in the air."""
        return self._flight.waiters

    async def take_up(self) -> None:
        """Look at the store if it may have changed; what is wrong gets announced."""
        if self._held is None or self._is_missing or self._store.has_changed():
            with suppress(BearerdError):
                await self._look()

    def refresh_if_due(self) -> None:
        """Start a refresh if the held credential is due and nothing speaks against."""
        if self._blocked is None and self._final is None:
            if self._due.is_due(self._clock.now()):
                self.refresh_soon()

    def refresh_soon(self) -> None:
        """Start a refresh behind the callers' backs, unless one is in the air."""
        is_expired = self._due.is_expired(self._clock.now())
        trigger: Trigger = "expired" if is_expired else "expiring"
        self._flight.launch(lambda: self._renew(trigger))

    async def save_again(self) -> None:
        """Store what lives in memory only, if that can be done by now."""
        if self._is_in_memory_only and await self._renewal.save_again():
            self._is_in_memory_only = False
            self._observe(CredentialSaved(self._profile))

    async def adopt(self) -> Credential:
        """Take the store's account for this profile's own, whatever it was before.

        Raises:
            LoginRequired: the store holds none.
            StoreError, TimeoutError: the choice could not be noted.
        """
        async with self._store.lock(PIN_LOCK_SECONDS):
            stored = await self._store.load()
            notes = self._store.read_notes()
            self._store.write_notes(replace(notes, owner=Owner.of(stored)))
        self._owner = Owner.of(stored)
        return self._take(stored)

    async def close(self) -> None:
        """Wait until the refresh in the air has landed, and try a last save."""
        await self._flight.landed()
        await self.save_again()

    def status(self) -> SourceStatus:
        """Return what a person is told."""
        problem = self._blocked or self._final
        return SourceStatus(
            profile=self._profile,
            store=self._store.name,
            state=self._state(),
            reason=getattr(problem, "reason", None),
            message=problem.message if problem else None,
            account_id=self._held.account_id if self._held else None,
            generation=self._generation,
            expires_at=self._due.expires_at,
            refresh_at=self._due.at,
            last_refreshed_at=self._last_refreshed_at,
            in_memory_only=self._is_in_memory_only,
            last_error=": ".join(self._last_failure) if self._last_failure else None,
        )

    # Inside.

    def _state(self) -> State:
        if isinstance(self._blocked, AccountChanged):
            return "account_changed"
        if self._blocked is not None or self._held is None:
            return "login_required"
        is_expired = self._due.is_expired(self._clock.now())
        if self._final is None:
            return "expired" if is_expired else "ready"
        is_refused = self._standing.is_refused(self._held.generation)
        return "login_required" if is_expired or is_refused else "ready"

    async def _look(self) -> Credential:
        """Return what the store allows to be held now, or raise what is wrong."""
        has_news = self._held is None or self._is_missing or self._store.has_changed()
        if not has_news and self._blocked is not None:
            raise self._blocked
        try:
            stored = await self._store.load()
            await self._pin(stored)
            guarded(stored, self._owner, self._store.name)
        except (LoginRequired, AccountChanged) as problem:
            if self._held is not None and self._bears_with(problem):
                return self._held
            raise self._block(problem) from None
        self._is_missing = False
        return self._take(stored)

    def _bears_with(self, problem: BearerdError) -> bool:
        """Say whether to go on with what is held until the store makes sense again.

        A file that is torn, or gone for a moment, is a foreign writer at work; one that
        stays away until the next look is a sign-out.
        """
        if not isinstance(problem, LoginRequired) or self._blocked is not None:
            return False
        if problem.reason == "unreadable":
            return True
        was_missing, self._is_missing = self._is_missing, True
        return not was_missing

    def _block(self, problem: LoginRequired | AccountChanged) -> BearerdError:
        """Stop serving, and say so once."""
        if isinstance(problem, LoginRequired) and problem.reason == "missing":
            self._held, self._due = None, NEVER
        before = self._blocked
        self._blocked = problem
        if before is None or before.message != problem.message:
            self._announce_problem(problem)
        return problem

    def _announce_problem(self, problem: LoginRequired | AccountChanged) -> None:
        reason = getattr(problem, "reason", problem.code)
        self._observe(LoginNeeded(self._profile, problem.code, reason, problem.message))

    async def _pin(self, stored: Credential) -> None:
        """Learn whose profile this is; the first credential decides it."""
        notes = self._store.read_notes()
        self._owner = notes.owner or self._owner
        if self._owner.account_id is not None:
            return
        self._owner = Owner.of(stored)
        # Where nothing can be noted, the pin holds for this process at least.
        with suppress(BearerdError, TimeoutError):
            async with self._store.lock(0):
                notes = self._store.read_notes()
                self._store.write_notes(replace(notes, owner=self._owner))

    def _take(self, stored: Credential, *, is_received: bool = False) -> Credential:
        """Hold *stored*, unless it is what is held, or older."""
        had_problem = self._blocked is not None or self._final is not None
        is_news = self._held != stored and not self._renewal.is_superseded(stored)
        self._blocked = None
        if is_news:
            self._hold(stored, is_received=is_received)
        assert self._held is not None  # noqa: S101 - only a held one is ever superseded
        if had_problem and self._final is None:
            self._observe(LoginRestored(self._profile, self._generation))
        return self._held

    def _hold(self, credential: Credential, *, is_received: bool) -> None:
        now = self._clock.now()
        if is_received:
            issued_at = seconds_claim(credential.access_token, "iat")
            skew = now - issued_at if issued_at is not None else 0.0
            self._skew_seconds = skew if abs(skew) > SKEW_SECONDS else 0.0
        self._due = due(
            credential,
            now=now,
            window_seconds=self._window_seconds,
            draw=self._draw(),
            is_first=self._generation == 0,
            skew_seconds=self._skew_seconds,
        )
        self._generation += 1
        self._held = replace(credential, generation=self._generation)
        self._final = None
        if not is_received:
            self._observe(
                CredentialLoaded(
                    self._profile,
                    self._generation,
                    credential.account_id,
                    self._due.expires_at,
                )
            )

    async def _renew(self, trigger: Trigger) -> Credential:
        """Run one refresh and publish what came of it. This is what flies."""
        began = self._clock.monotonic()
        try:
            renewed = await self._renewal.run(self._held, self._owner)
        except AuthorityFailure as failure:
            self._announce_failure(trigger, failure.outcome, failure.reason, began)
            raise self._told(failure) from failure
        except (LoginRequired, AccountChanged) as problem:
            self._announce_failure(trigger, "blocked", problem.code, began)
            if self._held is None or not self._bears_with(problem):
                self._block(problem)
            raise
        except BearerdError as error:
            self._announce_failure(trigger, "undelivered", error.code, began)
            raise
        return self._publish(renewed, trigger, began)

    def _publish(self, renewed: Renewed, trigger: Trigger, began: float) -> Credential:
        credential = self._take(
            renewed.credential, is_received=renewed.outcome == "renewed"
        )
        self._last_failure = None
        if renewed.outcome == "renewed":
            self._last_refreshed_at = self._clock.now()
        if renewed.unsaved is not None:
            self._is_in_memory_only = True
            self._observe(
                CredentialHeldInMemory(self._profile, renewed.unsaved.message)
            )
        self._observe(
            CredentialRefreshed(
                self._profile,
                trigger,
                renewed.outcome,
                self._generation,
                self._clock.monotonic() - began,
                self._due.expires_at,
            )
        )
        return credential

    def _announce_failure(
        self, trigger: Trigger, outcome: RefreshOutcome, reason: str, began: float
    ) -> None:
        """Announce a failure once; callers who run into the same one are only told."""
        is_news = self._last_failure != (outcome, reason)
        self._last_failure = (outcome, reason)
        if is_news:
            duration = self._clock.monotonic() - began
            self._observe(
                RefreshFailed(
                    self._profile,
                    trigger,
                    outcome,
                    reason,
                    self._generation,
                    duration,
                )
            )

    def _told(self, failure: AuthorityFailure) -> CredentialError:
        error = told(failure, self._profile)
        if isinstance(error, LoginRequired) and self._final is None:
            self._final = error
            self._announce_problem(error)
        return error
