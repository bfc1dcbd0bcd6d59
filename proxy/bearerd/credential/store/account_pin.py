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

    `account` is None until a login has been seen. While it has no id, or no user, the
    first login that names one completes the pin. What is known here and could not be
    recorded yet counts as much as what is recorded.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._is_recorded = False
        self.account: Account | None = None

    async def check(self, stored: Credential) -> None:
        """Learn the account, or compare: the first login decides.

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
        """Complete the pin by what *accepted*, a login of this profile, names."""
        known = _completed(self.account, Account.of(accepted))
        if known != self.account:
            self.account, self._is_recorded = known, False
        await self.record()

    async def record(self) -> None:
        """Write the pin down, unless that is done or the lock is held just now.

        If it cannot be written, it holds for this process at least. An account that was
        recorded meanwhile, by a sign-in, is not written over.
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
        """Pin the profile to the store's account; return what the store holds.

        Raises:
            LoginRequired: it holds no login.
            StoreError, StoreUnavailable, TimeoutError: the pin could not be recorded.
        """
        async with self._store.lock(ADOPT_LOCK_SECONDS):
            stored = await self._store.load()
            state = await self._store.read_state()
            account = Account.of(stored)
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
    if pinned is None or pinned.accepts(Account.of(stored)):
        return stored
    raise AccountChanged(
        f"{store_name}: now holds account {stored.account_id or 'without a name'}, but "
        f"this profile belongs to {pinned.account_id or 'an account without a name'}; to "
        "go on with the new account run `bearerd adopt`, or sign in to the old one with "
        "`bearerd login`"
    )


def _completed(account: Account | None, known: Account | None) -> Account | None:
    """Return *account* with what *known* adds to it; another account adds nothing."""
    if account is None or known is None:
        return account or known
    if not account.accepts(known):
        return account
    return Account(
        account.account_id or known.account_id, account.user_id or known.user_id
    )
