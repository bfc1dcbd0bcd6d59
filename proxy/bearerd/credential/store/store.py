"""What a store is: the one place where a profile's credential lives.

Rules that each store keeps:

1. A reader sees a whole credential or none.
2. `replace` happens under `lock`, and only if the store still holds what the refresh
   began from: a new login, another account or a logout wins over a late response.
3. What the store does not understand, it keeps.
4. A store that cannot be reached is `StoreUnavailable`, which is never a reason to sign
   in. No call blocks the event loop, and each read has a deadline.
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
    """One credential, its lock, and what is kept beside it."""

    @property
    def name(self) -> str:
        """The store's name in messages, such as its path."""

    @property
    def journal(self) -> Journal:
        """The journal of this store."""

    @property
    def quarantine(self) -> Quarantine:
        """The credentials that this store keeps and does not serve."""

    @property
    def foreign_writes(self) -> int:
        """How often the credential was found touched by another writer."""

    async def load(self) -> Credential:
        """Return what is stored now, and remember it as seen.

        Raises:
            LoginRequired: nothing is stored (`missing`), the content is torn
                (`unreadable`, after a wait for a write to end), or it is whole and holds
                no ChatGPT login (`no_login`).
            StoreUnavailable: it cannot be read now.
        """

    async def is_written_in_place(self) -> bool:
        """Return True if a death during `replace` may tear the credential.

        Raises:
            StoreUnavailable: it cannot be examined now.
        """

    async def has_changed(self) -> bool:
        """Return True if the store may differ from what was last seen. Never raises."""

    async def replace(
        self, base: Credential, successor: Credential
    ) -> Credential | None:
        """Write *successor* durably and return None, or return what won over it.

        Raises:
            LoginRequired: the store was emptied meanwhile: a logout is not undone.
            StoreError: it could not be written; the store holds what it held before.
        """

    async def replace_login(self, document: Document) -> None:
        """Make *document* the whole content, whatever was there: a sign-in.

        Raises:
            StoreError: it could not be written; the store holds what it held before.
        """

    async def remove_login(self) -> None:
        """Remove the content: a sign-out.

        Raises:
            StoreError: it could not be removed.
        """

    def lock(self, timeout_seconds: float) -> AbstractAsyncContextManager[None]:
        """Hold the lock that all processes on this store share.

        Raises:
            TimeoutError: another holder did not release it in time.
            StoreUnavailable: there is no place to lock.
        """

    async def lock_holder(self) -> LockHolder | None:
        """Return the process that took the lock last, if it is known."""

    async def read_state(self) -> StoreState:
        """Return the state beside the credential; an empty one if there is none.

        Raises:
            StoreUnavailable: there may be one, and it cannot be read now.
        """

    async def write_state(self, state: StoreState) -> None:
        """Keep the state.

        Raises:
            StoreError: it could not be written.
        """
