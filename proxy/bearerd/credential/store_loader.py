"""Reads the store, and caches the credential in it if the profile may use it.

A file can be torn, unreadable, older than the cached credential, removed, or of another
account at any read. Most of these are temporary. The loader decides which of them to
tolerate, and caches what belongs to the profile.

Rules:

1. If the store gives no credential of this profile, `store_problem` decides what becomes
   of the cached one. A file that stays torn is overwritten.
2. An older login never replaces a newer one. A login is older if its refresh token is
   known to be spent, by any process, or if its last refresh was earlier.
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
from bearerd.credential.store_problem import (
    ProblemAction,
    choose_action,
    login_reason,
)
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

LOAD_TRIES = 3
"""How often the store is read when the cached credential changes during the read."""

TORN_TIMEOUT_SECONDS = 5.0
"""How long a file may stay torn before the cached credential is written over it."""


class StoreLoader:
    """Reads the store of one profile and caches what belongs to the profile.

    Owns the number of reads in progress, and since when the file is torn.
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
        self._foreign_writes_seen = 0
        self._loads_in_progress = 0

    @property
    def store_name(self) -> str:
        """The store's name, for messages."""
        return self._store.name

    @property
    def has_unseen_writes(self) -> bool:
        """True if another writer has changed the file since the last `load`."""
        return self._foreign_writes_seen != self._store.foreign_writes

    async def load_if_changed(self) -> Credential:
        """Return the credential to use, after a read of the store if one is needed.

        The store is read if it has changed, if the last read failed, or if another read
        is in progress: that one has reset `has_changed`, and may not have cached its
        result yet.

        Raises:
            LoginRequired, AccountChanged, StoreUnavailable: there is no credential that
                may be used.
        """
        cached, problem = self._cached.credential, self._facts.store_problem
        if cached is None or problem is not None:
            return await self.load()
        if await self._store.has_changed() or self._loads_in_progress:
            return await self.load()
        return cached

    async def load(self) -> Credential:
        """Read the store and cache its credential. See `load_if_changed`.

        If another load, or a refresh, changes the cached credential during the read, the
        result may be outdated, and the store is read again.
        """
        problem_at_start = self._facts.store_problem
        self._loads_in_progress += 1
        try:
            for _ in range(LOAD_TRIES - 1):
                generation = self._cached.generation
                stored = await self._read()
                if generation == self._cached.generation:
                    return self._set_stored(stored)
            return self._set_stored(await self._read())
        except (LoginRequired, AccountChanged, StoreUnavailable) as problem:
            return self.handle_problem(problem, problem_at_start)
        finally:
            self._loads_in_progress -= 1

    async def check(self) -> StoreProblem | None:
        """Read the store and return what is wrong with it, or None.

        A problem is handled as in `load`. A credential of this profile is not cached.
        """
        try:
            await self._pin.check_or_pin(await self._store.load())
        except (LoginRequired, AccountChanged, StoreUnavailable) as problem:
            with suppress(BearerdError):
                self.handle_problem(problem, self._facts.store_problem)
            return problem
        return None

    def handle_problem(
        self, problem: StoreProblem, problem_at_start: StoreProblem | None
    ) -> Credential:
        """Do what `store_problem` decides about *problem*, and record it.

        Return the cached credential if that stays in use; otherwise raise *problem*, or
        the one that blocks the credential already. *problem_at_start* was recorded when
        the read of the store started.
        """
        action = choose_action(
            problem,
            has_credential=self._cached.credential is not None,
            is_blocked=self._facts.is_store_blocking,
            before=problem_at_start,
        )
        if login_reason(problem) == "unreadable" and self._torn_since is None:
            self._torn_since = self._clock.monotonic()
        recorded = self._facts.store_problem
        if action is ProblemAction.STAY_BLOCKED and recorded is not None:
            raise recorded.with_traceback(None)
        if action is ProblemAction.DROP:
            self._cached.clear()
        is_tolerated = action is ProblemAction.TOLERATE
        self._facts.record_store_problem(problem, is_blocking=not is_tolerated)
        self._facts.assess()
        cached = self._cached.credential
        if is_tolerated and cached is not None:
            return cached
        # Each raise of one exception object would add to its traceback.
        raise problem.with_traceback(None) from None

    def set_cached(
        self, credential: Credential, *, is_touched: bool = False
    ) -> Credential:
        """Cache *credential* and clear the store problem; return it with its generation.

        *is_touched*: the file has been written since the last read.
        """
        cached = self._cached.credential
        self._torn_since = None
        if cached is None or cached != credential:
            cached = self._cached.set(credential)
            self._facts.clear_refresh_problem()
            self._observe(
                CredentialLoaded(
                    self._profile,
                    self._cached.generation,
                    cached.account_id,
                    self._cached.schedule.expires_at,
                )
            )
        elif is_touched and self._facts.refresh_problem is not None:
            # Touching the file, or writing the same content again, requests a retry.
            self._facts.request_retry()
        self._facts.record_store_read()
        self._facts.assess()
        return cached

    async def adopt(self) -> Credential:
        """Pin the profile to the account in the store, and cache its credential.

        Raises:
            LoginRequired: the store holds no login.
            StoreError, StoreUnavailable, TimeoutError: the pin could not be recorded.
        """
        await self._refresher.adopt()
        adopted = self._set_stored(await self._pin.adopt())
        self._facts.set_unsaved(is_unsaved=self._refresher.has_unsaved)
        self._facts.assess()
        return adopted

    def record_store_written(self) -> None:
        """Record that a refresh has written the store, or holds the result in memory."""
        is_unavailable = isinstance(self._facts.store_problem, StoreUnavailable)
        if self._torn_since is not None or is_unavailable:
            self._torn_since = None
            self._facts.record_store_written()

    def record_unsaved(self, reason: str) -> None:
        """Record that the cached credential is in memory only; emit the event once."""
        if not self._facts.is_unsaved:
            self._facts.set_unsaved(is_unsaved=True)
            self._observe(CredentialHeldInMemory(self._profile, reason))

    async def retry_save(self, *, is_last: bool = False) -> None:
        """Try again to store a credential that is in memory only.

        *is_last*: no other attempt follows, so a torn file is overwritten at once.
        """
        self._replace_torn(is_last=is_last)
        if not self._facts.is_unsaved:
            return
        is_saved = await self._refresher.retry_save()
        self._facts.set_unsaved(is_unsaved=self._refresher.has_unsaved)
        if is_saved:
            self._observe(CredentialSaved(self._profile))
        if not self._refresher.has_unsaved:
            # The store may hold a newer login, or none after a sign-out.
            with suppress(BearerdError):
                await self.load()
        self._facts.assess()

    async def _read(self) -> Credential:
        """Return the stored credential if it belongs to the pinned account."""
        stored = await self._store.load()
        self._refresher.sync(await self._store.read_state())
        await self._pin.check_or_pin(stored)
        return stored

    def _set_stored(self, stored: Credential) -> Credential:
        """Cache *stored*, unless the cached credential is newer; return the result."""
        cached = self._cached.credential
        is_touched = self.has_unseen_writes
        self._foreign_writes_seen = self._store.foreign_writes
        if cached is None or cached == stored:
            return self.set_cached(stored, is_touched=is_touched)
        is_refused = self._facts.is_refused
        if self._refresher.supersedes(cached, stored, is_refused=is_refused):  # 2
            self._refresher.record_stale_store(stored, cached)
            self.record_unsaved(
                f"{self._store.name}: holds an older login than the cached one; it will "
                "be replaced"
            )
            return self.set_cached(cached, is_touched=is_touched)
        self._refresher.record_replacement(cached, stored)
        return self.set_cached(stored)

    def _replace_torn(self, *, is_last: bool) -> None:
        """Mark the cached credential as unsaved if the file has been torn too long.

        `retry_save` then writes it over the file.
        """
        cached, since = self._cached.credential, self._torn_since
        if cached is None or since is None or self._facts.is_store_blocking:
            return
        if is_last or self._clock.monotonic() - since >= TORN_TIMEOUT_SECONDS:
            self._refresher.record_stale_store(cached, cached)
            self.record_unsaved(
                f"{self._store.name}: does not contain a complete login; it will be "
                "replaced"
            )
