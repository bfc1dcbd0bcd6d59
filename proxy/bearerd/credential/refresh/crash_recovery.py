"""Finishes what a process that died in a refresh has left; `leftover` has the cases.

The next holder of the lock calls it, before anything else is done under the lock.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

from bearerd.clock import Clock
from bearerd.credential.refresh.leftover import Case, Leftover, may_become
from bearerd.credential.refresh.leftover_finder import LeftoverFinder
from bearerd.credential.refresh.lineage import Lineage
from bearerd.credential.refresh.unsaved import Pending, UnsavedSuccessor
from bearerd.credential.store.install import replace_whole
from bearerd.credential.store.journal import JournalEntry
from bearerd.credential.store.quarantine import Kept
from bearerd.credential.store.store import Store
from bearerd.credential.token import Credential
from bearerd.errors import StoreError, StoreUnavailable


@dataclass(frozen=True, slots=True)
class RecoveryResult:
    """What `CrashRecovery.run` found.

    *is_maybe_spent*: the authority may have acted on a token whose response is lost. The
    same token should be presented once more, soon, while a grace period may still
    accept it. *presented_at* is when that token was presented, in epoch seconds: the call
    may still be at work. *unsaved* is a successor that was found and cannot be stored;
    *error* is the reason.
    """

    is_maybe_spent: bool = False
    presented_at: float | None = None
    unsaved: Credential | None = None
    error: StoreError | None = None


class CrashRecovery:
    """Finishes leftovers. Owns the record of case 6, which waits for its file.

    *unsaved* gets a successor that is found and cannot be stored at once.
    """

    def __init__(
        self, *, store: Store, clock: Clock, lineage: Lineage, unsaved: UnsavedSuccessor
    ) -> None:
        self._store = store
        self._clock = clock
        self._lineage = lineage
        self._unsaved = unsaved
        self._finder = LeftoverFinder(store=store, clock=clock, lineage=lineage)
        self._waiting: JournalEntry | None = None  # of case 6

    async def run(self, held: Credential | None = None) -> RecoveryResult:
        """Finish what was left open. *held* stands for a file that is torn.

        Raises:
            LoginRequired: there is a record, and the store holds nothing.
            StoreUnavailable: the store cannot be read.
        """
        self._lineage.sync(await self._store.read_state())
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
                return _maybe_spent(leftover.entry)
            case Case.FOREIGN_GRANT:  # 7
                await self._quarantine(leftover)
                return RecoveryResult()

    async def release_waiting(self) -> None:
        """Move the response of case 6 into the quarantine: the journal is needed.

        Raises:
            StoreError: it could not be kept there, and stays in the journal.
        """
        waiting = self._waiting
        if waiting is not None and waiting.renewed is not None:
            await self.keep(waiting.stored, waiting.renewed)
            self._waiting = None

    async def set_aside(self) -> None:
        """Move the response of case 6, if one waits, into the quarantine and clear it."""
        leftover = await self._finder.find(None)
        if leftover.case is Case.WAITING:
            await self._quarantine(leftover)

    async def keep(self, presented: str, grant: Credential) -> None:
        """Keep *grant*, for which the token named *presented* was spent, in quarantine.

        Raises:
            StoreError: it could not be written.
        """
        kept = Kept(grant, presented=presented, since=self._clock.now())
        await self._store.quarantine.keep("foreign", kept)

    async def _install_new_login(self) -> None:
        """Store the login of a person that found the store locked or not writable."""
        kept = await self._store.quarantine.read("new_login")
        if kept is None:
            return
        if self._lineage.is_spent(kept.credential):
            # It was stored, and used since; only its file could not be removed.
            await self._store.quarantine.clear("new_login", kept)
            return
        with suppress(StoreError):  # it stays in quarantine
            await replace_whole(self._store, kept.credential, self._clock.now())
            self._unsaved.drop()

    async def _quarantine(self, leftover: Leftover) -> None:
        """Keep the grant of case 7, or the response of case 6, in the quarantine."""
        entry = leftover.entry
        assert entry is not None  # noqa: S101 - both cases have one
        assert entry.renewed is not None  # noqa: S101
        if leftover.case is Case.FOREIGN_GRANT:
            await self._record_spent(entry.stored)
        with suppress(StoreError):  # then the journal keeps it
            await self.keep(entry.stored, entry.renewed)
            await self._store.journal.clear()

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
        self._unsaved.hold(Pending(stored, entry.renewed, stored.refreshed_at))
        if stored.fingerprint != entry.renewed.fingerprint:
            await self._record_spent(stored.fingerprint)
        try:
            winner = await self._unsaved.write()
        except StoreError as error:
            return RecoveryResult(unsaved=entry.renewed, error=error)
        if winner is not None and not may_become(winner, entry.renewed):
            return RecoveryResult()  # 6
        self._unsaved.drop()
        if winner is not None or entry.spending is None:
            await self._store.journal.clear()
            return RecoveryResult()
        # 4 and 5: the record is now about the successor's own token.
        with suppress(StoreError):
            await self._store.journal.write(
                replace(entry, stored=entry.spending, renewed=None)
            )
        return _maybe_spent(entry)


def _maybe_spent(entry: JournalEntry | None) -> RecoveryResult:
    assert entry is not None  # noqa: S101 - case 5 has one
    return RecoveryResult(is_maybe_spent=True, presented_at=entry.since)
