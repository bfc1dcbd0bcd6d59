"""One refresh, from the lock to the store: the only place where a token is spent.

The order never changes: lock, finish what was left, read again, draw on the budget,
journal, refresh, journal, replace. What stands in the store under the lock decides; what
this process held before is only compared with it. So a caller that comes late finds the
work done, and one that takes over finds what its predecessor had come to.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace

from proxy.credential.authority import Authority, AuthorityFailure, Grant
from proxy.credential.backoff import Backoff
from proxy.credential.budget import Budget, Level
from proxy.credential.clock import Clock
from proxy.credential.journal import Entry, Spender
from proxy.credential.ledger import Notes, Owner, Refused
from proxy.credential.store import Store
from proxy.credential.token import Credential
from proxy.errors import AccountChanged, LoginRequired, StoreError
from proxy.events import RefreshOutcome

WINNER_WAIT_SECONDS = 0.1
WINNER_LOOKS = 10
"""After `refresh_token_reused` the winner's write may still be on its way: 1 s."""


SPENT_REMEMBERED = 64
"""Fingerprints of tokens that we have rotated away; a restored backup holds one."""


@dataclass(frozen=True, slots=True)
class Renewed:
    """A credential that replaces the one refused. `unsaved` says why it is not stored.

    `outcome` is `renewed` when the authority gave it, `adopted` when the store had it.
    """

    credential: Credential
    outcome: RefreshOutcome
    unsaved: StoreError | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """What was left of a spend that another process began.

    *is_maybe_spent*: nobody knows whether the authority has acted; the same token should
    be presented once more, soon, while it may still be borne. *unsaved* is an answer
    that was found and cannot be stored.
    """

    is_maybe_spent: bool = False
    unsaved: Renewed | None = None


