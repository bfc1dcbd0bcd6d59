"""The decision whether the authority may be called now.

The limiter applies to every trigger, and is used only under the store's lock. Its facts
are in the store's state, which all processes on a store share, and in memory, so that it
also works if the state cannot be written. `acquire` checks in this order:

1. *refused*: the authority has refused this token permanently, so another call would
   change nothing. If the upstream accepts the login, the refusal may have been part of
   an incident; then the authority is called again, at the slow pace. After
   `bearerd token --retry`, or a change of the file, it is called at once.
2. *retry*: this token has failed, and the pause is not over.
3. *unaccepted*: the upstream has rejected the last new tokens in a row. From the third
   one on, the interval doubles with each, up to an hour: each rotation is one more
   chance to lose a token.
4. *level*: the budget, a token bucket.

Checks 1 and 2 apply to one token, one client and one endpoint, so a change of
`client_id` or `token_url` ends them. A rejected client (`invalid_client`) is an error in
the settings and is never written to disk.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from bearerd.clock import Clock
from bearerd.credential.authority.errors import (
    UPSTREAM_REJECTS_NEW_TOKENS,
    AuthorityFailure,
)
from bearerd.credential.refresh.backoff import (
    FAST,
    LONGEST_SECONDS,
    MAYBE_SPENT_SECONDS,
    SLOW,
    pause_seconds,
)
from bearerd.credential.refresh.token_bucket import TokenBucket
from bearerd.credential.store.state import (
    BucketLevel,
    RefusedToken,
    RetryState,
    StoreState,
    Unaccepted,
)
from bearerd.credential.store.store import Store
from bearerd.credential.token import Credential
from bearerd.errors import StoreError, StoreUnavailable

UNACCEPTED_FREE = 3
"""The number of new tokens that the upstream may reject in a row before the interval
grows."""

DOUBLINGS_LIMIT = 12
"""Bounds the exponent: after 12 doublings, an interval of 1 s exceeds an hour."""


@dataclass(frozen=True, slots=True)
class AuthorityName:
    """An endpoint and a client. A refusal or a pause applies to one such pair."""

    token_url: str
    client_id: str


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
        authority: AuthorityName,
    ) -> None:
        self._store = store
        self._bucket = bucket
        self._clock = clock
        self._jitter = jitter
        self._authority = authority
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
        if self._is_accepted:
            state = replace(state, unaccepted=None)
        if not is_forced:
            if not self._is_accepted:
                self._check_refused(state, presented)  # 1
            self._check_retry(state, presented)  # 2
        self._is_accepted = False
        now = self._clock.now()
        self._check_unaccepted(state, now)  # 3
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
        count = (state.unaccepted.count if state.unaccepted else 0) + was_rejected
        unaccepted = Unaccepted(count, self._clock.now()) if count else None
        spent = state.with_spent(presented.fingerprint) if is_rotated else state.spent
        self._own_retry = None
        await self._write(
            replace(state, retry=None, refused=None, spent=spent, unaccepted=unaccepted)
        )

    async def record_refusal(self, presented: Credential, reason: str) -> None:
        """Record that the authority has refused *presented* permanently."""
        refused = RefusedToken(
            fingerprint=presented.fingerprint,
            reason=reason,
            token_url=self._authority.token_url,
            client_id=self._authority.client_id,
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
        """Return the pause after *failure*, as a state and in seconds.

        Failures are counted per pace: after many fast pauses for an unreachable
        authority, the first slow pause is a minute and not an hour.
        """
        pace = "slow" if failure.is_slow else "fast"
        previous_failures = [
            retry.failures
            for retry in self._retries(state)
            if self._applies_to(retry, presented) and retry.pace == pace
        ]
        failures = max(previous_failures, default=0) + 1
        seconds = pause_seconds(
            SLOW if failure.is_slow else FAST,
            failures,
            jitter=self._jitter(),
            least_seconds=MAYBE_SPENT_SECONDS if failure.is_maybe_spent else 0.0,
            retry_after_seconds=failure.retry_after_seconds,
        )
        retry = RetryState(
            fingerprint=presented.fingerprint,
            token_url=self._authority.token_url,
            client_id=self._authority.client_id,
            outcome=failure.outcome,
            reason=failure.reason,
            status=failure.status or 0,
            pace=pace,
            failures=failures,
            until=self._clock.now() + seconds,
        )
        self._own_retry = OwnRetry(retry, self._clock.monotonic() + seconds)
        return retry, seconds

    def _retries(self, state: StoreState) -> tuple[RetryState, ...]:
        """Return the last failure of this process and the shared one, if any."""
        own = self._own_retry.state if self._own_retry else None
        return tuple(retry for retry in (own, state.retry) if retry is not None)

    def _applies_to(
        self, record: RetryState | RefusedToken, presented: Credential
    ) -> bool:
        """Return True if *record* is of this token, this endpoint and this client."""
        return (record.fingerprint, record.token_url, record.client_id) == (
            presented.fingerprint,
            self._authority.token_url,
            self._authority.client_id,
        )

    def _check_refused(self, state: StoreState, presented: Credential) -> None:
        refused = state.refused
        if refused is not None and self._applies_to(refused, presented):
            raise AuthorityFailure("refused", refused.reason, is_call=False)

    def _check_retry(self, state: StoreState, presented: Credential) -> None:
        """Raise the recorded failure with the longer pause: own or shared."""
        for retry in sorted(self._retries(state), key=self._remaining, reverse=True):
            remaining = self._remaining(retry)
            if remaining > 0 and self._applies_to(retry, presented):
                raise AuthorityFailure.recorded(
                    retry.outcome, retry.reason, retry.status or None, remaining
                )

    def _remaining(self, retry: RetryState) -> float:
        """Return the seconds until the pause of *retry* is over.

        A failure of this process is timed by the monotonic clock, and one of another
        process by the wall clock. A remaining time longer than the longest pause means
        that the clock was set since, and counts as 0.
        """
        own = self._own_retry
        if own is not None and own.state == retry:
            return own.until - self._clock.monotonic()
        remaining = retry.until - self._clock.now()
        return remaining if remaining <= LONGEST_SECONDS else 0.0

    def _check_unaccepted(self, state: StoreState, now: float) -> None:
        unaccepted = state.unaccepted
        if unaccepted is None or unaccepted.count < UNACCEPTED_FREE:
            return
        if now < unaccepted.at:  # the clock was set back
            return
        doublings = min(DOUBLINGS_LIMIT, unaccepted.count - UNACCEPTED_FREE + 1)
        interval = self._bucket.interval_seconds * 2.0**doublings
        remaining = unaccepted.at + min(LONGEST_SECONDS, interval) - now
        if remaining > 0:
            raise AuthorityFailure(
                "throttled",
                UPSTREAM_REJECTS_NEW_TOKENS,
                retry_after_seconds=remaining,
                is_call=False,
            )

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
            unaccepted=memory.unaccepted or state.unaccepted,
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
