"""The order of the credentials of one login: which of two is newer.

Refresh tokens carry no sequence number. The order is derived from what is known: the
tokens that any process on the store has spent, the logins that were replaced in the
store, and the time of the last refresh in the file.
"""

from __future__ import annotations

from collections import deque

from bearerd.credential.refresh.interrupted import may_become
from bearerd.credential.store.state import SPENT_LIMIT, StoreState
from bearerd.credential.token import Credential

CLOCK_TOLERANCE_SECONDS = 1.0
"""Two writers take the time from different clocks, and some time before the write."""


class Lineage:
    """Owns the fingerprints of the spent tokens and of the replaced logins."""

    def __init__(self) -> None:
        self._spent: deque[str] = deque(maxlen=SPENT_LIMIT)  # by this process
        self._shared_spent: frozenset[str] = frozenset()
        self._replaced: deque[str] = deque(maxlen=SPENT_LIMIT)

    def sync(self, state: StoreState) -> None:
        """Copy the spent tokens of all processes from the store's state."""
        self._shared_spent = frozenset(state.spent)

    def record_spent(self, fingerprint: str) -> None:
        """Record that this process has spent a token, or knows that it is spent."""
        self._spent.append(fingerprint)

    def record_replacement(self, before: Credential, after: Credential) -> None:
        """Record that another writer has replaced *before* in the store by *after*."""
        if before.refresh_token and before.fingerprint != after.fingerprint:
            self._replaced.append(before.fingerprint)
        while after.fingerprint in self._replaced:
            self._replaced.remove(after.fingerprint)

    def is_spent_locally(self, token: Credential | str | None) -> bool:
        """Return True if this process has spent *token*.

        *token* is a credential or a fingerprint; None is not spent.
        """
        fingerprint = token.fingerprint if isinstance(token, Credential) else token
        return fingerprint in self._spent

    def is_spent(self, credential: Credential) -> bool:
        """Return True if any process is known to have spent the token of *credential*."""
        return self.is_spent_locally(credential) or (
            credential.fingerprint in self._shared_spent
        )

    def is_newer(
        self,
        cached: Credential,
        stored: Credential,
        *,
        now: float,
        is_refused: bool = False,
        refreshed_at: float | None = None,
    ) -> bool:
        """Return True if *cached* is a newer credential of the same login than *stored*.

        If both belong to one account, the first rule that applies decides:

        a. *cached* is not newer if it was replaced in the store: what replaced it is
           newer, also if its token is spent.
        b. A spent token is older than an unspent one.
        c. *cached* is not newer if it has no refresh token, or if the authority has
           refused its refresh token permanently (*is_refused*).
        d. *stored* is older if it was replaced in the store.
        e. *stored* is older if its last refresh was before *refreshed_at*, by default the
           last refresh of *cached*. A *refreshed_at* in the future comes from a wrong
           clock and does not decide.
        """
        if not may_become(cached, stored) or cached.fingerprint in self._replaced:
            return False  # a
        is_stored_spent, is_cached_spent = self.is_spent(stored), self.is_spent(cached)
        if is_stored_spent != is_cached_spent:
            return is_stored_spent  # b
        if is_refused or not cached.refresh_token:
            return False  # c
        if stored.fingerprint in self._replaced:
            return True  # d
        limit = cached.refreshed_at if refreshed_at is None else refreshed_at
        if limit is None or stored.refreshed_at is None or limit > now:
            return False
        return stored.refreshed_at < limit - CLOCK_TOLERANCE_SECONDS  # e
