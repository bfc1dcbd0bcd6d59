"""The interface of a store, which holds the credential of one profile.

Rules for each store:

1. A reader gets a complete credential or none.
2. `replace` is called under `lock`, and writes only if the store still holds the
   credential that the refresh started from. So a late response never replaces a new
   login or another account, and never undoes a sign-out.
3. Unknown fields are preserved.
4. A store that cannot be reached raises `StoreUnavailable`, which is never a reason to
   sign in. No call blocks the event loop, and each read has a timeout.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from bearerd.credential.store.auth_json import Document
from bearerd.credential.store.journal import Journal
from bearerd.credential.store.quarantine import Quarantine
from bearerd.credential.store.state import StoreState
from bearerd.credential.token import Credential
from bearerd.files.flock import LockHolder


class Store(Protocol):
    """One credential with its lock, its state, its journal and its quarantine."""

    @property
    def name(self) -> str:
        """The store's name in messages, such as its path."""

    @property
    def journal(self) -> Journal:
        """The journal of this store."""

    @property
    def quarantine(self) -> Quarantine:
        """The quarantine of this store."""

    @property
    def foreign_writes(self) -> int:
        """The number of reads that found the credential changed by another writer."""

    async def load(self) -> Credential:
        """Return the stored credential, and reset `has_changed`.

        Raises:
            LoginRequired: nothing is stored (`missing`), the content is still torn after
                several reads (`unreadable`), or it is complete and contains no ChatGPT
                login (`no_login`).
            StoreUnavailable: the store cannot be read now.
        """

    async def is_written_in_place(self) -> bool:
        """Return True if a crash during `replace` can leave a torn credential.

        Raises:
            StoreUnavailable: the store cannot be read now.
        """

    async def has_changed(self) -> bool:
        """Return True if the store may have changed since the last read. Never raises."""

    async def replace(
        self, base: Credential, successor: Credential
    ) -> Credential | None:
        """Write *successor* durably and return None, if the store still holds *base*.

        If it holds another credential, return that one and write nothing.

        Raises:
            LoginRequired: the store holds no login any more: a sign-out is not undone.
            StoreError: it could not be written; the store is unchanged.
        """

    async def replace_login(self, document: Document) -> None:
        """Replace the whole content by *document*, unconditionally: a sign-in.

        Raises:
            StoreError: it could not be written; the store is unchanged.
        """

    async def remove_login(self) -> None:
        """Remove the content: a sign-out.

        Raises:
            StoreError: it could not be removed.
        """

    def lock(self, timeout_seconds: float) -> AbstractAsyncContextManager[None]:
        """Hold the lock that all processes on this store share.

        Raises:
            TimeoutError: another process did not release it in time.
            StoreUnavailable: the lock cannot be created.
        """

    async def lock_holder(self) -> LockHolder | None:
        """Return the process that last took the lock, or None if unknown."""

    async def read_state(self) -> StoreState:
        """Return the state beside the credential; an empty one if there is none.

        Raises:
            StoreUnavailable: the state cannot be read now.
        """

    async def write_state(self, state: StoreState) -> None:
        """Write the state.

        Raises:
            StoreError: it could not be written.
        """
