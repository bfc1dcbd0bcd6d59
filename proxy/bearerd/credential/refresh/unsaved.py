"""A successor that is not stored yet, and the attempts to store it.

The store can change in the meantime. If it then holds a newer login, the successor is
dropped. If it holds an older one, such as a restored backup, the successor is written
over it. `Lineage` decides which of the two is newer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from bearerd.clock import Clock
from bearerd.credential.refresh.lineage import Lineage
from bearerd.credential.store.store import Store
from bearerd.credential.token import Credential
from bearerd.errors import StoreError

REPLACE_TRIES: Final = 3
"""How often an older file that appears during a write is overwritten."""


@dataclass(frozen=True, slots=True)
class PendingWrite:
    """A successor that is in memory only. *base* is what the store holds.

    *base_refreshed_at* is the time of the last refresh before the successor's, or None
    if unknown. A file with an earlier time is older than both.
    """

    base: Credential
    successor: Credential
    base_refreshed_at: float | None

    def rebased(self, stored: Credential) -> PendingWrite:
        """Return a write of the same successor over *stored*."""
        return replace(self, base=stored)


class UnsavedSuccessor:
    """Owns the successor that is in memory only, if there is one."""

    def __init__(self, *, store: Store, clock: Clock, lineage: Lineage) -> None:
        self._store = store
        self._clock = clock
        self._lineage = lineage
        self._pending: PendingWrite | None = None

    @property
    def pending(self) -> PendingWrite | None:
        """The successor and its base, or None."""
        return self._pending

    def set_pending(self, pending: PendingWrite) -> None:
        """Keep *pending* in memory until it is stored or cleared."""
        self._pending = pending

    def clear_pending(self) -> None:
        """Drop the successor: it is stored, or obsolete."""
        self._pending = None

    def successor_of(self, stored: Credential) -> Credential | None:
        """Return the successor if *stored* is its base, else None."""
        pending = self._pending
        if pending is None or pending.base != stored:
            return None
        return pending.successor

    def compare_with_stored(self, stored: Credential) -> None:
        """Compare the successor with *stored*, which may have replaced its base.

        If *stored* is newer, the successor is dropped. If *stored* is older, it becomes
        the base of the successor.
        """
        pending = self._pending
        if pending is None or pending.base == stored:
            return
        is_newer = self._is_successor_newer(pending, stored)
        self._pending = pending.rebased(stored) if is_newer else None

    async def write(self) -> Credential | None:
        """Store the successor and return None, or return the conflicting credential.

        An older login that appears in the store, such as a backup, is overwritten.

        Raises:
            StoreError, LoginRequired: see `Store.replace`.
        """
        for _ in range(REPLACE_TRIES):
            pending = self._pending
            assert pending is not None  # noqa: S101 - the caller's condition
            stored = await self._store.replace(pending.base, pending.successor)
            if stored is None or not self._is_successor_newer(pending, stored):
                return stored
            self._pending = pending.rebased(stored)
        raise StoreError(
            f"{self._store.name}: another program keeps replacing it; stop that program"
        )

    def _is_successor_newer(self, pending: PendingWrite, stored: Credential) -> bool:
        """Return True if *stored*, which has replaced the base, is an older login.

        The time of the previous refresh decides, and not that of the successor: a login
        from a sign-in during the call is earlier than the response and still replaces it.
        """
        return self._lineage.is_newer(
            pending.successor,
            stored,
            now=self._clock.now(),
            refreshed_at=pending.base_refreshed_at,
        )
