"""Storms: an upstream that rejects everything, a path that always rejects, tokens that
live for seconds, clients that cause load. The authority gets the calls of its budget
and no more, and fewer where fresh tokens do not help; every request that can be served
is served.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter
from collections.abc import Mapping

import pytest

from bearerd.events import CredentialRefreshed, LoginNeeded, RecoveryFinished
from bearerd.sandbox import AuthorityFault, Sandbox, UpstreamFault
from tests.support import Daemon, ManualClock, Reply, Start, read_login
from tests.support.client import MODELS, RESPONSES

BURST = 5
INTERVAL_SECONDS = 30
"""The defaults of the budget; the first test compares them with the settings."""

FREE_REFRESHES = 3
"""So many tokens in a row may be rejected before the interval doubles with each."""

CLIENT_LIMIT_SECONDS = 5
"""The longest Retry-After that a client is given."""

NAMES_TOKEN = '{"error": {"code": "token_invalidated", "message": "Sign in again."}}'
UNAUTHORIZED = '{"detail":"Unauthorized"}'
NAMES_NOTHING = '{"detail":"Not for you"}'
BODIES = [NAMES_TOKEN, UNAUTHORIZED, NAMES_NOTHING]
THROTTLED = "refresh_throttled"


def rejecting(body: str, path: str | None = None) -> UpstreamFault:
    """Return the fault of an upstream, or of one path, that always responds 401."""
    return UpstreamFault("answer", status=401, body=body, path=path)


async def tick(clock: ManualClock) -> None:
    """Let a second pass, and both background loops run once."""
    await clock.wait_for_sleepers(2)
    clock.advance(1)
    await clock.wait_for_sleepers(2)


def is_the_upstreams_own(reply: Reply, body: str) -> bool:
    """Return True if this is the 401 of the upstream, byte for byte."""
    return (reply.status, reply.body) == (401, body.encode())


@pytest.mark.parametrize("body", BODIES)
async def test_an_upstream_that_rejects_everything_costs_three_tokens(
    timed_start: Start, timed_sandbox: Sandbox, clock: ManualClock, body: str
) -> None:
    """A hundred requests: each gets the upstream's own 401, and the authority three
    calls, less than its burst. After twice the interval there is one call more, after
    four times the interval the next.
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
    authority = timed_sandbox.authority
    assert (authority.calls, authority.reused) == (FREE_REFRESHES, 0)
    assert {reply.code for reply in replies} == {None, THROTTLED}
    spent_at = next(n for n, reply in enumerate(replies) if reply.code == THROTTLED)
    assert {reply.code for reply in replies[spent_at + 5 :]} == {THROTTLED}

    for more, intervals in ((1, 2), (2, 4)):
        clock.seconds += intervals * INTERVAL_SECONDS - 1
        assert (await daemon.client.send()).code == THROTTLED
        assert authority.calls == FREE_REFRESHES + more - 1
        clock.seconds += 1
        replies = await daemon.client.many(20)
        assert all(is_the_upstreams_own(reply, body) for reply in replies)
        assert authority.calls == FREE_REFRESHES + more
    assert daemon.announced(LoginNeeded) == []


@pytest.fixture
async def two_owners(timed_start: Start, timed_sandbox: Sandbox) -> list[Daemon]:
    """Two daemons with one login, whose tokens live for five seconds."""
    timed_sandbox.tokens.access_lifetime_seconds = 5
    one = await timed_start()
    folder = one.store.parent / "second"
    two = await timed_start(
        login=None, folder=folder, store=one.store, keys_file=folder / "keys.json"
    )
    return [one, two]


async def test_the_budget_is_shared_by_the_daemons_of_one_store(
    two_owners: list[Daemon], timed_sandbox: Sandbox, clock: ManualClock
) -> None:
    """It is recorded beside the store. Each round needs a refresh, from which both are
    served, until the budget is spent; then neither is.
    """
    codes = []
    for _ in range(10):
        clock.seconds += 6
        codes += [(await daemon.client.send()).code for daemon in two_owners]
    calls = timed_sandbox.authority.calls
    assert BURST <= calls <= BURST + 10 * 6 // INTERVAL_SECONDS
    served, unserved = codes[: 2 * calls], codes[2 * calls :]
    assert set(served) == {None}
    assert set(unserved) == {"authority_unavailable"}
    assert timed_sandbox.authority.reused == 0


async def test_rejected_tokens_are_counted_for_all_daemons_of_one_store(
    two_owners: list[Daemon], timed_sandbox: Sandbox
) -> None:
    """The second daemon adds no free refreshes of its own."""
    timed_sandbox.upstream.fault(rejecting(NAMES_TOKEN))
    for _ in range(10):
        for daemon in two_owners:
            assert is_the_upstreams_own(await daemon.client.send(), NAMES_TOKEN)
    authority = timed_sandbox.authority
    assert (authority.calls, authority.reused) == (FREE_REFRESHES, 0)


