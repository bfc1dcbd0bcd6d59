"""Whose login a profile is: learned from its first credential, changed only on purpose.

Agents would otherwise write into somebody else's account as soon as a file holds one.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from bearerd.credential.store.state import Owner
from bearerd.credential.store.store import Store
from bearerd.credential.token import Credential
from bearerd.errors import AccountChanged, StoreError

ADOPT_LOCK_SECONDS = 5.0


class Ownership:
    """The pin of one profile. Owns what is known of it; the notes beside the store keep
    it for other processes, and for the next start.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._is_noted = False
        self.owner = Owner()

    async def check(self, stored: Credential) -> None:
        """Learn the owner, and compare: the first credential decides whose it is.

        Raises:
            AccountChanged: *stored* is somebody else's.
        """
        noted = self._store.read_notes().owner
        self._is_noted = noted is not None and noted.account_id is not None
        self.owner = noted if noted is not None and self._is_noted else self.owner
        guarded(stored, self.owner, self._store.name)
        if self.owner.account_id is None:
            self.owner = Owner.of(stored)
        await self.note()

    async def note(self) -> None:
        """Write the pin down unless that is done, or the lock is taken just now.

        Where nothing can be noted, the pin holds for this process at least.
        """
        if self._is_noted or self.owner.account_id is None:
            return
        with suppress(StoreError, TimeoutError):
            async with self._store.lock(0):
                self._write()

    async def adopt(self) -> Credential:
        """Take the store's account for this profile's own; return what it holds.

        Raises:
            LoginRequired: it holds none.
            StoreError, TimeoutError: the choice could not be noted.
        """
        async with self._store.lock(ADOPT_LOCK_SECONDS):
            stored = await self._store.load()
            self.owner = Owner.of(stored)
            self._write()
        return stored

    def _write(self) -> None:
        notes = self._store.read_notes()
        self._store.write_notes(replace(notes, owner=self.owner))
        self._is_noted = True


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
