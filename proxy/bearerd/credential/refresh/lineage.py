"""Which of two credentials of one login is the newer.

A rotation has no number. What is known of the order comes from what was seen: tokens that
were spent, by any process on the store; files that were replaced; the times in them.
"""

from __future__ import annotations

from collections import deque

from bearerd.credential.refresh.leftover import may_become
from bearerd.credential.store.state import SPENT_LIMIT, StoreState
from bearerd.credential.token import Credential

CLOCK_TOLERANCE_SECONDS = 1.0
"""Two writers stamp a file some time before they write it, by clocks that differ."""


class Lineage:
    """Owns the fingerprints of spent tokens, and of logins that were replaced."""

    def __init__(self) -> None:
        self._spent: deque[str] = deque(maxlen=SPENT_LIMIT)  # by this process
        self._shared_spent: frozenset[str] = frozenset()
        self._displaced: deque[str] = deque(maxlen=SPENT_LIMIT)

    def sync(self, state: StoreState) -> None:
        """Take over the fingerprints of the tokens that any process has spent."""
        self._shared_spent = frozenset(state.spent)

    def note_spent(self, fingerprint: str) -> None:
        """Note that this process has rotated a token away, or knows that it is spent."""
        self._spent.append(fingerprint)

    def note_displaced(self, before: Credential, after: Credential) -> None:
        """Note that another writer has replaced *before* in the store by *after*."""
        if before.refresh_token and before.fingerprint != after.fingerprint:
            self._displaced.append(before.fingerprint)
        while after.fingerprint in self._displaced:
            self._displaced.remove(after.fingerprint)

    def was_spent_here(self, token: Credential | str | None) -> bool:
        """Return True if this process itself rotated a credential, or a fingerprint."""
        name = token.fingerprint if isinstance(token, Credential) else token
        return name in self._spent

    def is_spent(self, credential: Credential) -> bool:
        """Return True if any process is known to have rotated *credential* away."""
        return self.was_spent_here(credential) or (
            credential.fingerprint in self._shared_spent
        )

    def is_newer(
        self,
        held: Credential,
        stored: Credential,
        *,
        now: float,
        is_refused: bool = False,
        since: float | None = None,
    ) -> bool:
        """Return True if *stored* is an older credential of the login of *held*.

        Of the same account, the first of these that can tell decides:

        a. A spent token is older than one that is not.
        b. A login without a refresh token, or whose token is refused for good
           (*is_refused*), yields to any other.
        c. What was seen being replaced is older.
        d. The time of the last refresh: *stored* is older if its time is before *since*,
           which is that of *held* unless it is given. A time that is still to come was
           written by a wrong clock, and decides nothing.
        """
        if not may_become(held, stored):
            return False
        stored_is_spent, held_is_spent = self.is_spent(stored), self.is_spent(held)
        if stored_is_spent != held_is_spent:
            return stored_is_spent  # a
        if is_refused or not held.refresh_token:
            return False  # b
        if stored.fingerprint in self._displaced:
            return True  # c
        limit = held.refreshed_at if since is None else since
        if limit is None or stored.refreshed_at is None or limit > now:
            return False
        return stored.refreshed_at < limit - CLOCK_TOLERANCE_SECONDS  # d
