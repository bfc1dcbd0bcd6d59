"""What the store allows this process to hold.

The store may be torn, unreadable, behind, signed out or somebody else's at any look, and
most of that passes by itself. The watch decides which of it to sit out, and takes up what
belongs to the profile.

Rules:

1. A torn file, or one that cannot be read, is a writer or a disk in trouble. What is held
   is served meanwhile; a file that stays torn is written over.
2. A file that is gone, or holds no login, for one look is a writer at work. At the next
   look too it is a sign-out.
3. What is held and blocked, because the store held another account or a login of another
   kind, stays blocked for that reason while the file is in trouble: it may hold the same
   as before.
4. An older login never replaces a newer one: neither a token that any process is known to
   have spent, nor a file whose last refresh is older than that of what is held.
"""

from __future__ import annotations

from contextlib import suppress

from bearerd.clock import Clock
from bearerd.credential.cached import CachedCredential
from bearerd.credential.conditions import StoreProblem
from bearerd.credential.profile_facts import ProfileFacts
from bearerd.credential.refresh.refresher import Refresher
from bearerd.credential.store.account_pin import AccountPin
from bearerd.credential.store.store import Store
from bearerd.credential.token import Credential
from bearerd.errors import (
    AccountChanged,
    BearerdError,
    LoginRequired,
    StoreUnavailable,
)
from bearerd.events import (
    CredentialHeldInMemory,
    CredentialLoaded,
    CredentialSaved,
    Observer,
)

LOOK_TRIES = 3
"""How often the store is read again because what is held has changed meanwhile."""

TORN_PATIENCE_SECONDS = 5.0
"""How long a torn file may stay torn before what is held is written over it."""


