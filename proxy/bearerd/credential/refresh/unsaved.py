"""A successor that the store does not hold yet, and the way it gets there.

The store may change meanwhile. A newer login in it wins over the successor; a file that
is older, such as a backup that came back, is written over. `Lineage` tells the two apart.
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
"""How often a backup that comes back during a write is written over."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A successor that lives in memory only. *base* is what the store holds.

    *since* is the time of the last refresh before it, if that is known: a file that is
    older came before both.
    """

    base: Credential
    successor: Credential
    since: float | None

    def over(self, stored: Credential) -> Pending:
        """Return the same successor, over another file."""
        return replace(self, base=stored)


class UnsavedSuccessor:
    """Owns the successor that lives in memory only, if there is one."""

    def __init__(self, *, store: Store, clock: Clock, lineage: Lineage) -> None:
        self._store = store
        self._clock = clock
        self._lineage = lineage
        self._pending: Pending | None = None

    @property
    def pending(self) -> Pending | None:
        """The successor with what it follows, or None."""
        return self._pending

    def hold(self, pending: Pending) -> None:
        """Hold *pending* until it is stored or dropped."""
        self._pending = pending

    def drop(self) -> None:
        """Forget it: it is stored, or another login has won."""
        self._pending = None

    def successor_of(self, stored: Credential) -> Credential | None:
        """Return the successor if it follows *stored*, else None."""
        pending = self._pending
        if pending is None or pending.base != stored:
            return None
        return pending.successor

    def settle(self, stored: Credential) -> None:
        """Compare with *stored*, which may have been replaced.

        A newer login wins, and the successor is dropped. An older file that came back is
        what the successor follows from now on.
        """
        pending = self._pending
        if pending is None or pending.base == stored:
            return
        is_ahead = self._is_ahead(pending, stored)
        self._pending = pending.over(stored) if is_ahead else None

    async def write(self) -> Credential | None:
        """Store the successor; return None, or the credential that won over it.

        An older login that came back meanwhile, such as a backup, is no winner.

        Raises:
            StoreError, LoginRequired: see `Store.replace`.
        """
        for _ in range(REPLACE_TRIES):
            pending = self._pending
            assert pending is not None  # noqa: S101 - the caller's condition
            winner = await self._store.replace(pending.base, pending.successor)
            if winner is None or not self._is_ahead(pending, winner):
                return winner
            self._pending = pending.over(winner)
        raise StoreError(f"{self._store.name}: another program changes it all the time")

    def _is_ahead(self, pending: Pending, stored: Credential) -> bool:
        """Return True if *stored*, found in the place of the base, is an older login.

        A sign-in during the call may be older than the response, and still wins; hence
        the time of the refresh before decides.
        """
        return self._lineage.is_newer(
            pending.successor,
            stored,
            now=self._clock.now(),
            since=pending.since,
        )