async def test_a_storm_that_ends_leaves_no_trace(
    start: Start, sandbox: Sandbox
) -> None:
    """No refresh is allowed now, but the login is valid: it is used as soon as the
    upstream accepts it.
    """
    daemon = await start()
    sandbox.upstream.fault(rejecting(NAMES_TOKEN))
    codes = [(await daemon.client.send()).code for _ in range(10)]
    assert codes[-1] == THROTTLED
    sandbox.upstream.clear_faults()
    replies = await daemon.client.many(20)
    assert {(reply.status, reply.code) for reply in replies} == {(200, None)}
    assert sandbox.authority.calls == FREE_REFRESHES
    status, _ = await daemon.admin("/readyz")
    assert status == 200


@pytest.mark.parametrize("begins", ["warm", "cold", "known"])
@pytest.mark.parametrize("body", BODIES)
async def test_a_path_that_always_rejects_affects_no_other(
    start: Start, sandbox: Sandbox, body: str, begins: str
) -> None:
    """Its 401 is its own: one refresh is tried for it. None is where its 401 does not
    blame the token, others have just been served, and the path is known: it has accepted
    an earlier token. The others are not affected.
    """
    daemon = await start()
    if begins == "known":
        assert (await daemon.client.get(MODELS)).status == 200
        sandbox.revoke_access_tokens()
        assert (await daemon.client.send()).status == 200
    calls = sandbox.authority.calls
    recovered = len(daemon.announced(RecoveryFinished))
    sandbox.upstream.fault(rejecting(body, "codex/models"))
    if begins == "warm":
        assert (await daemon.client.send()).status == 200
    for _ in range(30):
        refused = await daemon.client.get(MODELS)
        assert is_the_upstreams_own(refused, body)
        assert refused.code is None
        served = await daemon.client.send()
        assert (served.status, served.recovery) == (200, None)
    expected = 0 if begins == "known" and body == NAMES_NOTHING else 1
    assert sandbox.authority.calls == calls + expected
    assert daemon.announced(LoginNeeded) == []
    assert len(daemon.announced(RecoveryFinished)) == recovered + expected


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
    timed_start: Start, timed_sandbox: Sandbox, clock: ManualClock
) -> None:
    """Two minutes with a request each second. No expired token is sent; a request
    without a credential gets a 503 at once.
    """
    timed_sandbox.tokens.access_lifetime_seconds = 5
    daemon = await timed_start()
    statuses: Counter[tuple[int, str | None]] = Counter()
    for elapsed in range(120):
        reply = await daemon.client.send()
        statuses[reply.status, reply.code] += 1
        allowed = BURST + elapsed // INTERVAL_SECONDS
        assert timed_sandbox.authority.calls <= allowed
        await tick(clock)
    assert set(statuses) == {(200, None), (503, "authority_unavailable")}
    calls = timed_sandbox.authority.calls
    assert calls >= BURST + 120 // INTERVAL_SECONDS - 1
    assert statuses[200, None] >= calls * 4
    assert set(timed_sandbox.upstream.statuses) == {200}
    assert timed_sandbox.authority.reused == 0
    assert daemon.announced(LoginNeeded) == []


async def test_the_next_attempt_after_a_spent_budget_is_true(
    timed_start: Start, timed_sandbox: Sandbox, clock: ManualClock
) -> None:
    """The status shows it: a second before there is no credential, and then there is.
    The profile is blocked and the daemon not ready, since every request is refused. A
    client is sent away for a few seconds only, because to ask again costs no call.
    """
    timed_sandbox.tokens.access_lifetime_seconds = 5
    daemon = await timed_start()
    for _ in range(BURST):
        clock.seconds += (
            6  # the background loops sleep on, so the requests cause the calls
        )
        assert (await daemon.client.send()).status == 200
    clock.seconds += 6
    for _ in range(3):
        reply = await daemon.client.send()
        while reply.status == 200:
            clock.seconds += 6
            reply = await daemon.client.send()
        assert (reply.status, reply.code) == (503, "authority_unavailable")
        (profile,) = json.loads((await daemon.admin("/api/status"))[1])["profiles"]
        assert (profile["state"], profile["code"]) == ("blocked", reply.code)
        assert (await daemon.admin("/readyz"))[0] == 503
        seconds = math.ceil(profile["retry_at"] - clock.seconds)
        assert 1 <= seconds <= INTERVAL_SECONDS
        assert f"in {seconds} s" in reply.message
        assert int(reply.headers["Retry-After"]) == min(seconds, CLIENT_LIMIT_SECONDS)
        clock.seconds += seconds - 1
        assert (await daemon.client.send()).status == 503
        clock.seconds += 1
        assert (await daemon.client.send()).status == 200
        assert (await daemon.admin("/readyz"))[0] == 200
    assert set(timed_sandbox.upstream.statuses) == {200}