class StoreWatch:
    """Looks at the store of one profile. Owns the looks under way, and since when its
    file is torn.
    """

    def __init__(
        self,
        *,
        profile: str,
        store: Store,
        pin: AccountPin,
        refresher: Refresher,
        cached: CachedCredential,
        facts: ProfileFacts,
        clock: Clock,
        observe: Observer,
    ) -> None:
        self._profile = profile
        self._store = store
        self._pin = pin
        self._refresher = refresher
        self._cached = cached
        self._facts = facts
        self._clock = clock
        self._observe = observe
        self._torn_since: float | None = None  # monotonic
        self._seen_writes = 0  # of the store, by others
        self._loads_under_way = 0

    @property
    def store_name(self) -> str:
        """The store's name, for messages."""
        return self._store.name

    @property
    def has_unseen_writes(self) -> bool:
        """True if a read of the store found a file that `load` has not taken up yet."""
        return self._seen_writes != self._store.foreign_writes

    async def look(self) -> Credential:
        """Return what the store allows to be held now, or raise what is wrong with it.

        It is read only if it has changed, if something was wrong at the last look, or if
        another look is under way: that one has seen the change, and may not have taken up
        yet what it has read.

        Raises:
            LoginRequired, AccountChanged, StoreUnavailable: nothing may be held.
        """
        held, problem = self._cached.credential, self._facts.store_problem
        if held is None or problem is not None:
            return await self.load()
        if await self._store.has_changed() or self._loads_under_way:
            return await self.load()
        return held

    async def load(self) -> Credential:
        """Read the store, and take up what it holds. See `look`.

        What was read before another look, or a refresh, has ended says nothing about the
        store as it is now; it is read again then.
        """
        known = self._facts.store_problem
        self._loads_under_way += 1
        try:
            for _ in range(LOOK_TRIES - 1):
                generation = self._cached.generation
                stored = await self._read()
                if generation == self._cached.generation:
                    return self._take(stored)
            return self._take(await self._read())
        except (LoginRequired, AccountChanged, StoreUnavailable) as problem:
            return self.tolerate(problem, known)
        finally:
            self._loads_under_way -= 1

    async def check(self) -> StoreProblem | None:
        """Read the store; return what is wrong with it, and hold nothing new."""
        try:
            await self._pin.check(await self._store.load())
        except (LoginRequired, AccountChanged, StoreUnavailable) as problem:
            with suppress(BearerdError):
                self.tolerate(problem, self._facts.store_problem)
            return problem
        return None

    def tolerate(self, problem: StoreProblem, known: StoreProblem | None) -> Credential:
        """Return what is held if *problem* may pass by itself; else block, and raise it.

        *known* is what was wrong when the look began: of two looks at the same time,
        neither is the next.
        """
        held, before = self._cached.credential, self._facts.store_problem
        is_blocked = self._facts.is_store_blocking
        reason = problem.reason if isinstance(problem, LoginRequired) else None
        is_trouble = isinstance(problem, StoreUnavailable) or reason == "unreadable"
        is_sign_out = reason in ("missing", "no_login")
        is_first = not (isinstance(known, LoginRequired) and known.reason == reason)
        if reason == "unreadable" and self._torn_since is None:
            self._torn_since = self._clock.monotonic()
        if held is not None and not is_blocked:
            if is_trouble or (is_sign_out and is_first):  # 1, 2
                self._facts.store_failed(problem, is_blocking=False)
                self._facts.assess()
                return held
        elif held is not None and is_trouble and before is not None:  # 3
            raise before.with_traceback(None)
        if reason == "missing":
            self._cached.clear()
        self._facts.store_failed(problem, is_blocking=True)
        self._facts.assess()
        raise problem.with_traceback(None) from None  # or it grows with each raise

    def hold(self, credential: Credential, *, is_touched: bool = False) -> Credential:
        """Hold *credential*, and forget what was wrong with the store.

        *is_touched*: the file has been written since the last look.
        """
        held = self._cached.credential
        self._torn_since = None
        if held is None or held != credential:
            held = self._cached.set(credential)
            self._facts.refresh_ended()
            self._observe(
                CredentialLoaded(
                    self._profile,
                    self._cached.generation,
                    held.account_id,
                    self._cached.schedule.expires_at,
                )
            )
        elif is_touched and self._facts.refresh_problem is not None:
            # The file was touched, or written again as it was: a wish for another try.
            self._facts.wish_retry()
        self._facts.store_read()
        self._facts.assess()
        return held

    async def adopt(self) -> Credential:
        """Pin the profile to the store's account, whatever it was before.

        Raises:
            LoginRequired: the store holds no login.
            StoreError, StoreUnavailable, TimeoutError: it could not be recorded.
        """
        await self._refresher.adopt()
        adopted = self._take(await self._pin.adopt())
        self._facts.saved(is_unsaved=self._refresher.has_unsaved)
        return adopted

    def note_saved(self) -> None:
        """Note that a refresh has just written the store, or keeps what it could not."""
        is_unavailable = isinstance(self._facts.store_problem, StoreUnavailable)
        if self._torn_since is not None or is_unavailable:
            self._torn_since = None
            self._facts.store_written()

    def hold_in_memory(self, reason: str) -> None:
        """Note that the store cannot take what is held; *reason* is announced once."""
        if not self._facts.is_unsaved:
            self._facts.saved(is_unsaved=True)
            self._observe(CredentialHeldInMemory(self._profile, reason))

    async def retry_save(self, *, is_last: bool = False) -> None:
        """Store what lives in memory only, if that can be done by now.

        *is_last*: there will be no other try, so a torn file is given no more time.
        """
        self._write_over_torn(is_last=is_last)
        if not self._facts.is_unsaved:
            return
        is_saved = await self._refresher.retry_save()
        self._facts.saved(is_unsaved=self._refresher.has_unsaved)
        if is_saved:
            self._observe(CredentialSaved(self._profile))
        if not self._refresher.has_unsaved:
            with suppress(BearerdError):
                await self.load()  # perhaps another login: a newer one, or a sign-in
        self._facts.assess()

    async def _read(self) -> Credential:
        """Return what the store holds, if it belongs to the account of the profile."""
        stored = await self._store.load()
        self._refresher.sync(await self._store.read_state())
        await self._pin.check(stored)
        return stored

    def _take(self, stored: Credential) -> Credential:
        """Hold *stored*, unless it is what is held, or an older file of that login."""
        held = self._cached.credential
        is_touched = self._seen_writes != self._store.foreign_writes
        self._seen_writes = self._store.foreign_writes
        if held is None or held == stored:
            return self.hold(stored, is_touched=is_touched)
        is_refused = self._facts.is_refused
        if self._refresher.supersedes(held, stored, is_refused=is_refused):  # 4
            self._refresher.keep_over_stale(stored, held)
            self.hold_in_memory(
                f"{self._store.name}: holds an older login again, whose refresh token is "
                "spent; it will be replaced"
            )
            return self.hold(held, is_touched=is_touched)
        self._refresher.note_displaced(held, stored)
        return self.hold(stored)

    def _write_over_torn(self, *, is_last: bool) -> None:
        """Have what is held saved over a file that has been torn for too long."""
        held, since = self._cached.credential, self._torn_since
        if held is None or since is None or self._facts.is_store_blocking:
            return
        if is_last or self._clock.monotonic() - since >= TORN_PATIENCE_SECONDS:
            self._refresher.keep_over_stale(held, held)
            self.hold_in_memory(
                f"{self._store.name}: holds no whole login; it will be replaced"
            )