class Renewal:
    """Refreshes one profile's credential. Owns the backoff and what is not saved yet.

    *waited* is told how many seconds the lock took.
    """

    def __init__(
        self,
        *,
        store: Store,
        authority: Authority,
        budget: Budget,
        backoff: Backoff,
        clock: Clock,
        lock_timeout_seconds: float,
        waited: Callable[[float], None],
        spender: Spender,
    ) -> None:
        self._store = store
        self._authority = authority
        self._budget = budget
        self._backoff = backoff
        self._clock = clock
        self._lock_timeout_seconds = lock_timeout_seconds
        self._waited = waited
        self._spender = spender
        self._unsaved: tuple[Credential, Credential] | None = None  # as in replace()
        self._level: Level | None = None
        self._refused: Refused | None = None
        self._spent: deque[str] = deque(maxlen=SPENT_REMEMBERED)

    async def recover(self) -> Finished:
        """Finish what a process that died left in the journal, if the lock is free."""
        try:
            async with self._store.lock(0):
                return await self._finish()
        except (TimeoutError, StoreError, LoginRequired):
            return Finished()  # its holder lives and will finish; or nothing is here

    async def run(
        self, held: Credential | None, owner: Owner, *, can_wait: bool = False
    ) -> Renewed:
        """Return a credential other than *held*, refreshing if the store has none.

        *can_wait*: what is held is still good, so nothing is spent that could not be
        noted first.

        Raises:
            AuthorityFailure: no new credential; its outcome says why.
            LoginRequired, AccountChanged: the store holds nothing, or another account.
            StoreError: there is no place for the lock.
        """
        try:
            async with self._lock():
                return await self._under_lock(held, owner, can_wait=can_wait)
        except TimeoutError:
            # The holder may have done the work without letting go yet.
            stored = guarded(await self._store.load(), owner, self._store.name)
            if stored != held:
                return Renewed(stored, "adopted")
            raise AuthorityFailure(
                "undelivered", "lock_held", retry_after_seconds=1
            ) from None

    @property
    def has_unsaved(self) -> bool:
        """Say whether the newest credential lives in memory only."""
        return self._unsaved is not None

    async def save_again(self) -> bool:
        """Try once more to store what lives in memory only; say whether it is stored.

        A store that changed meanwhile wins, as always: what was unsaved is dropped.
        """
        if self._unsaved is None:
            return True
        with suppress(StoreError, TimeoutError):
            async with self._lock():
                try:
                    is_stored = await self._store.replace(*self._unsaved) is None
                except LoginRequired:
                    is_stored = False  # signed out
                await self._store.journal.clear()
                self._unsaved = None
                return is_stored
        return False

    def is_superseded(self, stored: Credential) -> bool:
        """Say whether we ourselves have spent this one: a store that is behind."""
        return stored.fingerprint in self._spent

    async def _finish(self) -> Finished:
        """Commit an answer that landed in the journal; find a spend that is open."""
        entries = self._store.journal.read()
        if not entries:
            return Finished()
        stored = await self._store.load()
        entry = next((e for e in entries if e.stored == stored.fingerprint), None)
        if entry is None:  # all finished, or overtaken by a new login
            await self._store.journal.clear()
            return Finished()
        renewed = entry.renewed
        if renewed is not None and Owner.of(stored).accepts(Owner.of(renewed)):
            try:
                await self._store.replace(stored, renewed)
            except StoreError as error:
                self._unsaved = (stored, renewed)
                self._spent.append(stored.fingerprint)
                return Finished(unsaved=Renewed(renewed, "adopted", unsaved=error))
        if entry.spending is None:
            await self._store.journal.clear()
            return Finished()
        await self._journal(replace(entry, stored=entry.spending, renewed=None))
        return Finished(is_maybe_spent=True)

    async def _under_lock(
        self, held: Credential | None, owner: Owner, *, can_wait: bool
    ) -> Renewed:
        if self._unsaved is None:
            finished = await self._finish()
            if finished.unsaved is not None:
                return finished.unsaved
        stored = guarded(await self._store.load(), owner, self._store.name)
        if held is not None and self.is_superseded(stored):
            # To spend the store's token again would be a reuse.
            return await self._spend(stored, held, can_wait=can_wait)
        self._unsaved = None
        is_other = held is None or stored.access_token != held.access_token
        if is_other and not stored.is_expired(self._clock.now()):
            return Renewed(stored, "adopted")
        return await self._spend(stored, stored, can_wait=can_wait)

    async def _spend(
        self, stored: Credential, current: Credential, *, can_wait: bool
    ) -> Renewed:
        """Refresh *current* over *stored*, which differ only while unsaved."""
        if not current.refresh_token:
            raise AuthorityFailure("refused", "other")
        self._backoff.check(current.fingerprint)
        notes = self._store.read_notes()
        for refused in (notes.refused, self._refused):
            if refused is not None and refused.fingerprint == current.fingerprint:
                raise AuthorityFailure("refused", refused.reason)
        notes = self._drawn(notes)
        unsaved = current if current != stored else None
        intent = self._entry(stored, spending=current, renewed=unsaved)
        await self._journal(intent, can_wait=can_wait)
        try:
            grant = await self._authority.refresh(current.refresh_token)
            if grant.names_another_account(current):
                raise AuthorityFailure("unclear", "other_account")  # noqa: TRY301
        except AuthorityFailure as failure:
            return await self._failed(failure, current, notes)
        self._backoff.reset()
        return await self._keep(stored, current, grant)

    async def _keep(
        self, stored: Credential, current: Credential, grant: Grant
    ) -> Renewed:
        renewed = grant.applied_to(current, self._clock.now())
        if renewed.refresh_token != current.refresh_token:
            self._spent.append(current.fingerprint)
        await self._journal(self._entry(stored, spending=None, renewed=renewed))
        try:
            winner = await self._store.replace(stored, renewed)
        except StoreError as error:
            self._unsaved = (stored, renewed)
            return Renewed(renewed, "renewed", unsaved=error)
        except LoginRequired:
            await self._store.journal.clear()  # signed out meanwhile
            raise
        self._unsaved = None
        await self._store.journal.clear()
        if winner is not None:
            winner = guarded(winner, Owner.of(current), self._store.name)
            return Renewed(winner, "adopted")
        if grant.access_token is None:
            raise AuthorityFailure("unclear", "no_access_token")
        return Renewed(renewed, "renewed")

    async def _failed(
        self, failure: AuthorityFailure, current: Credential, notes: Notes
    ) -> Renewed:
        if failure.outcome != "unclear" and self._unsaved is None:
            await self._store.journal.clear()  # unspent, or spent for good
        if failure.outcome == "refused":
            winner = await self._look_again(current, failure.reason)
            if winner is not None:
                return Renewed(winner, "adopted")
            self._refused = Refused(current.fingerprint, failure.reason)
            self._note(replace(notes, refused=self._refused))
            raise failure
        if failure.outcome == "undelivered" and notes.level is not None:
            self._note(replace(notes, level=self._budget.returned(notes.level)))
        raise self._backoff.after(current.fingerprint, failure)

    async def _look_again(self, spent: Credential, reason: str) -> Credential | None:
        """Return what another writer has stored since, or None.

        Only a reuse proves that there is a winner; for it alone we wait.

        Raises:
            AccountChanged: it is somebody else's.
        """
        for remaining in reversed(range(WINNER_LOOKS if reason == "reused" else 1)):
            with suppress(LoginRequired):
                stored = await self._store.load()
                # A store that is behind, as nothing could be saved, is no winner.
                if stored != spent and not self.is_superseded(stored):
                    return guarded(stored, Owner.of(spent), self._store.name)
            if remaining:
                await self._clock.sleep(WINNER_WAIT_SECONDS)
        return None

    def _entry(
        self,
        stored: Credential,
        spending: Credential | None,
        renewed: Credential | None,
    ) -> Entry:
        return Entry(
            stored=stored.fingerprint,
            spending=spending.fingerprint if spending else None,
            since=self._clock.now(),
            spender=self._spender,
            renewed=renewed,
        )

    async def _journal(self, entry: Entry, *, can_wait: bool = False) -> None:
        """Keep *entry*. What cannot be kept stops only what *can_wait*."""
        try:
            await self._store.journal.write(entry)
        except StoreError:
            if can_wait:
                raise AuthorityFailure("undelivered", "no_journal") from None

    def _drawn(self, notes: Notes) -> Notes:
        """Draw one call, in the notes and in memory; whichever holds less decides."""
        now = self._clock.now()
        levels = [level for level in (notes.level, self._level) if level is not None]
        level = min(
            (self._budget.refilled(level, now) for level in levels),
            key=lambda level: level.calls,
            default=self._budget.full(now),
        )
        level, wait_seconds = self._budget.draw(level, now)
        if wait_seconds:
            raise AuthorityFailure(
                "throttled", "budget", retry_after_seconds=wait_seconds
            )
        drawn = replace(notes, level=level)
        self._note(drawn)
        return drawn

    def _note(self, notes: Notes) -> None:
        self._level = notes.level
        # Without the notes the budget is this process's own: worse, and no reason to
        # refuse a refresh.
        with suppress(StoreError):
            self._store.write_notes(notes)

    @asynccontextmanager
    async def _lock(self) -> AsyncIterator[None]:
        began = self._clock.monotonic()
        async with self._store.lock(self._lock_timeout_seconds):
            self._waited(self._clock.monotonic() - began)
            yield


def guarded(stored: Credential, owner: Owner, store_name: str) -> Credential:
    """Return *stored* if it may be taken up for *owner*.

    Raises:
        AccountChanged: it is somebody else's.
    """
    if owner.accepts(Owner.of(stored)):
        return stored
    raise AccountChanged(
        f"{store_name}: now holds account {stored.account_id or 'unknown'}, but this "
        f"profile belongs to {owner.account_id}; to go on with the new account run "
        "`bearerd adopt`, or sign in to the old one with `bearerd login`"
    )
