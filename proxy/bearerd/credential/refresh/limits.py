"""The limits on the calls to the authority: which one forbids a call now. Pure.

They are checked in this order:

1. *refused*: the authority has refused this token permanently, so another call would
   change nothing. If the upstream accepts the login, the refusal may have been part of
   an incident; then the authority is called again, at the slow pace. After
   `bearerd token --retry`, or a change of the file, it is called at once.
2. *retry*: this token has failed, and the pause is not over.
3. *consecutive rejections*: the upstream has rejected the last new tokens in a row. From
   the third one on, the interval doubles with each, up to an hour: each rotation is one
   more chance to lose a token.
4. *level*: the budget, which is a token bucket; see `refresh.token_bucket`.

Limits 1 and 2 apply to one token, one client and one endpoint, so a change of
`client_id` or `token_url` ends them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

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
from bearerd.credential.store.state import (
    ConsecutiveRejections,
    RefusedToken,
    RetryState,
)
from bearerd.credential.token import Credential

REJECTIONS_ALLOWED = 3
"""The number of new tokens that the upstream may reject in a row before the interval
grows."""

DOUBLINGS_LIMIT = 12
"""Bounds the exponent: after 12 doublings, an interval of 1 s exceeds an hour."""


@dataclass(frozen=True, slots=True)
class TokenEndpoint:
    """An endpoint and a client. A refusal or a pause applies to one such pair."""

    token_url: str
    client_id: str


@dataclass(frozen=True, slots=True)
class Pause:
    """A failure of a token, and the seconds until the token may be presented again."""

    retry: RetryState
    remaining_seconds: float


@dataclass(frozen=True, slots=True)
class Limits:
    """What forbids a call, apart from the budget.

    *is_accepted*: the upstream has accepted a credential since the last call, which ends
    1 and 3. *is_forced*: a person has requested a retry, which ends 1 and 2.
    """

    refused: RefusedToken | None = None
    pauses: tuple[Pause, ...] = ()
    rejections: ConsecutiveRejections | None = None
    is_accepted: bool = False
    is_forced: bool = False


def denial(
    limits: Limits,
    presented: Credential,
    endpoint: TokenEndpoint,
    *,
    now: float,
    interval_seconds: float,
) -> AuthorityFailure | None:
    """Return why *presented* may not be presented now, or None if it may.

    *interval_seconds* is that of the budget, from which the interval of 3 grows.
    """
    if not limits.is_forced:
        refused = limits.refused
        is_refused = refused is not None and applies_to(refused, presented, endpoint)
        if refused is not None and is_refused and not limits.is_accepted:  # 1
            return AuthorityFailure("refused", refused.reason, is_call=False)
        pause = _longest_pause(limits.pauses, presented, endpoint)
        if pause is not None:  # 2
            retry = pause.retry
            return AuthorityFailure.recorded(
                retry.outcome,
                retry.reason,
                retry.status or None,
                pause.remaining_seconds,
            )
    rejections = None if limits.is_accepted else limits.rejections
    seconds = seconds_after_rejections(rejections, now, interval_seconds)
    if seconds > 0:  # 3
        return AuthorityFailure(
            "throttled",
            UPSTREAM_REJECTS_NEW_TOKENS,
            retry_after_seconds=seconds,
            is_call=False,
        )
    return None


def _longest_pause(
    pauses: Iterable[Pause], presented: Credential, endpoint: TokenEndpoint
) -> Pause | None:
    """Return the pause of *presented* that ends last, or None if none is left."""
    left = [
        pause
        for pause in pauses
        if pause.remaining_seconds > 0 and applies_to(pause.retry, presented, endpoint)
    ]
    return max(left, key=lambda pause: pause.remaining_seconds, default=None)


def seconds_after_rejections(
    rejections: ConsecutiveRejections | None, now: float, interval_seconds: float
) -> float:
    """Return the seconds until 3 allows a call; 0 or less if it does now.

    If the clock was set back, the time of the last new token is unknown.
    """
    if rejections is None or rejections.count < REJECTIONS_ALLOWED:
        return 0.0
    if now < rejections.at:
        return 0.0
    doublings = min(DOUBLINGS_LIMIT, rejections.count - REJECTIONS_ALLOWED + 1)
    interval = min(LONGEST_SECONDS, interval_seconds * 2.0**doublings)
    return rejections.at + interval - now


def next_retry(
    previous: Iterable[RetryState],
    presented: Credential,
    endpoint: TokenEndpoint,
    failure: AuthorityFailure,
    *,
    now: float,
    jitter: float,
) -> tuple[RetryState, float]:
    """Return the pause after *failure*, as a state and in seconds.

    *previous* are the recorded failures. They are counted per pace: after many fast
    pauses for an unreachable authority, the first slow pause is a minute and not an hour.
    """
    pace = "slow" if failure.is_slow else "fast"
    previous_failures = [
        retry.failures
        for retry in previous
        if applies_to(retry, presented, endpoint) and retry.pace == pace
    ]
    failures = max(previous_failures, default=0) + 1
    seconds = pause_seconds(
        SLOW if failure.is_slow else FAST,
        failures,
        jitter=jitter,
        least_seconds=MAYBE_SPENT_SECONDS if failure.is_maybe_spent else 0.0,
        retry_after_seconds=failure.retry_after_seconds,
    )
    retry = RetryState(
        fingerprint=presented.fingerprint,
        token_url=endpoint.token_url,
        client_id=endpoint.client_id,
        outcome=failure.outcome,
        reason=failure.reason,
        status=failure.status or 0,
        pace=pace,
        failures=failures,
        until=now + seconds,
    )
    return retry, seconds


def applies_to(
    record: RetryState | RefusedToken, presented: Credential, endpoint: TokenEndpoint
) -> bool:
    """Return True if *record* is of this token, this endpoint and this client."""
    return (record.fingerprint, record.token_url, record.client_id) == (
        presented.fingerprint,
        endpoint.token_url,
        endpoint.client_id,
    )
