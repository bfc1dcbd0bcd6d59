"""What a store is: the one place where a profile's credential lives.

Rules that each store keeps:

1. A reader sees a whole credential or none.
2. `replace` happens under `lock`, and only if the store still holds what the refresh
   began from: a new login, another account or a logout wins over a late response.
3. What the store does not understand, it keeps.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from bearerd.credential.store.journal import Journal
from bearerd.credential.store.state import StoreState
from bearerd.credential.token import Credential


class Store(Protocol):
    """One credential, its lock, and the notes beside it."""

    @property
    def name(self) -> str:
        """Name the store to a person, such as its path."""

    @property
    def journal(self) -> Journal:
        """Return the journal that belongs to this store."""

    @property
    def is_written_in_place(self) -> bool:
        """Say whether a death while it is replaced may tear it."""

    async def load(self) -> Credential:
        """Return what is stored now, and take it as seen.

        Raises:
            LoginRequired: nothing is stored (`missing`), or what is there cannot be
                read or understood (`unreadable`), after waiting for a torn write.
        """

    def has_changed(self) -> bool:
        """Say whether the store differs from what was last seen. Cheap; never fails."""

    async def replace(
        self, began_from: Credential, renewed: Credential
    ) -> Credential | None:
        """Write *renewed* durably and return None, or return what won over it.

        Raises:
            LoginRequired: the store was emptied meanwhile: a logout is not undone.
            StoreError: it could not be written; the store holds what it held before.
        """

    def lock(self, timeout_seconds: float) -> AbstractAsyncContextManager[None]:
        """Hold the lock that all processes on this store share.

        Raises:
            TimeoutError: another holder did not let go in time.
            StoreError: there is no place to lock.
        """

    def read_state(self) -> StoreState:
        """Return the notes beside the credential; empty ones if there are none."""

    def write_state(self, state: StoreState) -> None:
        """Keep the notes durably.

        Raises:
            StoreError: they could not be written.
        """
