"""Which limit forbids a call: the four facts in their order, as a table."""

from __future__ import annotations

import pytest

from bearerd.credential.authority.errors import (
    UPSTREAM_REJECTS_NEW_TOKENS,
    AuthorityFailure,
)
from bearerd.credential.refresh.backoff import LONGEST_SECONDS
from bearerd.credential.refresh.limits import (
    REJECTIONS_ALLOWED,
    Limits,
    Pause,
    TokenEndpoint,
    denial,
    next_retry,
    seconds_after_rejections,
)
from bearerd.credential.store.state import (
    ConsecutiveRejections,
    RefusedToken,
    RetryState,
)
from bearerd.credential.token import Credential
from tests.credential.stand_ins import ENDPOINT, START, credential_for

TOKEN, OTHER_TOKEN = credential_for("first"), credential_for("second")
URL, CLIENT = ENDPOINT.token_url, ENDPOINT.client_id
OTHER_CLIENT = TokenEndpoint(URL, "app_other")

REFUSED = RefusedToken(TOKEN.fingerprint, "revoked", URL, CLIENT, START)
RETRY = RetryState(TOKEN.fingerprint, URL, CLIENT, "unclear", "http_502", "fast", 1, 0)
PAUSED, LONGER, OVER = Pause(RETRY, 4.0), Pause(RETRY, 9.0), Pause(RETRY, 0.0)
REJECTED = ConsecutiveRejections(REJECTIONS_ALLOWED, START)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Limits(), None),
        # 1
        (Limits(refused=REFUSED), ("refused", "revoked", None)),
        (Limits(refused=REFUSED, pauses=(PAUSED,)), ("refused", "revoked", None)),
        (Limits(refused=REFUSED, is_accepted=True), None),
        (Limits(refused=REFUSED, is_forced=True), None),
        # 2
        (Limits(pauses=(PAUSED,)), ("unclear", "http_502", 4.0)),
        (Limits(pauses=(PAUSED, LONGER, OVER)), ("unclear", "http_502", 9.0)),
        (Limits(pauses=(OVER,)), None),
        (Limits(pauses=(PAUSED,), is_forced=True), None),
        (Limits(pauses=(PAUSED,), is_accepted=True), ("unclear", "http_502", 4.0)),
        (
            Limits(refused=REFUSED, pauses=(PAUSED,), is_accepted=True),
            ("unclear", "http_502", 4.0),
        ),
        # 3
        (
            Limits(rejections=REJECTED),
            ("throttled", UPSTREAM_REJECTS_NEW_TOKENS, 60.0),
        ),
        (
            Limits(rejections=REJECTED, is_forced=True),
            ("throttled", UPSTREAM_REJECTS_NEW_TOKENS, 60.0),
        ),
        (Limits(rejections=REJECTED, is_accepted=True), None),
        (
            Limits(pauses=(PAUSED,), rejections=REJECTED),
            ("unclear", "http_502", 4.0),
        ),
    ],
)
def test_the_first_limit_that_applies_is_the_reason(
    limits: Limits, expected: tuple[str, str, float | None] | None
) -> None:
    """None of these is a call, so no budget is used."""
    found = denial(limits, TOKEN, ENDPOINT, now=START, interval_seconds=30.0)
    if expected is None or found is None:
        assert (found, expected) == (None, None)
        return
    assert (found.outcome, found.reason, found.retry_after_seconds) == expected
    assert not found.is_call


@pytest.mark.parametrize(
    ("presented", "endpoint"), [(OTHER_TOKEN, ENDPOINT), (TOKEN, OTHER_CLIENT)]
)
def test_a_refusal_and_a_pause_are_of_one_token_and_one_client(
    presented: Credential, endpoint: TokenEndpoint
) -> None:
    """A new login, or a corrected setting, is tried at once."""
    limits = Limits(refused=REFUSED, pauses=(LONGER,))
    found = denial(limits, presented, endpoint, now=START, interval_seconds=30.0)
    assert found is None


@pytest.mark.parametrize(
    ("count", "seconds_since", "expected"),
    [
        (REJECTIONS_ALLOWED - 1, 0, 0.0),
        (REJECTIONS_ALLOWED, 0, 60.0),
        (REJECTIONS_ALLOWED, 59, 1.0),
        (REJECTIONS_ALLOWED, 60, 0.0),
        (REJECTIONS_ALLOWED + 1, 0, 120.0),
        (REJECTIONS_ALLOWED + 9, 0, LONGEST_SECONDS),
        (10**9, 0, LONGEST_SECONDS),
        (REJECTIONS_ALLOWED, -1, 0.0),
    ],
)
def test_the_interval_doubles_with_each_rejected_token(
    count: int, seconds_since: float, expected: float
) -> None:
    """From the third one on, up to an hour; a clock that was set back ends it."""
    rejections = ConsecutiveRejections(count, START)
    found = seconds_after_rejections(rejections, START + seconds_since, 30.0)
    assert found == expected


def test_failures_are_counted_for_each_pace_and_each_token() -> None:
    """After many fast ones, the first slow pause is a minute."""
    fast = AuthorityFailure("unclear", "http_502")
    slow = AuthorityFailure("rejected", "http_403", is_slow=True)
    previous: tuple[RetryState, ...] = ()
    pauses = []
    for failure in (fast, fast, fast, slow, slow):
        retry, seconds = next_retry(
            previous, TOKEN, ENDPOINT, failure, now=START, jitter=0.0
        )
        assert retry.until == START + seconds
        previous = (retry,)
        pauses.append((retry.pace, retry.failures, seconds))
    assert pauses == [
        ("fast", 1, 1.0),
        ("fast", 2, 2.0),
        ("fast", 3, 4.0),
        ("slow", 1, 60.0),
        ("slow", 2, 120.0),
    ]
    other, _ = next_retry(previous, OTHER_TOKEN, ENDPOINT, slow, now=START, jitter=0.0)
    assert other.failures == 1
