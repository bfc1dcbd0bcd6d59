"""A token in custody: from the moment it is presented until its successor is stored.

In between it exists in one process and on the wire, and this is where logins get lost.
So the journal hears of each step first, a response that cannot be stored is kept in
memory and offered again, and a token that was spent here is known by its fingerprint, in
case an old file comes back with it.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from dataclasses import dataclass, replace
from http import HTTPStatus

from bearerd.clock import Clock
from bearerd.credential.authority.errors import AuthorityFailure
from bearerd.credential.authority.refresh_grant import interpret
from bearerd.credential.store.journal import JournalEntry, Presenter
from bearerd.credential.store.state import Account
from bearerd.credential.store.store import Store
from bearerd.credential.token import Credential
from bearerd.errors import LoginRequired, StoreError

SPENT_REMEMBERED = 64
"""Fingerprints of tokens that were rotated away; a restored backup holds one."""


@dataclass(frozen=True, slots=True)
class RecoveryResult:
    """What was left of a spend that another process began.

    *is_maybe_spent*: nobody knows whether the authority has acted; the same token should
    be presented once more, soon, while it may still be borne. *unsaved* is a response
    that was found and cannot be stored, and *error* says why.
    """

    is_maybe_spent: bool = False
    unsaved: Credential | None = None
    error: StoreError | None = None


class RefreshTransaction:
    """Owns what is not stored yet, and what was spent. Used under the store's lock."""

    def __init__(self, *, store: Store, clock: Clock, presenter: Presenter) -> None:
        self._store = store
        self._clock = clock
        self._presenter = presenter
        self._unsaved: tuple[Credential, Credential] | None = None  # as in replace()
        self._spent: deque[str] = deque(maxlen=SPENT_REMEMBERED)

    @property
    def has_unsaved(self) -> bool:
        """Say whether the newest credential lives in memory only."""
        return self._unsaved is not None

    def is_spent(self, credential: Credential) -> bool:
        """Say whether its refresh token was rotated away here."""
        return credential.fingerprint in self._spent

    def is_superseded(self, stored: Credential) -> bool:
        """Say whether what is in memory here comes after *stored*."""
        is_followed = self._unsaved is not None and self._unsaved[0] == stored
        return is_followed or self.is_spent(stored)

    def current_over(self, stored: Credential, held: Credential | None) -> Credential:
        """Return what to go on from: *stored*, unless it is known to be behind."""
        if self._unsaved is not None and self._unsaved[0] == stored:
            return self._unsaved[1]
        if self.is_spent(stored):
            return held if held is not None else stored
        self._unsaved = None  # the store has something else by now, and wins
        return stored

    async def recover(self) -> RecoveryResult:
        """Commit a response that landed in the journal; find a spend that is open.

        Also while something is in memory only: another process may have read it in the
        journal, and have gone on from there.

        Raises:
            LoginRequired: there is a record, and the store holds nothing.
        """
        entries = self._store.journal.read()
        if not entries:
            return RecoveryResult()
        found = await self._left_open(entries)
        if found is None:
            await self._store.journal.clear()
            return RecoveryResult()
        stored, entry = found[0], self._with_spooled(*found)
        renewed = entry.renewed
        if entry.spending in self._spent or (renewed and self.is_spent(renewed)):
            return RecoveryResult()  # what is in memory here goes on from there
        if renewed is not None and _follows(renewed, stored):
            try:
                await self._store.replace(stored, renewed)
            except StoreError as error:
                self._unsaved = (stored, renewed)
                if stored.fingerprint != renewed.fingerprint:
                    self._spent.append(stored.fingerprint)
                return RecoveryResult(unsaved=renewed, error=error)
            self._unsaved = None
        if entry.spending is None:
            await self._store.journal.clear()
            return RecoveryResult()
        open_spend = replace(entry, stored=entry.spending, renewed=None)
        if open_spend != entry:
            await self._write(open_spend)
        return RecoveryResult(is_maybe_spent=True)

    def _with_spooled(self, stored: Credential, entry: JournalEntry) -> JournalEntry:
        """Return *entry* with the response that had come in when its writer died."""
        if entry.spending is None:
            return entry
        body = self._store.journal.spool.read(entry.spending)
        presented = entry.renewed or stored
        if body is None or presented.fingerprint != entry.spending:
            return entry
        try:
            grant = interpret(HTTPStatus.OK, {}, body)
        except AuthorityFailure:
            return entry  # not all of it
        if grant.names_another_account(presented):
            return entry
        renewed = grant.applied_to(presented, self._clock.now())
        return replace(entry, spending=None, renewed=renewed)

    def keep_over_stale(self, stored: Credential, held: Credential) -> None:
        """Note that the store has an older login again, and that *held* follows it."""
        if self._unsaved is None:
            self._unsaved = (stored, held)

    async def begin(self, stored: Credential, current: Credential) -> bool:
        """Note that *current* is about to be presented, while the store has *stored*.

        Say whether that could be noted.
        """
        entry = self._entry(
            stored,
            spending=current.fingerprint,
            renewed=current if current != stored else None,
        )
        return await self._write(entry)

    async def commit(
        self, stored: Credential, current: Credential, renewed: Credential
    ) -> Credential | None:
        """Store what came of *current*; return what has won over it, if anything.

        Raises:
            StoreError: it lives in memory now, and in the journal if that took it.
            LoginRequired: somebody has signed out meanwhile.
        """
        if renewed.refresh_token != current.refresh_token:
            self._spent.append(current.fingerprint)
        await self._write(self._entry(stored, spending=None, renewed=renewed))
        self._unsaved = (stored, renewed)
        try:
            winner = await self._store.replace(stored, renewed)
        except LoginRequired:
            await self._store.journal.clear()
            raise  # and kept in memory, should the same file come back
        self._unsaved = None
        await self._store.journal.clear()
        return winner

    async def abort(self, stored: Credential, current: Credential) -> None:
        """Note that nothing came of spending *current*, and that nothing will.

        While the store does not hold it, the journal does, and keeps it.
        """
        if current == stored:
            await self._store.journal.clear()

    async def retry_save(self) -> bool:
        """Try once more to store what lives in memory only; say whether it is stored.

        A store that changed meanwhile wins, as always: what was unsaved is dropped.

        Raises:
            StoreError: it still cannot be written.
        """
        if self._unsaved is None:
            return True
        is_stored = False
        with suppress(LoginRequired):  # signed out
            await self.recover()
            if not self.has_unsaved:
                return True  # another process had gone on from it, and that is stored
            is_stored = await self._store.replace(*self._unsaved) is None
        await self._store.journal.clear()
        self._unsaved = None
        return is_stored

    async def _left_open(
        self, entries: list[JournalEntry]
    ) -> tuple[Credential, JournalEntry] | None:
        """Return what is stored, with the record of what began from it.

        None if all is finished, or overtaken by a new login. Where the file is written
        in place and a death has torn it, the response that was being written stands for
        it, if it belongs to the owner.

        Raises:
            LoginRequired: the store holds nothing, and no record has it.
        """
        try:
            stored = await self._store.load()
        except LoginRequired as absence:
            if absence.reason != "unreadable" or not self._store.is_written_in_place:
                raise
            account = self._store.read_state().account or Account()
            for entry in entries:
                if entry.renewed and account.accepts(Account.of(entry.renewed)):
                    return entry.renewed, entry
            raise
        ours = (entry for entry in entries if entry.stored == stored.fingerprint)
        return next(((stored, entry) for entry in ours), None)

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


def _follows(renewed: Credential, stored: Credential) -> bool:
    """Say whether *renewed* may replace *stored*, from which it was spent.

    An authority that does not rotate leaves the refresh token as it was; then the one
    that lasts longer is the newer.
    """
    if not Account.of(stored).accepts(Account.of(renewed)):
        return False
    if renewed.fingerprint != stored.fingerprint:
        return True
    return (renewed.expires_at or 0) >= (stored.expires_at or 0)