async def test_an_authority_that_is_down_is_called_with_growing_pauses(
    timed_start: Start, timed_sandbox: Sandbox, clock: ManualClock
) -> None:
    """Ten minutes down, with requests all the time: the pauses grow to a minute."""
    timed_sandbox.tokens.access_lifetime_seconds = 3600
    daemon = await timed_start()
    timed_sandbox.authority.fault(
        AuthorityFault("answer", status=503, before_spending=True)
    )
    clock.seconds += 3601
    for _ in range(120):
        reply = await daemon.client.send()
        assert (reply.status, reply.code) == (503, "authority_unavailable")
        clock.seconds += 5
    # 1, 2, 4 ... 60 seconds, less at most a quarter: never below these.
    assert 9 <= timed_sandbox.authority.calls <= 20
    assert timed_sandbox.upstream.requests == 0
    assert (await daemon.admin("/readyz"))[0] == 503
    timed_sandbox.authority.clear_faults()
    clock.seconds += 60
    assert (await daemon.client.send()).status == 200
    assert (await daemon.admin("/readyz"))[0] == 200
    assert daemon.announced(LoginNeeded) == []


@pytest.mark.parametrize(("seconds", "most_calls"), [(6, 1), (60, 2), (600, 4)])
async def test_an_incident_that_ends_leaves_no_trace(
    timed_start: Start,
    timed_sandbox: Sandbox,
    clock: ManualClock,
    seconds: int,
    most_calls: int,
) -> None:
    """Both servers answer a plain 401 to everything, and no token is touched. Clients
    get a 503, the authority a call at once and then after a minute, two, four. When it is
    over the first request is served, with the token that was held all the time, unless
    an attempt is due just then.
    """
    daemon = await timed_start()
    before, authority = daemon.store.read_bytes(), timed_sandbox.authority
    timed_sandbox.incident(seconds)
    for _ in range(30):
        reply = await daemon.client.send()
        assert (reply.status, reply.code) == (503, "authority_unavailable")
        assert 1 <= int(reply.headers["Retry-After"]) <= CLIENT_LIMIT_SECONDS
        clock.advance(seconds / 30)
    (profile,) = json.loads((await daemon.admin("/api/status"))[1])["profiles"]
    is_due = profile["retry_at"] <= clock.seconds
    calls = authority.calls
    assert 1 <= calls <= most_calls
    replies = await daemon.client.many(20)
    assert {(reply.status, reply.recovery) for reply in replies} == {(200, None)}
    assert authority.calls == calls + is_due
    assert is_due or daemon.store.read_bytes() == before
    (profile,) = json.loads((await daemon.admin("/api/status"))[1])["profiles"]
    assert (profile["state"], profile["code"]) == ("usable", None)
    assert daemon.announced(LoginNeeded) == []

    clock.seconds += 600
    timed_sandbox.revoke_access_tokens()
    assert (await daemon.client.send()).recovery == "refresh"
    assert (authority.calls, authority.reused) == (calls + is_due + 1, 0)


async def test_a_token_that_ends_in_an_incident_is_replaced_after_it(
    timed_start: Start, timed_sandbox: Sandbox, clock: ManualClock
) -> None:
    """Nothing can be sent any more, so the authority's answer is the way back: the next
    attempt that the status shows, which needs no request.
    """
    timed_sandbox.tokens.access_lifetime_seconds = 300
    daemon = await timed_start()
    timed_sandbox.incident(600)
    for _ in range(0, 600, 15):
        reply = await daemon.client.send()
        assert (reply.status, reply.code) == (503, "authority_unavailable")
        clock.advance(15)
    (profile,) = json.loads((await daemon.admin("/api/status"))[1])["profiles"]
    assert (profile["state"], profile["needs_sign_in"]) == ("blocked", False)
    calls = timed_sandbox.authority.calls
    await clock.wait_for_sleepers(2)
    clock.advance(max(0.0, profile["retry_at"] - 1 - clock.seconds))
    assert daemon.announced(CredentialRefreshed) == []
    for _ in range(2):
        await tick(clock)
    await daemon.wait_for(CredentialRefreshed)
    assert (await daemon.client.send()).status == 200
    assert timed_sandbox.authority.calls == calls + 1
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
    pending = [asyncio.create_task(daemon.client.send()) for _ in range(50)]
    async with asyncio.timeout(10):
        while (
            "\nbearerd_refresh_waiters 50.0\n"
            not in (await daemon.admin("/metrics"))[1]
        ):
            pass
    for request in pending:
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
