"""The account that a profile belongs to: learned from its first login, changed on purpose.

Without the pin, agents would write into another account as soon as a file holds one.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from bearerd.credential.store.state import Account
from bearerd.credential.store.store import Store
from bearerd.credential.token import Credential
from bearerd.errors import AccountChanged, StoreError, StoreUnavailable

ADOPT_LOCK_SECONDS = 5.0


class AccountPin:
    """The pin of one profile. The state beside the store keeps it for other processes.

    `account` is None until a login has been seen. While it has no id, the first login
    that names one completes the pin.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._is_recorded = False
        self.account: Account | None = None

    async def check(self, stored: Credential) -> None:
        """Learn the account, or compare: the first login decides.

        Raises:
            AccountChanged: *stored* belongs to another account.
        """
        recorded = (await self._store.read_state()).account
        self._is_recorded = recorded is not None
        self.account = recorded or self.account
        require_same_account(stored, self.account, self._store.name)
        await self.learn(stored)

    async def learn(self, accepted: Credential) -> None:
        """Complete the pin by what *accepted*, a login of this profile, names."""
        pinned = self.account
        if pinned is None or (pinned.account_id is None and accepted.account_id):
            self.account, self._is_recorded = Account.of(accepted), False
        await self.record()

    async def record(self) -> None:
        """Write the pin down, unless that is done or the lock is held just now.

        If it cannot be written, it holds for this process at least.
        """
        if self._is_recorded or self.account is None:
            return
        with suppress(StoreError, StoreUnavailable, TimeoutError):
            async with self._store.lock(0):
                await self._write(self.account)

    async def adopt(self) -> Credential:
        """Pin the profile to the store's account; return what the store holds.

        Raises:
            LoginRequired: it holds no login.
            StoreError, StoreUnavailable, TimeoutError: the pin could not be recorded.
        """
        async with self._store.lock(ADOPT_LOCK_SECONDS):
            stored = await self._store.load()
            await self._write(Account.of(stored))
        return stored

    async def _write(self, account: Account) -> None:
        state = await self._store.read_state()
        await self._store.write_state(replace(state, account=account))
        self.account, self._is_recorded = account, True


def require_same_account(
    stored: Credential, pinned: Account | None, store_name: str
) -> Credential:
    """Return *stored* if it belongs to the *pinned* account, or if there is no pin.

    Raises:
        AccountChanged: it belongs to another account.
    """
    if pinned is None or pinned.accepts(Account.of(stored)):
        return stored
    raise AccountChanged(
        f"{store_name}: now holds account {stored.account_id or 'without a name'}, but "
        f"this profile belongs to {pinned.account_id or 'an account without a name'}; to "
        "go on with the new account run `bearerd adopt`, or sign in to the old one with "
        "`bearerd login`"
    )
