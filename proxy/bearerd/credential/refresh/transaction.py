"""A refresh token that was presented, and its successor that is not stored yet.

A rotating refresh token is good once. Between the moment it is presented and the moment
its successor is in the store, the login exists in one process and on the wire. Logins
are lost in that interval, so each step is recorded before it is taken:

    begin    the journal names the token that is about to be presented
    (the authority is called; the spool receives its response byte by byte)
    commit   the successor goes into the journal, then into the store
    abort    nothing came of the call, and nothing will

A process can die between any two steps. The next holder of the lock calls `recover`,
which finds out what was left and finishes it; `refresh.leftover` has the seven cases.

docs/never-lose-a-login.md says which of these steps is proved by which test.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from bearerd.clock import Clock
from bearerd.credential.refresh.leftover import Case, Leftover, may_become
from bearerd.credential.refresh.leftover_finder import LeftoverFinder
from bearerd.credential.refresh.lineage import Lineage
from bearerd.credential.store.install import replace_whole
from bearerd.credential.store.journal import JournalEntry, Presenter
from bearerd.credential.store.quarantine import Kept
from bearerd.credential.store.state import StoreState
from bearerd.credential.store.store import Store
from bearerd.credential.token import Credential
from bearerd.errors import LoginRequired, StoreError, StoreUnavailable

REPLACE_TRIES: Final = 3
"""How often a backup that comes back during a write is written over."""


@dataclass(frozen=True, slots=True)
class RefreshAttempt:
    """The credentials of one refresh.

    *stored* is what the store holds, read under the lock. *presented* is the credential
    whose refresh token is sent. They differ only while *presented* could not be stored.
    """

    stored: Credential
    presented: Credential

    @property
    def unsaved(self) -> Credential | None:
        """*presented*, if the store does not hold it."""
        return None if self.presented == self.stored else self.presented


@dataclass(frozen=True, slots=True)
class Pending:
    """A successor that lives in memory only. *base* is what the store holds.

    *since* is the time of the last refresh before it, if that is known: a file that is
    older came before both.
    """

    base: Credential
    successor: Credential
    since: float | None

    def over(self, stored: Credential) -> Pending:
        """Return the same successor, over another file."""
        return replace(self, base=stored)


@dataclass(frozen=True, slots=True)
class RecoveryResult:
    """What `RefreshTransaction.recover` found.

    *is_maybe_spent*: the authority may have acted on a token whose response is lost. The
    same token should be presented once more, soon, while a grace period may still
    accept it. *presented_at* is when another process presented that token, in epoch
    seconds: its call may still be at work. *unsaved* is a successor that was found and
    cannot be stored; *error* is the reason.
    """

    is_maybe_spent: bool = False
    presented_at: float | None = None
    unsaved: Credential | None = None
    error: StoreError | None = None


class RefreshTransaction:
    """Owns what is not stored yet, and which tokens were rotated away.

    The fingerprints of spent tokens are shared by the store's state: `sync` takes them
    over, and the limiter writes them. Every method but the predicates and `sync` is
    called under the store's lock.
    """

    def __init__(self, *, store: Store, clock: Clock, presenter: Presenter) -> None:
        self._store = store
        self._clock = clock
        self._presenter = presenter
        self._pending: Pending | None = None
        self._unkept: Kept | None = None  # a foreign grant that no file could take
        self._waiting: JournalEntry | None = None  # of case 6
        self._began_at: float | None = None  # the last record of `begin`
        self._lineage = Lineage()
        self._finder = LeftoverFinder(store=store, clock=clock, lineage=self._lineage)

    @property
    def has_unsaved(self) -> bool:
        """True while something lives in memory only."""
        return self._pending is not None or self._unkept is not None

    def is_spent(self, credential: Credential) -> bool:
        """Return True if any process is known to have rotated *credential* away."""
        return self._lineage.is_spent(credential)

    def supersedes(
        self, held: Credential, stored: Credential, *, is_refused: bool = False
    ) -> bool:
        """Return True if *held* is to be kept over *stored*, an older file of its login.

        *is_refused*: the token of *held* is refused for good.
        """
        return self._successor_of(stored) == held or self._lineage.is_newer(
            held, stored, now=self._clock.now(), is_refused=is_refused
        )

    def newest(
        self, stored: Credential, held: Credential | None, *, is_refused: bool = False
    ) -> Credential:
        """Return the credential to go on from: *stored*, unless memory is ahead of it."""
        successor = self._successor_of(stored)
        if successor is not None:
            return successor
        if held is None or held == stored:
            return stored
        is_ahead = self.supersedes(held, stored, is_refused=is_refused)
        return held if is_ahead else stored

    def sync(self, state: StoreState) -> None:
        """Take over what other processes know of spent tokens."""
        self._lineage.sync(state)

    def note_displaced(self, before: Credential, after: Credential) -> None:
        """Note that another writer has replaced *before* in the store by *after*."""
        self._lineage.note_displaced(before, after)

    def settle(self, stored: Credential) -> None:
        """Compare what is unsaved with *stored*, which may have been replaced.

        A newer login wins, and what is unsaved is forgotten. An older file that came back
        is what the unsaved credential follows from now on.
        """
        pending = self._pending
        if pending is None or pending.base == stored:
            return
        is_ahead = self._is_ahead(pending, stored)
        self._pending = pending.over(stored) if is_ahead else None

    def keep_over_stale(self, stored: Credential, held: Credential) -> None:
        """Record that the store went back to *stored*, and that *held* follows it."""
        if self._pending is None:
            self._pending = Pending(stored, held, held.refreshed_at)

    async def begin(self, attempt: RefreshAttempt) -> bool:
        """Record that a token is about to be presented; return False if that failed.

        A response that waits in the journal for another account's file (case 6) goes
        into the quarantine first.
        """
        waiting = self._waiting
        if waiting is not None and waiting.renewed is not None:
            try:
                await self._keep(waiting.stored, waiting.renewed)
            except StoreError:
                return False
            self._waiting = None
        entry = self._entry(
            attempt.stored,
            spending=attempt.presented.fingerprint,
            renewed=attempt.unsaved,
        )
        self._began_at = entry.since
        return await self._write(entry)

    async def commit(
        self, attempt: RefreshAttempt, successor: Credential
    ) -> Credential | None:
        """Keep *successor*; return None, or the credential that won over it.

        It is in the journal before it is in the store, and in memory until the store
        has it.

        Raises:
            StoreError: the store cannot be written; `retry_save` tries again.
            LoginRequired: the login was signed out meanwhile.
        """
        if successor.refresh_token != attempt.presented.refresh_token:
            self._lineage.note_spent(attempt.presented.fingerprint)
        await self._write(self._entry(attempt.stored, spending=None, renewed=successor))
        since = attempt.presented.refreshed_at
        self._pending = Pending(attempt.stored, successor, since)
        try:
            winner = await self._replace()
        except LoginRequired as absence:
            if absence.reason == "missing":
                # It stays in memory: the same file may come back.
                await self._store.journal.clear()
            raise  # 6: over a login of another kind the journal keeps it
        if winner is not None and not may_become(winner, successor):
            return winner  # 6: journal and memory keep the successor
        self._pending = None
        await self._store.journal.clear()
        return winner

    async def quarantine(self, attempt: RefreshAttempt, grant: Credential) -> None:
        """Keep a grant for another account, whose price was the presented token.

        Raises:
            StoreError: it could not be kept anywhere but in the journal or in memory.
        """
        self._lineage.note_spent(attempt.presented.fingerprint)
        is_recorded = await self._write(
            self._entry(attempt.stored, spending=None, renewed=grant)
        )
        try:
            await self._keep(attempt.stored.fingerprint, grant)
        except StoreError:
            if not is_recorded:
                self._unkept = self._kept(attempt.stored.fingerprint, grant)
            raise
        await self._store.journal.clear()

    async def abort(self, attempt: RefreshAttempt) -> None:
        """Record that nothing came of the call, and that nothing will.

        The record stays while it holds the only copy of an unsaved credential.
        """
        if attempt.unsaved is None:
            await self._store.journal.clear()

    async def recover(self, held: Credential | None = None) -> RecoveryResult:
        """Finish what a process that died has left open.

        It is called before each refresh too, while something is unsaved here: another
        process may have read that in the journal, and have gone on from it. *held* stands
        for what the store holds while its file is torn.

        Raises:
            LoginRequired: there is a record, and the store holds nothing.
            StoreUnavailable: the store cannot be read.
        """
        self.sync(await self._store.read_state())
        await self._install_new_login()
        leftover = await self._finder.find(held)
        self._waiting = leftover.entry if leftover.case is Case.WAITING else None
        match leftover.case:
            case Case.NOTHING_OPEN | Case.CONTINUED_HERE | Case.WAITING:  # 1, 3, 6
                return RecoveryResult()
            case Case.SUPERSEDED:  # 2
                await self._store.journal.clear()
                return RecoveryResult()
            case Case.SUCCESSOR_FOUND:  # 4
                return await self._store_successor(leftover)
            case Case.MAYBE_SPENT:  # 5
                return self._maybe_spent(leftover.entry)
            case Case.FOREIGN_GRANT:  # 7
                return await self._quarantine_leftover(leftover)

    async def adopt(self) -> Credential:
        """Return the credential that a person chose by `bearerd adopt`, stored.

        It is what the store holds. If the token in there was spent on a grant for another
        account, it is that grant. A response that waits for another account's file
        (case 6) goes into the quarantine, since the next refresh needs the journal.

        Raises:
            LoginRequired: the store holds no login.
            StoreError: the grant could not be stored.
        """
        self.sync(await self._store.read_state())
        stored = await self._store.load()
        kept = await self._store.quarantine.read("foreign")
        leftover = await self._finder.find(None)
        if leftover.case is Case.WAITING:
            await self._quarantine_leftover(leftover)
        await self._quarantine_pending(stored)
        if kept is None or kept.presented != stored.fingerprint:
            return stored
        if await self._store.replace(stored, kept.credential) is not None:
            raise StoreError(
                f"{self._store.name}: another program has just changed it; try again"
            )
        await self._store.quarantine.clear("foreign", kept)
        return kept.credential

    async def retry_save(self) -> bool:
        """Try again to store what lives in memory only; return True if it is stored.

        A login that was stored meanwhile wins: then what was unsaved is dropped. A
        sign-out wins too. While a login of another account, or of another kind, is
        stored, it is kept.

        Raises:
            StoreError, StoreUnavailable: it still cannot be written.
        """
        if self._unkept is not None:
            with suppress(StoreError):
                await self._store.quarantine.keep("foreign", self._unkept)
                self._unkept = None
        pending = self._pending
        if pending is None:
            return True
        try:
            await self.recover(pending.base)
            pending = self._unsaved()
            if pending is None:
                return True  # another process has gone on from it, and stored that
            winner = await self._replace()
        except LoginRequired as absence:
            if absence.reason != "missing":
                return False  # 6
            winner, pending = None, None  # signed out
        if winner and pending and not may_become(winner, pending.successor):
            return False  # 6
        await self._store.journal.clear()
        self._pending = None
        return winner is None and pending is not None

    async def _replace(self) -> Credential | None:
        """Store what is pending; return None, or the credential that won over it.

        An older login that came back meanwhile, such as a backup, is no winner.

        Raises:
            StoreError, LoginRequired: see `Store.replace`.
        """
        for _ in range(REPLACE_TRIES):
            pending = self._pending
            assert pending is not None  # noqa: S101 - the caller's condition
            winner = await self._store.replace(pending.base, pending.successor)
            if winner is None or not self._is_ahead(pending, winner):
                return winner
            self._pending = pending.over(winner)
        raise StoreError(f"{self._store.name}: another program changes it all the time")

    def _is_ahead(self, pending: Pending, stored: Credential) -> bool:
        """Return True if *stored*, found in the place of the base, is an older login.

        A sign-in during the call may be older than the response, and still wins; hence
        the time of the refresh before decides.
        """
        return self._lineage.is_newer(
            pending.successor,
            stored,
            now=self._clock.now(),
            since=pending.since,
        )

    async def _install_new_login(self) -> None:
        """Store the login of a person that found the store locked or not writable."""
        kept = await self._store.quarantine.read("new_login")
        if kept is None:
            return
        if self.is_spent(kept.credential):
            # It was stored, and used since; only its file could not be removed.
            await self._store.quarantine.clear("new_login", kept)
            return
        with suppress(StoreError):  # it stays in quarantine
            await replace_whole(self._store, kept.credential, self._clock.now())
            self._pending = None

    async def _quarantine_leftover(self, leftover: Leftover) -> RecoveryResult:
        """Keep the grant of case 7, or the response of case 6, in the quarantine."""
        entry = leftover.entry
        assert entry is not None  # noqa: S101 - both cases have one
        assert entry.renewed is not None  # noqa: S101
        if leftover.case is Case.FOREIGN_GRANT:
            await self._record_spent(entry.stored)
        with suppress(StoreError):  # then the journal keeps it
            await self._keep(entry.stored, entry.renewed)
            await self._store.journal.clear()
        return RecoveryResult()

    async def _quarantine_pending(self, stored: Credential) -> None:
        """Keep what is unsaved of another login than *stored* in the quarantine."""
        pending = self._pending
        if pending is None or pending.base == stored:
            return
        with suppress(StoreError):
            await self._keep(pending.base.fingerprint, pending.successor)
            self._pending = None

    async def _keep(self, presented: str, grant: Credential) -> None:
        await self._store.quarantine.keep("foreign", self._kept(presented, grant))

    def _kept(self, presented: str, grant: Credential) -> Kept:
        return Kept(grant, presented=presented, since=self._clock.now())

    async def _record_spent(self, fingerprint: str) -> None:
        """Share the fingerprint of a token whose presenter died before it could."""
        self._lineage.note_spent(fingerprint)
        with suppress(StoreError, StoreUnavailable):
            state = await self._store.read_state()
            spent = state.with_spent(fingerprint)
            await self._store.write_state(replace(state, spent=spent))

    async def _store_successor(self, leftover: Leftover) -> RecoveryResult:
        """Store the successor of case 4, or hold it in memory."""
        stored, entry = leftover.stored, leftover.entry
        assert stored is not None  # noqa: S101 - case 4 has both
        assert entry is not None  # noqa: S101
        assert entry.renewed is not None  # noqa: S101
        self._pending = Pending(stored, entry.renewed, stored.refreshed_at)
        if stored.fingerprint != entry.renewed.fingerprint:
            await self._record_spent(stored.fingerprint)
        try:
            winner = await self._replace()
        except StoreError as error:
            return RecoveryResult(unsaved=entry.renewed, error=error)
        if winner is not None and not may_become(winner, entry.renewed):
            return RecoveryResult()  # 6
        self._pending = None
        if winner is not None or entry.spending is None:
            await self._store.journal.clear()
            return RecoveryResult()
        # 4 and 5: the record is now about the successor's own token.
        await self._write(replace(entry, stored=entry.spending, renewed=None))
        return self._maybe_spent(entry)

    def _maybe_spent(self, entry: JournalEntry | None) -> RecoveryResult:
        """Return case 5. The pause after an own call is known to the limiter."""
        assert entry is not None  # noqa: S101 - case 5 has one
        is_own = entry.since == self._began_at
        presented_at = None if is_own else entry.since
        return RecoveryResult(is_maybe_spent=True, presented_at=presented_at)

    def _unsaved(self) -> Pending | None:
        return self._pending

    def _successor_of(self, stored: Credential) -> Credential | None:
        pending = self._pending
        if pending is None or pending.base != stored:
            return None
        return pending.successor

    def _entry(
        self, stored: Credential, *, spending: str | None, renewed: Credential | None
    ) -> JournalEntry:
        return JournalEntry(
            stored=stored.fingerprint,
            spending=spending,
            since=self._clock.now(),
            presenter=self._presenter,
            renewed=renewed,
        )

    async def _write(self, entry: JournalEntry) -> bool:
        try:
            await self._store.journal.write(entry)
        except StoreError:
            return False
        return True
