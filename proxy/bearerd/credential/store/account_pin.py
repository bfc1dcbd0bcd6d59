"""The account that a profile belongs to.

It is set by the first login and changed only by a sign-in or `bearerd adopt`. Without
the pin, agents would use another account as soon as the file contains one.
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
    """The pin of one profile. The store's state records it for other processes.

    `account` is None before the first login. A pin without an account id, or without a
    user, is completed by the first login that names one. A pin that is known here but
    not recorded yet is enforced like a recorded one.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._is_recorded = False
        self.account: Account | None = None

    async def check_or_pin(self, stored: Credential) -> None:
        """Pin the account of *stored* if none is pinned; otherwise compare the two.

        Raises:
            AccountChanged: *stored* belongs to another account.
            StoreUnavailable: the recorded account cannot be read.
        """
        recorded = (await self._store.read_state()).account
        self.account = _completed(recorded, self.account)
        self._is_recorded = self.account is not None and self.account == recorded
        require_same_account(stored, self.account, self._store.name)
        await self.learn(stored)

    async def learn(self, accepted: Credential) -> None:
        """Complete the pin from *accepted*, a login of this profile."""
        account = _completed(self.account, Account.from_credential(accepted))
        if account != self.account:
            self.account, self._is_recorded = account, False
        await self.record()

    async def record(self) -> None:
        """Write the pin to the store's state, unless the lock is held.

        If it cannot be written, it is enforced in this process only. An account that a
        sign-in has recorded in the meantime is not overwritten.
        """
        if self._is_recorded or self.account is None:
            return
        with suppress(StoreError, StoreUnavailable, TimeoutError):
            async with self._store.lock(0):
                state = await self._store.read_state()
                account = _completed(state.account, self.account)
                if account != state.account:
                    await self._store.write_state(replace(state, account=account))
                self.account, self._is_recorded = account, True

    async def adopt(self) -> Credential:
        """Pin the profile to the account in the store; return the stored credential.

        Raises:
            LoginRequired: the store holds no login.
            StoreError, StoreUnavailable, TimeoutError: the pin could not be recorded.
        """
        async with self._store.lock(ADOPT_LOCK_SECONDS):
            stored = await self._store.load()
            state = await self._store.read_state()
            account = Account.from_credential(stored)
            await self._store.write_state(replace(state, account=account))
            self.account, self._is_recorded = account, True
        return stored


def require_same_account(
    stored: Credential, pinned: Account | None, store_name: str
) -> Credential:
    """Return *stored* if it belongs to the *pinned* account, or if there is no pin.

    Raises:
        AccountChanged: it belongs to another account.
    """
    if pinned is None or pinned.accepts(Account.from_credential(stored)):
        return stored
    raise AccountChanged(
        f"{store_name}: now holds {_account_name(stored.account_id)}, but this profile "
        f"belongs to {_account_name(pinned.account_id)}; to use the new account run "
        "`bearerd adopt`, or sign in to the old one with `bearerd login`"
    )


def _account_name(account_id: str | None) -> str:
    return f"account {account_id}" if account_id else "an account without an id"


def _completed(account: Account | None, other: Account | None) -> Account | None:
    """Return *account* with the missing fields from *other*, if both are the same."""
    if account is None or other is None:
        return account or other
    if not account.accepts(other):
        return account
    return Account(
        account.account_id or other.account_id, account.user_id or other.user_id
    )
