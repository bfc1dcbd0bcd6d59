"""The transaction around one call to the authority.

A rotating refresh token can be used once. From the moment it is presented until its
successor is stored, the login exists only in one process and on the wire. A crash in
this interval can lose the login, so each step is recorded before it is taken:

    begin    the journal records the token that is about to be presented
    (the authority is called; the spool receives its response byte by byte)
    commit   the successor is written to the journal, then to the store
    abort    the call returned no tokens, and the token is not maybe spent

A process can die between any two steps. The next holder of the lock calls `recover`,
which completes or discards the interrupted refresh. `refresh.interrupted` has the seven
cases, and `refresh.crash_recovery` the action for each.

docs/never-lose-a-login.md lists the test that proves each step.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

from bearerd.clock import Clock
from bearerd.credential.refresh.crash_recovery import CrashRecovery, CrashRecoveryResult
from bearerd.credential.refresh.interrupted import may_become
from bearerd.credential.refresh.lineage import Lineage
from bearerd.credential.refresh.unsaved import PendingWrite, UnsavedSuccessor
from bearerd.credential.store.journal_entry import JournalEntry, Presenter
from bearerd.credential.store.quarantine import QuarantinedCredential
from bearerd.credential.store.state import StoreState
from bearerd.credential.store.store import Store
from bearerd.credential.token import Credential
from bearerd.errors import LoginRequired, StoreError


@dataclass(frozen=True, slots=True)
class RefreshAttempt:
    """The credentials of one refresh.

    *stored* is the stored credential, read under the lock. *presented* is the credential
    whose refresh token is sent. They differ only while *presented* is unsaved.
    """

    stored: Credential
    presented: Credential

    @property
    def unsaved(self) -> Credential | None:
        """*presented*, if the store does not hold it."""
        return None if self.presented == self.stored else self.presented


class RefreshTransaction:
    """Records each step of a refresh. Owns the unsaved credentials and the lineage.

    Processes share the fingerprints of spent tokens in the store's state: `sync` copies
    them from it, and the limiter writes them. Every method except the predicates and
    `sync` is called under the store's lock.
    """

    def __init__(self, *, store: Store, clock: Clock, presenter: Presenter) -> None:
        self._store = store
        self._clock = clock
        self._presenter = presenter
        self._began_at: float | None = None  # the time of the last record of `begin`
        # A foreign grant that could not be written to the quarantine.
        self._unsaved_grant: QuarantinedCredential | None = None
        self._lineage = lineage = Lineage()
        self._unsaved = UnsavedSuccessor(store=store, clock=clock, lineage=lineage)
        self._recovery = CrashRecovery(
            store=store, clock=clock, lineage=lineage, unsaved=self._unsaved
        )

    @property
    def has_unsaved(self) -> bool:
        """True while a credential is in memory only."""
        return self._unsaved.pending is not None or self._unsaved_grant is not None

    def is_spent(self, credential: Credential) -> bool:
        """Return True if any process is known to have spent the token of *credential*."""
        return self._lineage.is_spent(credential)

    def supersedes(
        self, cached: Credential, stored: Credential, *, is_refused: bool = False
    ) -> bool:
        """Return True if *cached* is a newer credential of the same login than *stored*.

        *is_refused*: the authority has refused the token of *cached* permanently.
        """
        return self._unsaved.successor_of(stored) == cached or self._lineage.is_newer(
            cached, stored, now=self._clock.now(), is_refused=is_refused
        )

    def newest(
        self, stored: Credential, cached: Credential | None, *, is_refused: bool = False
    ) -> Credential:
        """Return the newest credential: the unsaved one, *cached* or *stored*."""
        successor = self._unsaved.successor_of(stored)
        if successor is not None:
            return successor
        if cached is None or cached == stored:
            return stored
        is_newer = self.supersedes(cached, stored, is_refused=is_refused)
        return cached if is_newer else stored

    def sync(self, state: StoreState) -> None:
        """Copy the spent tokens of all processes from the store's state."""
        self._lineage.sync(state)

    def record_replacement(self, before: Credential, after: Credential) -> None:
        """Record that another writer has replaced *before* in the store by *after*."""
        self._lineage.record_replacement(before, after)

    def compare_with_stored(self, stored: Credential) -> None:
        """Drop the unsaved credential if *stored* is newer; else save it over *stored*."""
        self._unsaved.compare_with_stored(stored)

    def record_stale_store(self, stored: Credential, cached: Credential) -> None:
        """Record that the store holds *stored*, which *cached* has to replace."""
        if self._unsaved.pending is None:
            self._unsaved.set_pending(PendingWrite(stored, cached, cached.refreshed_at))

    async def recover(self, cached: Credential | None = None) -> CrashRecoveryResult:
        """Recover from an interrupted refresh. See `CrashRecovery.run`.

        `presented_at` is None for a token that this process has presented: the limiter
        has recorded the pause after that call.

        It also runs before each refresh of a process with an unsaved credential: another
        process may have found that credential in the journal and refreshed it.
        """
        result = await self._recovery.run(cached)
        is_own = result.presented_at == self._began_at
        return replace(result, presented_at=None) if is_own else result

    async def begin(self, attempt: RefreshAttempt) -> bool:
        """Record that a token is about to be presented; return False if that failed.

        The credential of case 6, which waits in the journal, goes into the quarantine
        first.
        """
        try:
            await self._recovery.quarantine_waiting()
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
        """Store *successor* and return None, or return the conflicting credential.

        That is a credential which another writer has stored since `begin`; then
        *successor* is not stored. It is written to the journal before the store, and
        stays in memory until it is stored.

        Raises:
            StoreError: the store cannot be written; `retry_save` tries again.
            LoginRequired: the login was signed out since `begin`.
        """
        if successor.refresh_token != attempt.presented.refresh_token:
            self._lineage.record_spent(attempt.presented.fingerprint)
        await self._write(self._entry(attempt.stored, spending=None, renewed=successor))
        self._unsaved.set_pending(
            PendingWrite(attempt.stored, successor, attempt.presented.refreshed_at)
        )
        try:
            conflicting = await self._unsaved.write()
        except LoginRequired as error:
            if error.reason == "missing":
                # The successor stays in memory: the same file may come back.
                await self._store.journal.clear()
            raise  # 6: if another kind of login is stored, it stays in the journal too
        if conflicting is not None and not may_become(conflicting, successor):
            return conflicting  # 6: the successor stays in the journal and in memory
        self._unsaved.clear_pending()
        await self._store.journal.clear()
        return conflicting

    async def quarantine(self, attempt: RefreshAttempt, grant: Credential) -> None:
        """Write a grant for another account to the quarantine.

        The presented token is spent, so this grant is the only copy.

        Raises:
            StoreError: it could not be written there; it is in the journal or in memory.
        """
        self._lineage.record_spent(attempt.presented.fingerprint)
        is_recorded = await self._write(
            self._entry(attempt.stored, spending=None, renewed=grant)
        )
        try:
            await self._recovery.quarantine_grant(attempt.stored.fingerprint, grant)
        except StoreError:
            if not is_recorded:
                stored = attempt.stored.fingerprint
                self._unsaved_grant = QuarantinedCredential(
                    grant, presented=stored, since=self._clock.now()
                )
            raise
        await self._store.journal.clear()

    async def abort(self, attempt: RefreshAttempt) -> None:
        """Clear the record of a call that returned no tokens.

        It is not cleared while it holds the only copy of an unsaved credential.
        """
        if attempt.unsaved is None:
            await self._store.journal.clear()

    async def adopt(self) -> Credential:
        """Return the credential to adopt, after it is stored.

        That is the stored credential or, if its token was spent for a grant of another
        account, that grant from the quarantine. The credential of case 6, which waits in
        the journal, goes into the quarantine, since the next refresh needs the journal.

        Raises:
            LoginRequired: the store holds no login.
            StoreError: the grant could not be stored.
        """
        self.sync(await self._store.read_state())
        stored = await self._store.load()
        foreign = await self._store.quarantine.read("foreign")
        await self._recovery.find_and_quarantine_waiting()
        await self._quarantine_pending(stored)
        if foreign is None or foreign.presented != stored.fingerprint:
            return stored
        if await self._store.replace(stored, foreign.credential) is not None:
            raise StoreError(
                f"{self._store.name}: another program has just changed it; try again"
            )
        await self._store.quarantine.clear("foreign", foreign)
        return foreign.credential

    async def retry_save(self) -> bool:
        """Try again to store what is in memory only; return True if it is stored.

        If the store holds a newer login, or the login was signed out, the unsaved
        credential is dropped. So is one whose token is spent: what came for it is stored,
        in the journal or, if it belongs to another account, in the quarantine. While the store holds another account or another kind of
        login, the unsaved credential stays in memory.

        Raises:
            StoreError, StoreUnavailable: it still cannot be written.
        """
        if self._unsaved_grant is not None:
            with suppress(StoreError):
                await self._store.quarantine.write("foreign", self._unsaved_grant)
                self._unsaved_grant = None
        pending = self._unsaved.pending
        if pending is None:
            return True
        try:
            await self.recover(pending.base)
            pending = self._unsaved.pending
            if pending is None:
                return True  # another process has stored it, or a later one
            if self.is_spent(pending.successor):
                self._unsaved.clear_pending()
                return False
            conflicting = await self._unsaved.write()
        except LoginRequired as error:
            if error.reason != "missing":
                return False  # 6
            conflicting, pending = None, None  # signed out
        if conflicting and pending and not may_become(conflicting, pending.successor):
            return False  # 6
        await self._store.journal.clear()
        self._unsaved.clear_pending()
        return conflicting is None and pending is not None

    async def _quarantine_pending(self, stored: Credential) -> None:
        """Move the unsaved credential to the quarantine if *stored* is not its base."""
        pending = self._unsaved.pending
        if pending is None or pending.base == stored:
            return
        with suppress(StoreError):
            await self._recovery.quarantine_grant(
                pending.base.fingerprint, pending.successor
            )
            self._unsaved.clear_pending()

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
