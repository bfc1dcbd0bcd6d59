"""A token in custody: from the moment it is presented until its successor is stored.

In between it exists in one process and on the wire, and this is where logins get lost.
So the journal hears of each step first, an answer that cannot be stored is kept in
memory and offered again, and a token that was spent here is known by its fingerprint, in
case an old file comes back with it.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from dataclasses import dataclass, replace

from proxy.credential.authority import AuthorityFailure
from proxy.credential.clock import Clock
from proxy.credential.journal import Entry, Spender
from proxy.credential.ledger import Owner
from proxy.credential.store import Store
from proxy.credential.token import Credential
from proxy.errors import LoginRequired, StoreError

SPENT_REMEMBERED = 64
"""Fingerprints of tokens that were rotated away; a restored backup holds one."""


@dataclass(frozen=True, slots=True)
class Finished:
    """What was left of a spend that another process began.

    *is_maybe_spent*: nobody knows whether the authority has acted; the same token should
    be presented once more, soon, while it may still be borne. *unsaved* is an answer
    that was found and cannot be stored, and *error* says why.
    """

    is_maybe_spent: bool = False
    unsaved: Credential | None = None
    error: StoreError | None = None


class Custody:
    """Owns what is not stored yet, and what was spent. Used under the store's lock."""

    def __init__(self, *, store: Store, clock: Clock, spender: Spender) -> None:
        self._store = store
        self._clock = clock
        self._spender = spender
        self._unsaved: tuple[Credential, Credential] | None = None  # as in replace()
        self._spent: deque[str] = deque(maxlen=SPENT_REMEMBERED)

    @property
    def has_unsaved(self) -> bool:
        """Say whether the newest credential lives in memory only."""
        return self._unsaved is not None

    def is_spent(self, credential: Credential) -> bool:
        """Say whether its refresh token was rotated away here."""
        return credential.fingerprint in self._spent

    def newest(self, stored: Credential, held: Credential | None) -> Credential:
        """Return what to go on from: *stored*, unless it is known to be behind."""
        if not self.is_spent(stored):
            self._unsaved = None  # the store has something else by now, and wins
            return stored
        if self._unsaved is not None and self._unsaved[0] == stored:
            return self._unsaved[1]
        return held if held is not None else stored

    async def finish(self) -> Finished:
        """Commit an answer that landed in the journal; find a spend that is open.

        Raises:
            LoginRequired: there is a record, and the store holds nothing.
        """
        entries = self._store.journal.read() if self._unsaved is None else []
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
                return Finished(unsaved=renewed, error=error)
        if entry.spending is None:
            await self._store.journal.clear()
            return Finished()
        await self._write(replace(entry, stored=entry.spending, renewed=None))
        return Finished(is_maybe_spent=True)

    async def intend(
        self, stored: Credential, current: Credential, *, can_wait: bool
    ) -> None:
        """Note that *current* is about to be presented, while the store has *stored*.

        Raises:
            AuthorityFailure: it cannot be noted, and *can_wait* until it can.
        """
        entry = self._entry(
            stored,
            spending=current.fingerprint,
            renewed=current if current != stored else None,
        )
        if not await self._write(entry) and can_wait:
            raise AuthorityFailure("undelivered", "no_journal")

    async def keep(
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
            raise
        self._unsaved = None
        await self._store.journal.clear()
        return winner

    async def settled(self) -> None:
        """Note that nothing came of a spend, and that nothing will.

        An answer that is not stored yet stays in the journal.
        """
        if self._unsaved is None:
            await self._store.journal.clear()

    async def save_again(self) -> bool:
        """Try once more to store what lives in memory only; say whether it is stored.

        A store that changed meanwhile wins, as always: what was unsaved is dropped.

        Raises:
            StoreError: it still cannot be written.
        """
        if self._unsaved is None:
            return True
        is_stored = False
        with suppress(LoginRequired):  # signed out
            is_stored = await self._store.replace(*self._unsaved) is None
        await self._store.journal.clear()
        self._unsaved = None
        return is_stored

    def _entry(
        self, stored: Credential, *, spending: str | None, renewed: Credential | None
    ) -> Entry:
        return Entry(
            stored=stored.fingerprint,
            spending=spending,
            since=self._clock.now(),
            spender=self._spender,
            renewed=renewed,
        )

    async def _write(self, entry: Entry) -> bool:
        try:
            await self._store.journal.write(entry)
        except StoreError:
            return False
        return True
