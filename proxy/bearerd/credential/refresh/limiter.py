"""What may still be asked of the authority: budget, backoff, and refusals for good.

All of it is kept in the notes beside the store, so that processes share it, and in
memory, so that it holds where nothing can be written.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from bearerd.clock import Clock
from bearerd.credential.authority.errors import AuthorityFailure
from bearerd.credential.refresh.backoff import Backoff
from bearerd.credential.refresh.token_bucket import TokenBucket
from bearerd.credential.store.state import BucketLevel, RefusedToken, StoreState
from bearerd.credential.store.store import Store
from bearerd.credential.token import Credential
from bearerd.errors import StoreError


class RefreshLimiter:
    """Stands below every trigger. Used only under the store's lock."""

    def __init__(
        self, *, store: Store, bucket: TokenBucket, backoff: Backoff, clock: Clock
    ) -> None:
        self._store = store
        self._bucket = bucket
        self._backoff = backoff
        self._clock = clock
        self._level: BucketLevel | None = None
        self._refused: RefusedToken | None = None

    def acquire(self, credential: Credential) -> None:
        """Allow one call to spend *credential*, and count it.

        Raises:
            AuthorityFailure: it was refused for good, failed a moment ago, or the
                budget is spent. Nothing is asked then.
        """
        self._backoff.check(credential.fingerprint)
        state = self._store.read_state()
        for refused in (state.refused, self._refused):
            if refused is not None and refused.fingerprint == credential.fingerprint:
                raise AuthorityFailure("refused", refused.reason)
        now = self._clock.now()
        level, wait_seconds = self._bucket.acquire(self._lowest(state, now), now)
        if wait_seconds:
            raise AuthorityFailure(
                "throttled", "budget", retry_after_seconds=wait_seconds
            )
        self._note(replace(state, level=level))

    def record_success(self) -> None:
        """Forget earlier failures: the authority has answered."""
        self._backoff.reset()

    def record_refusal(self, credential: Credential, reason: str) -> None:
        """Remember, by fingerprint, that *credential* was refused for good."""
        self._refused = RefusedToken(credential.fingerprint, reason)
        self._note(replace(self._store.read_state(), refused=self._refused))

    def record_failure(
        self, credential: Credential, failure: AuthorityFailure
    ) -> AuthorityFailure:
        """Return *failure* with the time to wait. What never arrived is not counted."""
        if failure.outcome == "undelivered":
            self.refund()
        return self._backoff.record_failure(credential.fingerprint, failure)

    def refund(self) -> None:
        """Do not count the last call: it was never made, or never arrived."""
        if self._level is not None:
            level = self._bucket.refund(self._level)
            self._note(replace(self._store.read_state(), level=level))

    def _lowest(self, state: StoreState, now: float) -> BucketLevel:
        """Return the level that decides: in the notes or in memory, the lower one."""
        levels = [level for level in (state.level, self._level) if level is not None]
        return min(
            (self._bucket.refilled(level, now) for level in levels),
            key=lambda level: level.calls,
            default=self._bucket.full(now),
        )

    def _note(self, state: StoreState) -> None:
        self._level = state.level
        # Without the notes the budget is this process's own: worse, and no reason to
        # refuse a refresh.
        with suppress(StoreError):
            self._store.write_state(state)
