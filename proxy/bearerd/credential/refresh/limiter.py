"""The decision whether the authority may be called now.

The limiter applies to every trigger, and is used only under the store's lock. `limits`
decides; the limiter reads and writes what it decides from. Those facts are in the store's
state, which all processes on a store share, and in memory, so that it also works if the
state cannot be written. A rejected client (`invalid_client`) is an error in the settings
and is never written to disk.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from bearerd.clock import Clock
from bearerd.credential.authority.errors import AuthorityFailure
from bearerd.credential.refresh.backoff import LONGEST_SECONDS
from bearerd.credential.refresh.limits import (
    Limits,
    Pause,
    TokenEndpoint,
    denial,
    next_retry,
)
from bearerd.credential.refresh.token_bucket import TokenBucket
from bearerd.credential.store.state import (
    BucketLevel,
    ConsecutiveRejections,
    RefusedToken,
    RetryState,
    StoreState,
)
from bearerd.credential.store.store import Store
from bearerd.credential.token import Credential
from bearerd.errors import StoreError, StoreUnavailable


@dataclass(frozen=True, slots=True)
class OwnRetry:
    """The last failure of this process. *until* is on the monotonic clock."""

    state: RetryState
    until: float


class RefreshLimiter:
    """Owns this process's copy of the store's state, and the last failure.

    *jitter* returns a number in [0, 1) and is called once for each failure.
    """

    def __init__(
        self,
        *,
        store: Store,
        bucket: TokenBucket,
        clock: Clock,
        jitter: Callable[[], float],
        endpoint: TokenEndpoint,
    ) -> None:
        self._store = store
        self._bucket = bucket
        self._clock = clock
        self._jitter = jitter
        self._endpoint = endpoint
        self._memory = StoreState()  # as it was read or written last
        self._is_readable = True  # the last read of the store's state went well
        self._is_written = True  # and so did the last write
        self._own_retry: OwnRetry | None = None
        self._is_accepted = False

    @property
    def is_accepted(self) -> bool:
        """True if the upstream has accepted a credential since the last allowed call.

        Then a permanent refusal does not apply: it may have been part of an incident.
        """
        return self._is_accepted

    def record_acceptance(self) -> None:
        """Record that the upstream has accepted the credential: this ends 1 and 3."""
        self._is_accepted = True

    async def acquire(self, presented: Credential, *, is_forced: bool = False) -> None:
        """Allow one call with the token of *presented*, and count it.

        *is_forced* skips 1 and 2: a person has requested a retry.

        Raises:
            AuthorityFailure: the call may not be made now; its `is_call` is False.
        """
        state = await self._state()
        now = self._clock.now()
        limits = Limits(
            refused=state.refused,
            pauses=self._pauses(state, now),
            rejections=state.consecutive_rejections,
            is_accepted=self._is_accepted,
            is_forced=is_forced,
        )
        denied = denial(
            limits,
            presented,
            self._endpoint,
            now=now,
            interval_seconds=self._bucket.interval_seconds,
        )
        if denied is not None:  # 1, 2, 3
            raise denied
        if self._is_accepted:
            self._is_accepted = False
            state = replace(state, consecutive_rejections=None)
        level, wait_seconds = self._bucket.acquire(self._level(state, now), now)  # 4
        await self._write(replace(state, level=level))
        if wait_seconds:
            raise AuthorityFailure(
                "throttled", "budget", retry_after_seconds=wait_seconds, is_call=False
            )

    async def refund(self) -> None:
        """Return the last call to the budget, because it was not made."""
        await self._write(self._refunded(await self._state()))

    async def record_success(
        self, presented: Credential, *, is_rotated: bool, was_rejected: bool
    ) -> None:
        """Record that the authority issued a successor of *presented*.

        *is_rotated*: the successor has another refresh token, so this one is spent.
        *was_rejected*: the upstream had rejected the old access token. A refresh before
        expiry does not count as a rejection.
        """
        state = await self._state()
        before = state.consecutive_rejections
        count = (before.count if before else 0) + was_rejected
        rejections = ConsecutiveRejections(count, self._clock.now()) if count else None
        spent = state.with_spent(presented.fingerprint) if is_rotated else state.spent
        self._own_retry = None
        await self._write(
            replace(
                state,
                retry=None,
                refused=None,
                spent=spent,
                consecutive_rejections=rejections,
            )
        )

    async def record_refusal(self, presented: Credential, reason: str) -> None:
        """Record that the authority has refused *presented* permanently."""
        refused = RefusedToken(
            fingerprint=presented.fingerprint,
            reason=reason,
            token_url=self._endpoint.token_url,
            client_id=self._endpoint.client_id,
            at=self._clock.now(),
        )
        state = await self._state()
        failure = AuthorityFailure("refused", reason, is_slow=True)
        retry, _ = self._next_retry(state, presented, failure)
        await self._write(replace(state, refused=refused, retry=retry))

    async def record_failure(
        self, presented: Credential, failure: AuthorityFailure
    ) -> AuthorityFailure:
        """Return *failure* with the pause that follows it.

        A call that was not delivered does not count against the budget.
        """
        state = await self._state()
        if failure.outcome == "undelivered":
            state = self._refunded(state)
        retry, seconds = self._next_retry(state, presented, failure)
        if failure.outcome != "misconfigured":
            state = replace(state, retry=retry)
        await self._write(state)
        return failure.waiting(seconds)

    def _next_retry(
        self, state: StoreState, presented: Credential, failure: AuthorityFailure
    ) -> tuple[RetryState, float]:
        """Return the pause after *failure*, as a state and in seconds; keep it here."""
        retry, seconds = next_retry(
            self._retries(state),
            presented,
            self._endpoint,
            failure,
            now=self._clock.now(),
            jitter=self._jitter(),
        )
        self._own_retry = OwnRetry(retry, self._clock.monotonic() + seconds)
        return retry, seconds

    def _retries(self, state: StoreState) -> tuple[RetryState, ...]:
        """Return the last failure of this process and the shared one, if any."""
        own = self._own_retry.state if self._own_retry else None
        return tuple(retry for retry in (own, state.retry) if retry is not None)

    def _pauses(self, state: StoreState, now: float) -> tuple[Pause, ...]:
        """Return the pauses after the last failures, own and shared."""
        return tuple(
            Pause(retry, self._remaining(retry, now)) for retry in self._retries(state)
        )

    def _remaining(self, retry: RetryState, now: float) -> float:
        """Return the seconds until the pause of *retry* is over.

        A failure of this process is timed by the monotonic clock, and one of another
        process by the wall clock. A remaining time longer than the longest pause means
        that the clock was set since, and counts as 0.
        """
        own = self._own_retry
        if own is not None and own.state == retry:
            return own.until - self._clock.monotonic()
        remaining = retry.until - now
        return remaining if remaining <= LONGEST_SECONDS else 0.0

    def _level(self, state: StoreState, now: float) -> BucketLevel:
        """Return the lower one of the shared level and the level in memory."""
        levels = [
            level for level in (state.level, self._memory.level) if level is not None
        ]
        return min(
            (self._bucket.refilled(level, now) for level in levels),
            key=lambda level: level.calls,
            default=self._bucket.full(now),
        )

    def _refunded(self, state: StoreState) -> StoreState:
        level = self._level(state, self._clock.now())
        return replace(state, level=self._bucket.refund(level))

    async def _state(self) -> StoreState:
        """Return the shared state; if it cannot be read, the copy of this process.

        If the last write failed, the parts that it could not write are added.
        """
        memory = self._memory
        try:
            state = await self._store.read_state()
        except StoreUnavailable:
            self._is_readable = False
            return memory
        self._is_readable = True
        if self._is_written:
            return state
        return replace(
            memory,
            account=state.account,
            refused=memory.refused or state.refused,
            retry=memory.retry or state.retry,
            spent=state.with_spent(*memory.spent),
            consecutive_rejections=memory.consecutive_rejections
            or state.consecutive_rejections,
        )

    async def _write(self, state: StoreState) -> None:
        """Keep *state* in memory, and on disk if possible.

        If it cannot be written, the limits apply to this process alone, which is no
        reason to refuse a refresh. A state that could not be read is not overwritten: it
        contains parts that are not known here, such as the account.
        """
        self._memory, self._is_written = state, False
        if self._is_readable:
            with suppress(StoreError):
                await self._store.write_state(state)
                self._is_written = True
