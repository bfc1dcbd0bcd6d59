"""Storms: an upstream that rejects everything, a path that always rejects, tokens that
live for seconds, clients that cause load. The authority gets the calls of its budget
and no more; every request that can be served is served.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping

import pytest

from bearerd.events import LoginNeeded, RecoveryFinished
from bearerd.sandbox import AuthorityFault, Sandbox, UpstreamFault
from tests.support import Daemon, ManualClock, Reply, Start, read_login
from tests.support.client import MODELS, RESPONSES

BURST = 5
INTERVAL_SECONDS = 30
"""The defaults of the budget; the first test compares them with the settings."""

NAMES_TOKEN = '{"error": {"code": "token_invalidated", "message": "Sign in again."}}'
UNAUTHORIZED = '{"detail":"Unauthorized"}'
NAMES_NOTHING = '{"detail":"Not for you"}'
BODIES = [NAMES_TOKEN, UNAUTHORIZED, NAMES_NOTHING]
THROTTLED = "refresh_throttled"


def rejecting(body: str, path: str | None = None) -> UpstreamFault:
    """Return the fault of an upstream, or of one path, that always responds 401."""
    return UpstreamFault("answer", status=401, body=body, path=path)


async def tick(hand: ManualClock) -> None:
    """Let a second pass, and both background loops run once."""
    await hand.wait_for_sleepers(2)
    hand.advance(1)
    await hand.wait_for_sleepers(2)


def is_the_upstreams_own(reply: Reply, body: str) -> bool:
    """Return True if this is the 401 of the upstream, byte for byte."""
    return (reply.status, reply.body) == (401, body.encode())


@pytest.mark.parametrize("body", BODIES)
async def test_an_upstream_that_rejects_everything_uses_the_budget_and_no_more(
    timed_start: Start, timed_sandbox: Sandbox, hand: ManualClock, body: str
) -> None:
    """A hundred requests: each gets the upstream's own 401, and the authority its burst
    of calls. After an interval there is one call more.
    """
    daemon = await timed_start()
    profile = daemon.settings.profile("default")
    assert (profile.refresh_burst, profile.refresh_interval_seconds) == (
        BURST,
        INTERVAL_SECONDS,
    )
    timed_sandbox.upstream.fault(rejecting(body))
    replies = [reply for _ in range(20) for reply in await daemon.client.many(5)]
    assert all(is_the_upstreams_own(reply, body) for reply in replies)
    assert (timed_sandbox.authority.calls, timed_sandbox.authority.reused) == (BURST, 0)
    assert {reply.code for reply in replies} == {None, THROTTLED}
    spent_at = next(n for n, reply in enumerate(replies) if reply.code == THROTTLED)
    assert {reply.code for reply in replies[spent_at + 5 :]} == {THROTTLED}

    hand.seconds += INTERVAL_SECONDS - 1
    assert (await daemon.client.send()).code == THROTTLED
    assert timed_sandbox.authority.calls == BURST
    hand.seconds += 1
    replies = await daemon.client.many(20)
    assert all(is_the_upstreams_own(reply, body) for reply in replies)
    assert timed_sandbox.authority.calls == BURST + 1
    assert daemon.announced(LoginNeeded) == []


async def test_the_budget_is_shared_by_the_daemons_of_one_store(
    timed_start: Start, timed_sandbox: Sandbox
) -> None:
    """Two owners of one login have one budget: it is recorded beside the store."""
    one = await timed_start()
    two = await timed_start(
        login=None, folder=one.store.parent / "second", store=one.store
    )
    timed_sandbox.upstream.fault(rejecting(NAMES_TOKEN))
    for _ in range(10):
        for daemon in (one, two):
            assert is_the_upstreams_own(await daemon.client.send(), NAMES_TOKEN)
    assert (timed_sandbox.authority.calls, timed_sandbox.authority.reused) == (BURST, 0)


async def test_a_storm_that_ends_leaves_no_trace(
    start: Start, sandbox: Sandbox
) -> None:
    """The budget is spent, but the login is valid: it is used as soon as the upstream
    accepts it.
    """
    daemon = await start()
    sandbox.upstream.fault(rejecting(NAMES_TOKEN))
    codes = [(await daemon.client.send()).code for _ in range(10)]
    assert codes[-1] == THROTTLED
    sandbox.upstream.clear_faults()
    replies = await daemon.client.many(20)
    assert {(reply.status, reply.code) for reply in replies} == {(200, None)}
    assert sandbox.authority.calls == BURST
    status, _ = await daemon.admin("/readyz")
    assert status == 200


@pytest.mark.parametrize("begins", ["warm", "cold"])
@pytest.mark.parametrize("body", BODIES)
async def test_a_path_that_always_rejects_affects_no_other(
    start: Start, sandbox: Sandbox, body: str, begins: str
) -> None:
    """Its 401 is its own: at most one refresh is tried for it, and none where it does
    not blame the token and others have just been served. The others are not affected.
    """
    daemon = await start()
    sandbox.upstream.fault(rejecting(body, "codex/models"))
    if begins == "warm":
        assert (await daemon.client.send()).status == 200
    for _ in range(30):
        refused = await daemon.client.get(MODELS)
        assert is_the_upstreams_own(refused, body)
        assert refused.code is None
        served = await daemon.client.send()
        assert (served.status, served.recovery) == (200, None)
    expected = 0 if begins == "warm" and body == NAMES_NOTHING else 1
    assert sandbox.authority.calls == expected
    assert daemon.announced(LoginNeeded) == []
    assert len(daemon.announced(RecoveryFinished)) == expected


@pytest.mark.parametrize("body", BODIES)
async def test_a_path_that_always_rejects_under_load_affects_no_other(
    start: Start, sandbox: Sandbox, body: str
) -> None:
    """The same with all requests at once, from the start. The path may reject the new
    credential before another path has accepted it; that costs one more call, once.
    """
    daemon = await start()
    sandbox.upstream.fault(rejecting(body, "codex/models"))
    waves = [
        await asyncio.gather(
            *(daemon.client.get(MODELS) for _ in range(10)),
            *(daemon.client.send() for _ in range(10)),
        )
        for _ in range(5)
    ]
    for wave in waves:
        assert all(is_the_upstreams_own(reply, body) for reply in wave[:10])
        assert {(reply.status, reply.code) for reply in wave[10:]} == {(200, None)}
    assert 1 <= sandbox.authority.calls <= 2
    assert daemon.announced(LoginNeeded) == []


async def test_a_path_that_always_rejects_ends_no_valid_login(
    start: Start, sandbox: Sandbox
) -> None:
    """No refresh succeeds any more, but the access token is valid: it is used where it
    is accepted, and the operator sees what will end with it.
    """
    daemon = await start()
    before = read_login(daemon.store)
    sandbox.upstream.fault(rejecting(NAMES_TOKEN, "codex/models"))
    sandbox.tokens.revoke_refresh_tokens()
    for _ in range(10):
        assert (await daemon.client.get(MODELS)).status == 401
        served = await daemon.client.send()
        assert (served.status, served.code) == (200, None)
    assert sandbox.authority.calls == 1
    assert read_login(daemon.store) == before
    status, _ = await daemon.admin("/readyz")
    assert status == 200
    (needed,) = daemon.announced(LoginNeeded)
    assert "bearerd login" in needed.message


async def test_tokens_that_live_five_seconds_are_served_within_the_budget(
    timed_start: Start, timed_sandbox: Sandbox, hand: ManualClock
) -> None:
    """Five minutes with a request each second. No expired token is sent; a request
    without a credential gets a 503 at once.
    """
    timed_sandbox.tokens.access_lifetime_seconds = 5
    daemon = await timed_start()
    statuses: Counter[tuple[int, str | None]] = Counter()
    for elapsed in range(300):
        reply = await daemon.client.send()
        statuses[reply.status, reply.code] += 1
        allowed = BURST + elapsed // INTERVAL_SECONDS
        assert timed_sandbox.authority.calls <= allowed
        await tick(hand)
    assert set(statuses) == {(200, None), (503, "authority_unavailable")}
    calls = timed_sandbox.authority.calls
    assert calls >= BURST + 300 // INTERVAL_SECONDS - 1
    assert statuses[200, None] >= calls * 4
    assert set(timed_sandbox.upstream.statuses) == {200}
    assert timed_sandbox.authority.reused == 0
    assert daemon.announced(LoginNeeded) == []


async def test_the_retry_after_of_a_spent_budget_is_true(
    timed_start: Start, timed_sandbox: Sandbox, hand: ManualClock
) -> None:
    """A second before it there is no credential yet; when it is over, there is."""
    timed_sandbox.tokens.access_lifetime_seconds = 5
    daemon = await timed_start()
    await hand.wait_for_sleepers(2)
    for _ in range(BURST):
        hand.seconds += (
            6  # the background loops sleep on, so the requests cause the calls
        )
        assert (await daemon.client.send()).status == 200
    hand.seconds += 6
    for _ in range(3):
        reply = await daemon.client.send()
        while reply.status == 200:
            hand.seconds += 6
            reply = await daemon.client.send()
        assert (reply.status, reply.code) == (503, "authority_unavailable")
        seconds = int(reply.headers["Retry-After"])
        assert 1 <= seconds <= INTERVAL_SECONDS
        hand.seconds += seconds - 1
        assert (await daemon.client.send()).status == 503
        hand.seconds += 1
        assert (await daemon.client.send()).status == 200
    assert set(timed_sandbox.upstream.statuses) == {200}


async def test_an_authority_that_is_down_is_called_with_growing_pauses(
    timed_start: Start, timed_sandbox: Sandbox, hand: ManualClock
) -> None:
    """Ten minutes down, with requests all the time: the pauses grow to a minute."""
    timed_sandbox.tokens.access_lifetime_seconds = 3600
    daemon = await timed_start()
    await hand.wait_for_sleepers(2)
    timed_sandbox.authority.fault(
        AuthorityFault("answer", status=503, before_spending=True)
    )
    hand.seconds += 3601
    for _ in range(300):
        reply = await daemon.client.send()
        assert (reply.status, reply.code) == (503, "authority_unavailable")
        hand.seconds += 2
    # 1, 2, 4 ... 60 seconds, less at most a quarter: never below these.
    assert 9 <= timed_sandbox.authority.calls <= 20
    assert timed_sandbox.upstream.requests == 0
    timed_sandbox.authority.clear_faults()
    hand.seconds += 60
    assert (await daemon.client.send()).status == 200
    assert daemon.announced(LoginNeeded) == []


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"Authorization": "Bearer of-its-own"}, id="a bearer of its own"),
        pytest.param({"Authorization": ""}, id="nothing"),
        pytest.param({"chatgpt-account-id": "acct-of-another"}, id="another account"),
        pytest.param({"Connection": "authorization, close"}, id="a nominated field"),
        pytest.param({"x-openai-authorization-error": "token_expired"}, id="a claim"),
    ],
)
async def test_a_client_cannot_cause_calls_to_the_authority(
    start: Start, sandbox: Sandbox, fields: Mapping[str, str]
) -> None:
    """Its own credentials are not forwarded, and cause no refresh."""
    daemon = await start()
    replies = [await daemon.client.send(headers=dict(fields)) for _ in range(20)]
    assert len({(reply.status, reply.code) for reply in replies}) == 1
    assert sandbox.authority.calls == 0
    assert set(sandbox.upstream.statuses) <= {200}


async def test_clients_that_disconnect_cause_no_more_calls(
    start: Start, sandbox: Sandbox
) -> None:
    """Fifty send a request with a dead token and disconnect during the refresh; the
    next one is served.
    """
    daemon = await start()
    sandbox.revoke_access_tokens()
    sandbox.authority.gate.close()
    asking = [asyncio.create_task(daemon.client.send()) for _ in range(50)]
    async with asyncio.timeout(10):
        while (
            "\nbearerd_refresh_waiters 50.0\n"
            not in (await daemon.admin("/metrics"))[1]
        ):
            pass
    for request in asking:
        request.cancel()
    left = await daemon.wait_for_finished(50)
    assert {request.status for request in left} == {499}
    sandbox.authority.gate.open()
    reply = await daemon.client.send()
    assert (reply.status, reply.recovery) == (200, None)
    assert (sandbox.authority.calls, sandbox.authority.refreshes) == (1, 1)


async def test_other_error_responses_cause_no_refresh(
    start: Start, sandbox: Sandbox
) -> None:
    """403, 429 and 500 are not about the token, even if they mention one."""
    daemon: Daemon = await start()
    for status in (400, 402, 403, 404, 407, 429, 500, 503):
        fault = UpstreamFault("answer", status=status, body=NAMES_TOKEN)
        sandbox.upstream.fault(fault)
        for path in (RESPONSES, "/backend-api/wham/usage"):
            reply = await daemon.client.send(path)
            assert (reply.status, reply.code) == (status, None)
            assert json.loads(reply.body) == json.loads(NAMES_TOKEN)
    assert sandbox.authority.calls == 0
    assert daemon.announced(RecoveryFinished) == []
