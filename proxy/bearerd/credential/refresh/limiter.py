"""Whether the authority may be asked now: refusals, pauses, damping and the budget.

The limiter stands below every trigger and is used only under the store's lock. What it
decides by lies in the store's state, so all processes on a store share it, and in
memory, so that it holds where nothing can be written. `acquire` asks in this order:

1. *refused*: the authority refused this very token for good. Asking again changes
   nothing, until the upstream accepts the login, which may mean that the refusal was part
   of an incident; then it is asked again, at the slow pace. A person, or a touched file,
   can ask at once.
2. *retry*: a failure of this token has a pause that is not over.
3. *unaccepted*: the upstream refused the last fresh tokens, one after the other. After
   three of them the interval doubles with each, up to an hour: rotating on would only
   multiply the occasions to lose a token.
4. *level*: the budget, a token bucket.

1 and 2 count for one token, one client and one endpoint: after a change of `client_id` or
`token_url` the authority is asked at once. A rejected client (`invalid_client`) is a fault
of the settings, and never on disk.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from bearerd.clock import Clock
from bearerd.credential.authority.errors import AuthorityFailure
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
"""So many fresh tokens may be refused in a row before the interval grows."""

DOUBLINGS_LIMIT = 12
"""More doublings than any interval needs to reach an hour; a count has no limit."""


@dataclass(frozen=True, slots=True)
class AuthorityName:
    """Which client asks which endpoint: a refusal or a pause counts for that pair."""

    token_url: str
    client_id: str


@dataclass(frozen=True, slots=True)
class OwnRetry:
    """The last failure in this process. *until* is on the monotonic clock."""

    state: RetryState
    until: float


class RefreshLimiter:
    """Owns this process's copy of what it decides by.

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

    def note_accepted(self) -> None:
        """Note that the upstream has accepted the credential: it ends 1 and 3."""
        self._is_accepted = True

    async def acquire(self, presented: Credential, *, is_forced: bool = False) -> None:
        """Allow one call with the token of *presented*, and count it.

        *is_forced* leaves out 1 and 2, for a person who asks for another try.

        Raises:
            AuthorityFailure: the call may not be made now; `is_call` is false.
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
        """Return the last call to the budget: it was not made."""
        await self._write(self._refunded(await self._state()))

    async def record_success(
        self, presented: Credential, *, is_rotated: bool, was_rejected: bool
    ) -> None:
        """Record that the authority issued a successor of *presented*.

        *is_rotated*: the successor has another refresh token, so this one is spent.
        *was_rejected*: the upstream had rejected the access token that was held. A
        refresh before the end of a token says nothing about the upstream.
        """
        state = await self._state()
        count = (state.unaccepted.count if state.unaccepted else 0) + was_rejected
        fresh = Unaccepted(count, self._clock.now()) if count else None
        spent = state.with_spent(presented.fingerprint) if is_rotated else state.spent
        self._own_retry = None
        await self._write(
            replace(state, retry=None, refused=None, spent=spent, unaccepted=fresh)
        )

    async def record_refusal(self, presented: Credential, reason: str) -> None:
        """Record that *presented* was refused for good."""
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

        A call that never arrived does not count against the budget.
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

        Failures are counted for each pace: after many short pauses for an authority that
        was away, the first slow one is a minute and not an hour.
        """
        pace = "slow" if failure.is_slow else "fast"
        before = [
            retry.failures
            for retry in self._retries(state)
            if self._is_about(retry, presented) and retry.pace == pace
        ]
        failures = max(before, default=0) + 1
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
            pace=pace,
            failures=failures,
            until=self._clock.now() + seconds,
        )
        self._own_retry = OwnRetry(retry, self._clock.monotonic() + seconds)
        return retry, seconds

    def _retries(self, state: StoreState) -> tuple[RetryState, ...]:
        """Return this process's last failure and the one that all share, if any."""
        own = self._own_retry.state if self._own_retry else None
        return tuple(one for one in (own, state.retry) if one is not None)

    def _is_about(self, record: RetryState | RefusedToken, token: Credential) -> bool:
        """Return True if *record* is about *token*, this endpoint and this client."""
        return (record.fingerprint, record.token_url, record.client_id) == (
            token.fingerprint,
            self._authority.token_url,
            self._authority.client_id,
        )

    def _check_refused(self, state: StoreState, presented: Credential) -> None:
        refused = state.refused
        if refused is not None and self._is_about(refused, presented):
            raise AuthorityFailure("refused", refused.reason, is_call=False)

    def _check_retry(self, state: StoreState, presented: Credential) -> None:
        """Raise the failure whose pause is the longer: this process's, or the shared."""
        for retry in sorted(self._retries(state), key=self._remaining, reverse=True):
            remaining = self._remaining(retry)
            if remaining > 0 and self._is_about(retry, presented):
                raise AuthorityFailure.remembered(
                    retry.outcome, retry.reason, remaining
                )

    def _remaining(self, retry: RetryState) -> float:
        """Return the seconds until the pause of *retry* is over.

        A failure of this process is timed by the monotonic clock. Another process's is
        by the wall clock; a pause that is too long was written under another time.
        """
        own = self._own_retry
        if own is not None and own.state == retry:
            return own.until - self._clock.monotonic()
        remaining = retry.until - self._clock.now()
        return remaining if remaining <= LONGEST_SECONDS else 0.0

    def _check_unaccepted(self, state: StoreState, now: float) -> None:
        fresh = state.unaccepted
        if fresh is None or fresh.count < UNACCEPTED_FREE or now < fresh.at:
            return
        doublings = min(DOUBLINGS_LIMIT, fresh.count - UNACCEPTED_FREE + 1)
        interval = self._bucket.interval_seconds * 2.0**doublings
        remaining = fresh.at + min(LONGEST_SECONDS, interval) - now
        if remaining > 0:
            raise AuthorityFailure(
                "throttled",
                "upstream_refuses_fresh_tokens",
                retry_after_seconds=remaining,
                is_call=False,
            )

    def _level(self, state: StoreState, now: float) -> BucketLevel:
        """Return the level that decides: in the state or in memory, the lower one."""
        levels = [one for one in (state.level, self._memory.level) if one is not None]
        return min(
            (self._bucket.refilled(level, now) for level in levels),
            key=lambda level: level.calls,
            default=self._bucket.full(now),
        )

    def _refunded(self, state: StoreState) -> StoreState:
        level = self._level(state, self._clock.now())
        return replace(state, level=self._bucket.refund(level))

    async def _state(self) -> StoreState:
        """Return the shared state; where it cannot be had, what this process remembers.

        If the last write failed, what it would have written counts too.
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
        """Keep *state*, on disk if that can be done.

        Without it the budget is this process's own: worse, and no reason to refuse a
        refresh. Over a state that could not be read nothing is written: it holds what is
        not known here, such as the account.
        """
        self._memory, self._is_written = state, False
        if self._is_readable:
            with suppress(StoreError):
                await self._store.write_state(state)
                self._is_written = True
