"""A refresh token that was presented, and its successor that is not stored yet.

A rotating refresh token is good once. Between the moment it is presented and the moment
its successor is in the store, the login exists in one process and on the wire. Logins
are lost in that interval, so each step is recorded before it is taken:

    begin    the journal names the token that is about to be presented
    (the authority is called; the spool receives its response byte by byte)
    commit   the successor goes into the journal, then into the store
    abort    nothing came of the call, and nothing will

A process can die between any two steps. The next holder of the lock calls `recover`,
which finds out what was left and finishes it; `refresh.leftover` has the seven cases and
`refresh.crash_recovery` what follows from each.

docs/never-lose-a-login.md says which of these steps is proved by which test.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

from bearerd.clock import Clock
from bearerd.credential.refresh.crash_recovery import CrashRecovery, RecoveryResult
from bearerd.credential.refresh.leftover import may_become
from bearerd.credential.refresh.lineage import Lineage
from bearerd.credential.refresh.unsaved import Pending, UnsavedSuccessor
from bearerd.credential.store.journal import JournalEntry, Presenter
from bearerd.credential.store.quarantine import Kept
from bearerd.credential.store.state import StoreState
from bearerd.credential.store.store import Store
from bearerd.credential.token import Credential
from bearerd.errors import LoginRequired, StoreError


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


class RefreshTransaction:
    """Records each step of a refresh. Owns which tokens were rotated away.

    The fingerprints of spent tokens are shared by the store's state: `sync` takes them
    over, and the limiter writes them. Every method but the predicates and `sync` is
    called under the store's lock.
    """

    def __init__(self, *, store: Store, clock: Clock, presenter: Presenter) -> None:
        self._store = store
        self._clock = clock
        self._presenter = presenter
        self._began_at: float | None = None  # the last record of `begin`
        self._unkept: Kept | None = None  # a foreign grant that no file could take
        self._lineage = lineage = Lineage()
        self._unsaved = UnsavedSuccessor(store=store, clock=clock, lineage=lineage)
        self._recovery = CrashRecovery(
            store=store, clock=clock, lineage=lineage, unsaved=self._unsaved
        )

    @property
    def has_unsaved(self) -> bool:
        """True while something lives in memory only."""
        return self._unsaved.pending is not None or self._unkept is not None

    def is_spent(self, credential: Credential) -> bool:
        """Return True if any process is known to have rotated *credential* away."""
        return self._lineage.is_spent(credential)

    def supersedes(
        self, held: Credential, stored: Credential, *, is_refused: bool = False
    ) -> bool:
        """Return True if *held* is to be kept over *stored*, an older file of its login.

        *is_refused*: the token of *held* is refused for good.
        """
        return self._unsaved.successor_of(stored) == held or self._lineage.is_newer(
            held, stored, now=self._clock.now(), is_refused=is_refused
        )

    def newest(
        self, stored: Credential, held: Credential | None, *, is_refused: bool = False
    ) -> Credential:
        """Return the credential to go on from: *stored*, unless memory is ahead of it."""
        successor = self._unsaved.successor_of(stored)
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
        """Compare what is unsaved with *stored*, which may have been replaced."""
        self._unsaved.settle(stored)

    def keep_over_stale(self, stored: Credential, held: Credential) -> None:
        """Record that the store went back to *stored*, and that *held* follows it."""
        if self._unsaved.pending is None:
            self._unsaved.hold(Pending(stored, held, held.refreshed_at))

    async def recover(self, held: Credential | None = None) -> RecoveryResult:
        """Finish what a process that died has left open. See `CrashRecovery.run`.

        `presented_at` is None for a token that this process presented itself: the limiter
        knows the pause after that.

        It is called before each refresh too, while something is unsaved here: another
        process may have read that in the journal, and have gone on from it.
        """
        result = await self._recovery.run(held)
        is_own = result.presented_at == self._began_at
        return replace(result, presented_at=None) if is_own else result

    async def begin(self, attempt: RefreshAttempt) -> bool:
        """Record that a token is about to be presented; return False if that failed.

        A response that waits in the journal for another account's file (case 6) goes
        into the quarantine first.
        """
        try:
            await self._recovery.release_waiting()
        except StoreError:
            return False
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
        self._unsaved.hold(Pending(attempt.stored, successor, since))
        try:
            winner = await self._unsaved.write()
        except LoginRequired as absence:
            if absence.reason == "missing":
                # It stays in memory: the same file may come back.
                await self._store.journal.clear()
            raise  # 6: over a login of another kind the journal keeps it
        if winner is not None and not may_become(winner, successor):
            return winner  # 6: journal and memory keep the successor
        self._unsaved.drop()
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
            await self._recovery.keep(attempt.stored.fingerprint, grant)
        except StoreError:
            if not is_recorded:
                stored = attempt.stored.fingerprint
                self._unkept = Kept(grant, presented=stored, since=self._clock.now())
            raise
        await self._store.journal.clear()

    async def abort(self, attempt: RefreshAttempt) -> None:
        """Record that nothing came of the call, and that nothing will.

        The record stays while it holds the only copy of an unsaved credential.
        """
        if attempt.unsaved is None:
            await self._store.journal.clear()

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
        await self._recovery.set_aside()
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
        pending = self._unsaved.pending
        if pending is None:
            return True
        try:
            await self.recover(pending.base)
            pending = self._unsaved.pending
            if pending is None:
                return True  # another process has gone on from it, and stored that
            winner = await self._unsaved.write()
        except LoginRequired as absence:
            if absence.reason != "missing":
                return False  # 6
            winner, pending = None, None  # signed out
        if winner and pending and not may_become(winner, pending.successor):
            return False  # 6
        await self._store.journal.clear()
        self._unsaved.drop()
        return winner is None and pending is not None

    async def _quarantine_pending(self, stored: Credential) -> None:
        """Keep what is unsaved of another login than *stored* in the quarantine."""
        pending = self._unsaved.pending
        if pending is None or pending.base == stored:
            return
        with suppress(StoreError):
            await self._recovery.keep(pending.base.fingerprint, pending.successor)
            self._unsaved.drop()

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
