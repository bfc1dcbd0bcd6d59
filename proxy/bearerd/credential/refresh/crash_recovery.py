"""Recovery from a refresh that was interrupted; `refresh.interrupted` has the cases.

Each holder of the lock runs it first, before anything else.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

from bearerd.clock import Clock
from bearerd.credential.refresh.interrupted import Case, InterruptedRefresh, may_become
from bearerd.credential.refresh.interrupted_finder import InterruptedRefreshFinder
from bearerd.credential.refresh.lineage import Lineage
from bearerd.credential.refresh.unsaved import PendingWrite, UnsavedSuccessor
from bearerd.credential.store.install import install_locked
from bearerd.credential.store.journal_entry import JournalEntry
from bearerd.credential.store.quarantine import QuarantinedCredential
from bearerd.credential.store.store import Store
from bearerd.credential.token import Credential
from bearerd.errors import StoreError, StoreUnavailable


@dataclass(frozen=True, slots=True)
class CrashRecoveryResult:
    """The result of `CrashRecovery.run`.

    *is_maybe_spent*: the authority may have rotated a token whose response is lost. The
    same token should be presented again soon, while a grace period may still accept it.
    *presented_at* is when that token was presented, in epoch seconds: the authority may
    still process the call. *unsaved* is a successor that was found but cannot be stored,
    and *error* the reason.
    """

    is_maybe_spent: bool = False
    presented_at: float | None = None
    unsaved: Credential | None = None
    error: StoreError | None = None


class CrashRecovery:
    """Completes or discards interrupted refreshes.

    Owns the record of case 6, which waits for the file of its account. A successor that
    cannot be stored goes to *unsaved*.
    """

    def __init__(
        self, *, store: Store, clock: Clock, lineage: Lineage, unsaved: UnsavedSuccessor
    ) -> None:
        self._store = store
        self._clock = clock
        self._lineage = lineage
        self._unsaved = unsaved
        self._finder = InterruptedRefreshFinder(
            store=store, clock=clock, lineage=lineage
        )
        self._waiting: JournalEntry | None = None  # of case 6

    async def run(self, cached: Credential | None = None) -> CrashRecoveryResult:
        """Complete or discard an interrupted refresh.

        *cached* is used in place of the stored credential while the file is torn.

        Raises:
            LoginRequired: there is a record, and the store holds no login.
            StoreUnavailable: the store cannot be read.
        """
        self._lineage.sync(await self._store.read_state())
        await self._install_new_login()
        interrupted = await self._finder.find(cached)
        is_waiting = interrupted.case is Case.WAITING
        self._waiting = interrupted.entry if is_waiting else None
        match interrupted.case:
            case Case.NO_RECORD | Case.CONTINUED_LOCALLY | Case.WAITING:  # 1, 3, 6
                return CrashRecoveryResult()
            case Case.SUPERSEDED:  # 2
                await self._store.journal.clear()
                return CrashRecoveryResult()
            case Case.SUCCESSOR_FOUND:  # 4
                return await self._store_successor(interrupted)
            case Case.MAYBE_SPENT:  # 5
                return _maybe_spent(interrupted.entry)
            case Case.FOREIGN_GRANT:  # 7
                await self._quarantine(interrupted)
                return CrashRecoveryResult()

    async def quarantine_waiting(self) -> None:
        """Move the credential of case 6 to the quarantine: the journal is needed.

        Raises:
            StoreError: it could not be written there, and stays in the journal.
        """
        waiting = self._waiting
        if waiting is not None and waiting.renewed is not None:
            await self.quarantine_grant(waiting.stored, waiting.renewed)
            self._waiting = None

    async def find_and_quarantine_waiting(self) -> None:
        """Look for a record of case 6; move its credential and clear the journal."""
        interrupted = await self._finder.find(None)
        if interrupted.case is Case.WAITING:
            await self._quarantine(interrupted)

    async def quarantine_grant(self, presented: str, grant: Credential) -> None:
        """Write *grant* to the quarantine.

        *presented* is the fingerprint of the token that was spent for it.

        Raises:
            StoreError: it could not be written.
        """
        quarantined = QuarantinedCredential(
            grant, presented=presented, since=self._clock.now()
        )
        await self._store.quarantine.write("foreign", quarantined)

    async def _install_new_login(self) -> None:
        """Store a new login that could not be stored when the person signed in."""
        quarantined = await self._store.quarantine.read("new_login")
        if quarantined is None:
            return
        if self._lineage.is_spent(quarantined.credential):
            # It was stored and has been rotated; only its file could not be removed.
            await self._store.quarantine.clear("new_login", quarantined)
            return
        with suppress(StoreError):  # it stays in quarantine
            await install_locked(self._store, quarantined.credential, self._clock.now())
            self._unsaved.clear_pending()

    async def _quarantine(self, interrupted: InterruptedRefresh) -> None:
        """Move the credential of case 6 or 7 from the journal to the quarantine."""
        entry = interrupted.entry
        assert entry is not None  # noqa: S101 - both cases have one
        assert entry.renewed is not None  # noqa: S101
        if interrupted.case is Case.FOREIGN_GRANT:
            await self._share_spent(entry.stored)
        with suppress(StoreError):  # the journal still holds it
            await self.quarantine_grant(entry.stored, entry.renewed)
            await self._store.journal.clear()

    async def _share_spent(self, fingerprint: str) -> None:
        """Add a spent token to the store's state: its presenter died before that."""
        self._lineage.record_spent(fingerprint)
        with suppress(StoreError, StoreUnavailable):
            state = await self._store.read_state()
            spent = state.with_spent(fingerprint)
            await self._store.write_state(replace(state, spent=spent))

    async def _store_successor(
        self, interrupted: InterruptedRefresh
    ) -> CrashRecoveryResult:
        """Store the successor of case 4; keep it in memory if that fails."""
        stored, entry = interrupted.stored, interrupted.entry
        assert stored is not None  # noqa: S101 - case 4 has both
        assert entry is not None  # noqa: S101
        assert entry.renewed is not None  # noqa: S101
        self._unsaved.set_pending(
            PendingWrite(stored, entry.renewed, stored.refreshed_at)
        )
        if stored.fingerprint != entry.renewed.fingerprint:
            await self._share_spent(stored.fingerprint)
        try:
            conflicting = await self._unsaved.write()
        except StoreError as error:
            return CrashRecoveryResult(unsaved=entry.renewed, error=error)
        if conflicting is not None and not may_become(conflicting, entry.renewed):
            return CrashRecoveryResult()  # 6
        self._unsaved.clear_pending()
        if conflicting is not None or entry.spending is None:
            await self._store.journal.clear()
            return CrashRecoveryResult()
        # 4 and 5: the successor's own token was presented too. Record that.
        with suppress(StoreError):
            await self._store.journal.write(
                replace(entry, stored=entry.spending, renewed=None)
            )
        return _maybe_spent(entry)


def _maybe_spent(entry: JournalEntry | None) -> CrashRecoveryResult:
    """Return the result for case 5."""
    assert entry is not None  # noqa: S101 - case 5 has one
    return CrashRecoveryResult(is_maybe_spent=True, presented_at=entry.since)
