"""Whether the authority may be called: refusals, pauses, damping, budget, and who shares.

Each `limiter()` is another process on the same store.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from bearerd.credential.authority.errors import AuthorityFailure
from bearerd.credential.refresh.backoff import LONGEST_SECONDS, MAYBE_SPENT_SECONDS
from bearerd.credential.refresh.limiter import RefreshLimiter
from bearerd.credential.refresh.limits import REJECTIONS_ALLOWED, TokenEndpoint
from bearerd.credential.refresh.token_bucket import TokenBucket
from bearerd.credential.store.state import Account, ConsecutiveRejections, StoreState
from bearerd.credential.token import Credential
from bearerd.events import CallFailure
from tests.credential.stand_ins import ENDPOINT, HOUR, Home, credential_for, full_disk

TOKEN = credential_for("first")
OTHER_TOKEN = credential_for("second")
AMPLE = TokenBucket(1000, 1.0)


class Limiters:
    """Makes limiters of one store; each is a process of its own."""

    def __init__(self, home: Home) -> None:
        self.home = home

    def __call__(
        self,
        *,
        bucket: TokenBucket = AMPLE,
        endpoint: TokenEndpoint = ENDPOINT,
        jitter: float = 0.0,
    ) -> RefreshLimiter:
        """Return the limiter of another process."""
        return RefreshLimiter(
            store=self.home.store(),
            bucket=bucket,
            clock=self.home.clock.skipping,
            jitter=lambda: jitter,
            endpoint=endpoint,
        )


@pytest.fixture
def limiter(home: Home) -> Limiters:
    """A maker of limiters."""
    return Limiters(home)


async def refused_call(
    limiter: RefreshLimiter, token: Credential = TOKEN, *, is_forced: bool = False
) -> AuthorityFailure:
    """Return why the authority may not be called."""
    with pytest.raises(AuthorityFailure) as why:
        await limiter.acquire(token, is_forced=is_forced)
    assert not why.value.is_call
    return why.value


async def may_call(limiter: RefreshLimiter, token: Credential = TOKEN) -> bool:
    """Return True if the authority may be called; the call counts then."""
    try:
        await limiter.acquire(token)
    except AuthorityFailure:
        return False
    return True


async def fail(
    limiter: RefreshLimiter,
    outcome: CallFailure = "unclear",
    reason: str = "http_500",
    *,
    token: Credential = TOKEN,
    status: int | None = None,
    is_slow: bool = False,
    is_maybe_spent: bool = False,
    retry_after_seconds: float | None = None,
) -> float:
    """Record a failure; return the seconds of the pause that follows it."""
    failure = AuthorityFailure(
        outcome,
        reason,
        status=status,
        is_slow=is_slow,
        is_maybe_spent=is_maybe_spent,
        retry_after_seconds=retry_after_seconds,
    )
    found = await limiter.record_failure(token, failure)
    assert (found.outcome, found.reason) == (outcome, reason)
    assert found.retry_after_seconds is not None
    return found.retry_after_seconds


# 1: refused.


async def test_a_refused_token_is_not_presented_again_by_any_process(
    limiter: Limiters,
) -> None:
    """The reason is remembered; another token is another matter."""
    first = limiter()
    await first.record_refusal(TOKEN, "revoked")
    for one in (first, limiter()):
        why = await refused_call(one)
        assert (why.outcome, why.reason) == ("refused", "revoked")
        assert await may_call(one, OTHER_TOKEN)
    limiter.home.clock.advance(30 * 24 * HOUR)
    assert (await refused_call(limiter())).outcome == "refused"


@pytest.mark.parametrize(
    "corrected",
    [
        TokenEndpoint("https://other.test/oauth/token", ENDPOINT.client_id),
        TokenEndpoint(ENDPOINT.token_url, "app_other"),
    ],
    ids=["token-url", "client-id"],
)
async def test_a_refusal_counts_for_one_client_at_one_endpoint(
    limiter: Limiters, corrected: TokenEndpoint
) -> None:
    """After a correction of the settings the authority is called at once."""
    await limiter().record_refusal(TOKEN, "other")
    assert await may_call(limiter(endpoint=corrected))
    assert (await refused_call(limiter())).outcome == "refused"


async def test_a_refusal_is_dated_and_names_what_it_is_about(
    limiter: Limiters,
) -> None:
    """No token is written down."""
    await limiter().record_refusal(TOKEN, "reused")
    refused = (await limiter.home.store().read_state()).refused
    assert refused is not None
    assert refused.at == limiter.home.clock.now()
    assert refused.fingerprint == TOKEN.fingerprint
    assert (refused.token_url, refused.client_id) == (
        ENDPOINT.token_url,
        ENDPOINT.client_id,
    )


async def test_an_acceptance_by_the_upstream_ends_a_refusal_at_the_slow_pace(
    limiter: Limiters,
) -> None:
    """The refusal may have been part of an incident: one call after a minute, then each
    refusal has a longer pause.
    """
    one = limiter()
    await one.record_refusal(TOKEN, "revoked")
    for pause in (60.0, 120.0):
        one.record_acceptance()
        assert (await refused_call(one)).retry_after_seconds == pause
        limiter.home.clock.advance(pause - 1)
        assert (await refused_call(one)).retry_after_seconds == 1.0
        limiter.home.clock.advance(1.0)
        await one.acquire(TOKEN)  # the acceptance is still recorded
        assert (await refused_call(one)).outcome == "refused"
        await one.record_refusal(TOKEN, "revoked")


async def test_a_person_may_ask_again_at_once(limiter: Limiters) -> None:
    """`is_forced` leaves out the refusal and the pause, and not the budget."""
    one = limiter(bucket=TokenBucket(2, 1e9))
    await one.record_refusal(TOKEN, "revoked")
    await one.acquire(TOKEN, is_forced=True)
    await fail(one)
    await one.acquire(TOKEN, is_forced=True)
    assert (await refused_call(one, is_forced=True)).reason == "budget"


# 2: pauses.


async def test_a_pause_is_the_same_for_all_processes(limiter: Limiters) -> None:
    """Each gets the recorded failure, with the remaining seconds."""
    first = limiter()
    assert (
        await fail(first, "unclear", "http_502", status=502, retry_after_seconds=8) == 8
    )
    limiter.home.clock.advance(7.0)
    for one in (first, limiter()):
        why = await refused_call(one)
        assert (why.outcome, why.reason, why.status) == ("unclear", "http_502", 502)
        assert why.retry_after_seconds == pytest.approx(1.0)
    limiter.home.clock.advance(1.0)
    for one in (first, limiter()):
        assert await may_call(one)


async def test_retry_after_is_kept_by_eight_processes_and_by_restarts(
    limiter: Limiters,
) -> None:
    """One call in ten minutes, however many commands run and however often."""
    calls = 0
    for _ in range(3):
        for one in [limiter() for _ in range(8)]:
            if await may_call(one):
                calls += 1
                await fail(one, "rejected", "http_429", retry_after_seconds=600)
        limiter.home.clock.advance(199.0)
    assert calls == 1
    limiter.home.clock.advance(3.0)
    assert await may_call(limiter())


async def test_a_longer_pause_of_another_process_counts(limiter: Limiters) -> None:
    """Also for a process that had a failure of its own, whose pause is over."""
    one, two = limiter(), limiter()
    assert await fail(one) == 1.0
    assert await fail(two, "rejected", "http_429", retry_after_seconds=600) == 600
    limiter.home.clock.advance(5.0)
    why = await refused_call(one)
    assert (why.reason, why.retry_after_seconds) == ("http_429", 595.0)


async def test_failures_are_counted_by_all_processes(limiter: Limiters) -> None:
    """Eight commands in a loop wait longer and longer, as one daemon would."""
    pauses = []
    for _ in range(7):
        pauses.append(await fail(limiter()))
        limiter.home.clock.advance(pauses[-1])
    assert pauses == [1, 2, 4, 8, 16, 32, 60]


async def test_each_pace_counts_its_own_failures(limiter: Limiters) -> None:
    """Ten failures of a network that is down do not make the first plain 401 an hour."""
    one = limiter()
    for _ in range(10):
        await fail(one, "undelivered", "no_route")
    assert await fail(one, "rejected", "http_401", is_slow=True) == 60.0
    assert await fail(one, "rejected", "http_401", is_slow=True) == 120.0
    assert await fail(one, "unclear", "http_500") == 1.0


async def test_a_token_that_may_be_spent_rests_longer_than_a_moment(
    limiter: Limiters,
) -> None:
    """The first call may still be at work at the authority."""
    assert await fail(limiter(), is_maybe_spent=True) == MAYBE_SPENT_SECONDS


async def test_another_login_does_not_wait_for_an_old_failure(
    limiter: Limiters,
) -> None:
    """And its own failures are counted from one."""
    one = limiter()
    for _ in range(5):
        await fail(one)
    assert await may_call(one, OTHER_TOKEN)
    assert await fail(one, token=OTHER_TOKEN) == 1.0


async def test_a_corrected_endpoint_does_not_wait_for_the_wrong_one(
    limiter: Limiters,
) -> None:
    """A page of some other server has a pause of up to an hour; a restart ends it."""
    wrong = TokenEndpoint("https://wrong.test/", ENDPOINT.client_id)
    await fail(limiter(endpoint=wrong), "rejected", "http_404", is_slow=True)
    assert await may_call(limiter())


async def test_a_success_ends_pause_refusal_and_count(limiter: Limiters) -> None:
    """In all processes; an authority that does not rotate leaves the token as it is."""
    one, two = limiter(), limiter()
    await fail(one)
    await fail(one)
    await two.record_refusal(TOKEN, "other")
    await two.record_success(TOKEN, is_rotated=False, was_rejected=False)
    limiter.home.clock.advance(2.0)
    for each in (one, two, limiter()):
        assert await may_call(each)
    assert await fail(two) == 1.0


@pytest.mark.parametrize("wall_seconds", [1e6, -1e6, -HOUR - 1])
async def test_a_wall_clock_that_jumps_changes_no_pause_of_its_own(
    limiter: Limiters, wall_seconds: float
) -> None:
    """Only time that really passed counts, and no jump blocks another process either."""
    one = limiter()
    await fail(one, retry_after_seconds=600)
    limiter.home.clock.advance(0.0, wall_seconds=wall_seconds)
    assert (await refused_call(one)).retry_after_seconds == 600
    limiter.home.clock.advance(600.0)
    assert await may_call(one)
    assert await may_call(limiter())


async def test_no_pause_is_longer_than_an_hour(limiter: Limiters) -> None:
    """For any Retry-After, and after any number of failures."""
    one = limiter()
    given = {"is_slow": True, "retry_after_seconds": 1e9}
    for _ in range(30):
        assert await fail(one, "rejected", "http_403", **given) == LONGEST_SECONDS  # type: ignore[arg-type]


async def test_a_rejected_client_is_remembered_in_memory_alone(
    limiter: Limiters,
) -> None:
    """After a restart with other settings the call is made at once; before, the pauses grow."""
    one = limiter()
    for pause in (60.0, 120.0, 240.0):
        assert await may_call(one)
        found = await fail(one, "misconfigured", "invalid_client", is_slow=True)
        assert found == pause
        why = await refused_call(one)
        assert (why.outcome, why.reason) == ("misconfigured", "invalid_client")
        assert await may_call(limiter())
        limiter.home.clock.advance(pause)
    state = limiter.home.path.with_name("auth.json.bearerd-state")
    assert b"invalid_client" not in state.read_bytes()
    assert (await limiter.home.store().read_state()).retry is None


# 3: fresh tokens that the upstream refuses.


async def rotate(limiter: RefreshLimiter, *, was_rejected: bool = True) -> None:
    """Make one call that gives a fresh token."""
    await limiter.acquire(TOKEN)
    await limiter.record_success(TOKEN, is_rotated=True, was_rejected=was_rejected)


async def test_after_some_refused_fresh_tokens_the_interval_doubles_to_an_hour(
    limiter: Limiters,
) -> None:
    """Rotating on would only multiply the occasions to lose a token."""
    bucket = TokenBucket(1000, 30.0)
    for _ in range(REJECTIONS_ALLOWED):
        await rotate(limiter(bucket=bucket))
    pauses = []
    for _ in range(10):
        why = await refused_call(limiter(bucket=bucket))
        assert (why.outcome, why.reason) == (
            "throttled",
            "upstream_refuses_fresh_tokens",
        )
        assert why.retry_after_seconds is not None
        pauses.append(why.retry_after_seconds)
        limiter.home.clock.advance(why.retry_after_seconds)
        await rotate(limiter(bucket=bucket))
    assert pauses == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600, 3600]


async def test_a_dead_account_costs_about_a_rotation_an_hour(
    limiter: Limiters,
) -> None:
    """Half a day of 401s, with a request each minute: not one each interval."""
    one = limiter(bucket=TokenBucket(5, 30.0))
    rotations = 0
    for _ in range(12 * 60):
        limiter.home.clock.advance(60.0)
        if await may_call(one):
            rotations += 1
            await one.record_success(TOKEN, is_rotated=True, was_rejected=True)
    assert 12 <= rotations <= 24


async def test_one_acceptance_ends_the_damping(limiter: Limiters) -> None:
    """The count starts again."""
    one = limiter()
    for _ in range(REJECTIONS_ALLOWED):
        await rotate(one)
    await refused_call(one)
    one.record_acceptance()
    for _ in range(REJECTIONS_ALLOWED):
        await rotate(one)
    await refused_call(one)


async def test_refreshes_before_the_end_of_a_token_are_not_damped(
    limiter: Limiters,
) -> None:
    """A daemon without requests sees no acceptance, and the upstream refused nothing."""
    one = limiter(bucket=TokenBucket(5, 30.0))
    for _ in range(50):
        limiter.home.clock.advance(60.0)
        await rotate(one, was_rejected=False)
    assert (await limiter.home.store().read_state()).consecutive_rejections is None


async def test_a_count_without_end_is_an_hour(limiter: Limiters) -> None:
    """The interval is not doubled beyond what a number holds."""
    state = StoreState(
        consecutive_rejections=ConsecutiveRejections(10**9, limiter.home.clock.now())
    )
    await limiter.home.store().write_state(state)
    assert (await refused_call(limiter())).retry_after_seconds == LONGEST_SECONDS


async def test_a_clock_that_went_back_does_not_block_for_its_difference(
    limiter: Limiters,
) -> None:
    """The last fresh token is dated in the future then."""
    one = limiter()
    for _ in range(REJECTIONS_ALLOWED + 3):
        limiter.home.clock.advance(HOUR)
        await rotate(one)
    limiter.home.clock.advance(0.0, wall_seconds=-30 * 24 * HOUR)
    assert await may_call(one)


# 4: the budget.


async def test_the_budget_is_one_for_all_processes(limiter: Limiters) -> None:
    """A call of one process counts for all; the budget refills with time."""
    bucket = TokenBucket(3, 30.0)
    granted = [await may_call(limiter(bucket=bucket)) for _ in range(5)]
    assert granted == [True] * 3 + [False] * 2
    why = await refused_call(limiter(bucket=bucket))
    assert (why.outcome, why.reason) == ("throttled", "budget")
    assert why.retry_after_seconds == 30
    limiter.home.clock.advance(30.0)
    assert await may_call(limiter(bucket=bucket))


@pytest.mark.parametrize("days", [1, 30, 365])
async def test_a_clock_that_was_ahead_does_not_dry_the_budget(
    limiter: Limiters, days: int
) -> None:
    """Used up in the future, it fills up again from the corrected time on."""
    bucket = TokenBucket(2, 30.0)
    clock = limiter.home.clock
    clock.advance(0.0, wall_seconds=days * 24 * HOUR)
    one = limiter(bucket=bucket)
    assert [await may_call(one) for _ in range(3)] == [True, True, False]
    clock.advance(0.0, wall_seconds=-days * 24 * HOUR)
    assert not await may_call(one)
    clock.advance(30.0)
    for each in (one, limiter(bucket=bucket)):
        assert await may_call(each)
        clock.advance(30.0)


async def test_a_call_that_never_arrived_costs_nothing(limiter: Limiters) -> None:
    """A 429 that arrived does."""
    bucket = TokenBucket(1, 1e9)
    one = limiter(bucket=bucket)
    for _ in range(9):
        await one.acquire(TOKEN, is_forced=True)
        await fail(one, "undelivered", "no_route")
    await one.acquire(TOKEN, is_forced=True)
    await one.refund()
    await one.acquire(TOKEN, is_forced=True)
    await fail(one, "rejected", "http_429")
    assert (await refused_call(one, is_forced=True)).reason == "budget"


# Spent tokens.


async def test_a_rotated_token_is_known_as_spent_to_all(limiter: Limiters) -> None:
    """One that was not rotated is not."""
    one = limiter()
    await one.record_success(TOKEN, is_rotated=True, was_rejected=False)
    await one.record_success(OTHER_TOKEN, is_rotated=False, was_rejected=False)
    state = await limiter.home.store().read_state()
    assert state.spent == (TOKEN.fingerprint,)


# Where the state cannot be kept.


async def test_without_a_state_on_disk_a_process_keeps_its_own(
    limiter: Limiters,
) -> None:
    """Budget, pause and refusal hold, for this process at least."""
    with full_disk():
        one = limiter(bucket=TokenBucket(2, 1e9))
        assert [await may_call(one) for _ in range(3)] == [True, True, False]
        two = limiter()
        await fail(two, retry_after_seconds=60)
        assert not await may_call(two)
        three = limiter()
        await three.record_refusal(TOKEN, "revoked")
        assert (await refused_call(three)).outcome == "refused"
        four = limiter()
        await four.record_success(TOKEN, is_rotated=True, was_rejected=True)
    await four.acquire(OTHER_TOKEN)
    state = await limiter.home.store().read_state()
    assert state.spent == (TOKEN.fingerprint,), "it is written down later"


async def test_over_a_state_that_cannot_be_read_nothing_is_written(
    limiter: Limiters,
) -> None:
    """It holds the account and the spent tokens; one I/O error must not forget them."""
    store, path = limiter.home.store(), limiter.home.path
    state = path.with_name("auth.json.bearerd-state")
    before = StoreState(account=Account("acct-1"), spent=("aaaaaaaaaaaaaaaa",))
    await store.write_state(before)
    one = limiter(bucket=TokenBucket(1, 1e9))
    await one.acquire(OTHER_TOKEN)
    state.rename(path.with_name("away"))
    state.mkdir()  # what cannot be read
    assert not await may_call(one, OTHER_TOKEN)
    await fail(one)
    await one.record_success(TOKEN, is_rotated=True, was_rejected=False)
    state.rmdir()
    path.with_name("away").rename(state)
    assert not await may_call(one, OTHER_TOKEN)
    after = await store.read_state()
    assert after.account == before.account
    assert after.spent == ("aaaaaaaaaaaaaaaa", TOKEN.fingerprint)


async def test_the_account_of_the_state_is_left_alone(limiter: Limiters) -> None:
    """The limiter writes the parts beside it."""
    store = limiter.home.store()
    one = limiter()
    await store.write_state(StoreState(account=Account("acct-1")))
    await one.acquire(TOKEN)
    state = await store.read_state()
    await store.write_state(replace(state, account=Account("acct-2")))
    await fail(one)
    await one.record_success(TOKEN, is_rotated=True, was_rejected=True)
    assert (await store.read_state()).account == Account("acct-2")
