"""Whose login a profile is: learned from its first credential, changed only on purpose.

Agents would otherwise write into somebody else's account as soon as a file holds one.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from bearerd.credential.store.state import Account
from bearerd.credential.store.store import Store
from bearerd.credential.token import Credential
from bearerd.errors import AccountChanged, StoreError

ADOPT_LOCK_SECONDS = 5.0


class AccountPin:
    """The pin of one profile. Owns what is known of it; the notes beside the store keep
    it for other processes, and for the next start.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._is_recorded = False
        self.account = Account()

    async def check(self, stored: Credential) -> None:
        """Learn the owner, and compare: the first credential decides whose it is.

        Raises:
            AccountChanged: *stored* is somebody else's.
        """
        noted = self._store.read_state().account
        self._is_recorded = noted is not None and noted.account_id is not None
        self.account = (
            noted if noted is not None and self._is_recorded else self.account
        )
        require_same_account(stored, self.account, self._store.name)
        if self.account.account_id is None:
            self.account = Account.of(stored)
        await self.record()

    async def record(self) -> None:
        """Write the pin down unless that is done, or the lock is taken just now.

        Where nothing can be noted, the pin holds for this process at least.
        """
        if self._is_recorded or self.account.account_id is None:
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
            self.account = Account.of(stored)
            self._write()
        return stored

    def _write(self) -> None:
        state = self._store.read_state()
        self._store.write_state(replace(state, account=self.account))
        self._is_recorded = True


def require_same_account(
    stored: Credential, account: Account, store_name: str
) -> Credential:
    """Return *stored* if it may be taken up for *owner*.

    Raises:
        AccountChanged: it is somebody else's.
    """
    if account.accepts(Account.of(stored)):
        return stored
    raise AccountChanged(
        f"{store_name}: now holds account {stored.account_id or 'unknown'}, but this "
        f"profile belongs to {account.account_id}; to go on with the new account run "
        "`bearerd adopt`, or sign in to the old one with `bearerd login`"
    )
