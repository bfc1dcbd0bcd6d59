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

A rejected client (`invalid_client`) is a fault of the settings and never on disk: a
restart with better settings asks at once.
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
from bearerd.errors import StoreError

UNACCEPTED_FREE = 3
"""So many fresh tokens may be refused in a row before the interval grows."""


@dataclass(frozen=True, slots=True)
class AuthorityName:
    """Which client asks which endpoint: a refusal counts for that pair alone."""

    token_url: str
    client_id: str


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
        self._memory = StoreState()
        self._until = 0.0  # of the retry in memory, on the monotonic clock
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
        """Return the last call to the budget: it was not made, or it never arrived."""
        state = await self._state()
        if state.level is not None:
            await self._write(replace(state, level=self._bucket.refund(state.level)))

    async def record_success(self, presented: Credential, *, is_rotated: bool) -> None:
        """Record that the authority issued a successor of *presented*.

        *is_rotated*: the successor has another refresh token, so this one is spent.
        """
        state = await self._state()
        count = state.unaccepted.count if state.unaccepted else 0
        spent = state.with_spent(presented.fingerprint) if is_rotated else state.spent
        self._until = 0.0
        await self._write(
            replace(
                state,
                retry=None,
                refused=None,
                spent=spent,
                unaccepted=Unaccepted(count + 1, self._clock.now()),
            )
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
        retry, _ = self._next_retry(
            state, presented, AuthorityFailure("refused", reason, is_slow=True)
        )
        await self._write(replace(state, refused=refused, retry=retry))

    async def record_failure(
        self, presented: Credential, failure: AuthorityFailure
    ) -> AuthorityFailure:
        """Return *failure* with the pause that follows it.

        A call that never arrived does not count against the budget.
        """
        if failure.outcome == "undelivered":
            await self.refund()
        state = await self._state()
        retry, seconds = self._next_retry(state, presented, failure)
        self._memory = replace(self._memory, retry=retry)
        if failure.outcome != "misconfigured":
            await self._write(replace(state, retry=retry))
        return failure.waiting(seconds)

    def _next_retry(
        self, state: StoreState, presented: Credential, failure: AuthorityFailure
    ) -> tuple[RetryState, float]:
        """Return the pause after *failure*, as a state and in seconds."""
        before, fingerprint = state.retry, presented.fingerprint
        is_repeated = before is not None and before.fingerprint == fingerprint
        failures = before.failures + 1 if before is not None and is_repeated else 1
        seconds = pause_seconds(
            SLOW if failure.is_slow else FAST,
            failures,
            jitter=self._jitter(),
            least_seconds=MAYBE_SPENT_SECONDS if failure.is_maybe_spent else 0.0,
            retry_after_seconds=failure.retry_after_seconds,
        )
        self._until = self._clock.monotonic() + seconds
        retry = RetryState(
            fingerprint=fingerprint,
            outcome=failure.outcome,
            reason=failure.reason,
            failures=failures,
            until=self._clock.now() + seconds,
        )
        return retry, seconds

    def _check_refused(self, state: StoreState, presented: Credential) -> None:
        refused = state.refused
        if (
            refused is not None
            and refused.fingerprint == presented.fingerprint
            and refused.token_url == self._authority.token_url
            and refused.client_id == self._authority.client_id
        ):
            raise AuthorityFailure("refused", refused.reason, is_call=False)

    def _check_retry(self, state: StoreState, presented: Credential) -> None:
        remaining = 0.0
        retry = self._memory.retry
        if retry is not None and retry.fingerprint == presented.fingerprint:
            remaining = self._until - self._clock.monotonic()
        elif (retry := state.retry) and retry.fingerprint == presented.fingerprint:
            remaining = retry.until - self._clock.now()
            if remaining > LONGEST_SECONDS:
                remaining = 0.0  # written under another clock
        if retry is not None and remaining > 0:
            raise AuthorityFailure.remembered(retry.outcome, retry.reason, remaining)

    def _check_unaccepted(self, state: StoreState, now: float) -> None:
        fresh = state.unaccepted
        if fresh is None or fresh.count < UNACCEPTED_FREE or now < fresh.at:
            return
        doubled = self._bucket.interval_seconds * 2.0 ** (
            fresh.count - UNACCEPTED_FREE + 1
        )
        remaining = fresh.at + min(LONGEST_SECONDS, doubled) - now
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

    async def _state(self) -> StoreState:
        """Return the shared state, with what only this process could remember."""
        state = await self._store.read_state()
        memory = self._memory
        if state == StoreState() and memory != state:
            return memory  # nothing can be written there
        return replace(state, refused=state.refused or memory.refused)

    async def _write(self, state: StoreState) -> None:
        self._memory = replace(
            self._memory,
            level=state.level,
            refused=state.refused,
            spent=state.spent,
            unaccepted=state.unaccepted,
            retry=state.retry,
        )
        # Without the state the budget is this process's own: worse, and no reason to
        # refuse a refresh.
        with suppress(StoreError):
            await self._store.write_state(state)
