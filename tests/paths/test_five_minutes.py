"""Minutes of failures beside good service, on the test's clock.

Over time it shows whose a 401 is: the token's is recovered, a resource's is delivered.
It also shows how often the authority is called for that.
"""

from __future__ import annotations

import json
from collections import Counter

import pytest

from bearerd.events import RecoveryFinished
from bearerd.sandbox import Sandbox, UpstreamFault
from tests.support import ManualClock, Start
from tests.support.client import MODELS

SECONDS = 300
FREE_REFRESHES = 3
"""So many tokens in a row may be rejected before the interval doubles with each."""
TROUBLED = "/backend-api/codex/troubled"
ABOUT_THE_TOKEN = json.dumps({"error": {"code": "token_invalidated"}})
ABOUT_THE_RESOURCE = json.dumps({"error": {"code": "no_seat", "message": "No seat."}})


def reject_with_401(sandbox: Sandbox, body: str, path: str | None = None) -> None:
    """Have the upstream, or one path of it, respond 401 from now on."""
    sandbox.upstream.fault(UpstreamFault("answer", status=401, body=body, path=path))


async def test_an_upstream_that_rejects_everything_costs_fewer_and_fewer_tokens(
    timed_start: Start, timed_sandbox: Sandbox, clock: ManualClock
) -> None:
    """Two paths, requested every ten seconds. Three refreshes are free; then the pause
    doubles with each, up to an hour, because each rotation is an occasion to lose a
    token. But each could be the one that helps: when the upstream recovers, so does the
    service, and three are free again.
    """
    daemon = await timed_start()
    authority, began = timed_sandbox.authority, clock.seconds
    reject_with_401(timed_sandbox, ABOUT_THE_TOKEN)
    marks: Counter[str | None] = Counter()
    for _ in range(0, SECONDS, 10):
        for path in ("/v1/responses", "/v1/models"):
            reply = await daemon.client.send(path)
            assert (reply.status, reply.body.decode()) == (401, ABOUT_THE_TOKEN)
            marks[reply.code] += 1
        clock.advance(10)
    called_at = [call.at - began for call in authority.records]
    third = 10  # in the next step
    assert called_at == [0, 0, third, third + 60, third + 60 + 120]
    assert set(marks) == {None, "refresh_throttled"}

    for pause in (240, 480, 960, 1920, 3600, 3600):
        calls, clock.seconds = authority.calls, authority.records[-1].at + pause - 1
        assert (await daemon.client.send()).code == "refresh_throttled"
        assert authority.calls == calls
        clock.seconds += 1
        assert (await daemon.client.send()).status == 401
        assert authority.calls == calls + 1
    outcomes = {end.outcome.value for end in daemon.announced(RecoveryFinished)}
    assert outcomes == {"refused", "refresh_throttled"}

    timed_sandbox.upstream.clear_faults()
    assert (await daemon.client.send()).status == 200
    reject_with_401(timed_sandbox, ABOUT_THE_TOKEN)
    calls = authority.calls
    for _ in range(2 * FREE_REFRESHES):
        assert (await daemon.client.send()).status == 401
    assert authority.calls == calls + FREE_REFRESHES
    assert authority.reused == 0


@pytest.mark.parametrize(
    "body",
    [ABOUT_THE_RESOURCE, ABOUT_THE_TOKEN],
    ids=["names the resource", "names the token"],
)
async def test_a_path_that_always_rejects_is_soon_known(
    timed_start: Start,
    timed_sandbox: Sandbox,
    clock: ManualClock,
    body: str,
) -> None:
    """The other path is served all the time. The path has never accepted a token, so the
    first 401 is tried once with a fresh one, whatever its body says; that one is rejected
    too, and so the path is known.
    """
    daemon = await timed_start()
    reject_with_401(timed_sandbox, body, "codex/troubled")
    for _ in range(0, SECONDS, 3):
        good = await daemon.client.get(MODELS)
        assert (good.status, good.recovery) == (200, None)
        bad = await daemon.client.get(TROUBLED)
        assert (bad.status, bad.body.decode(), bad.code) == (401, body, None)
        clock.advance(3)
    assert (timed_sandbox.authority.calls, timed_sandbox.authority.reused) == (1, 0)
    assert (await daemon.admin("/readyz"))[0] == 200


@pytest.mark.parametrize("body", [ABOUT_THE_RESOURCE, ABOUT_THE_TOKEN])
async def test_a_path_that_rejects_does_not_hide_a_revoked_token(
    timed_start: Start, timed_sandbox: Sandbox, clock: ManualClock, body: str
) -> None:
    """It rejects for reasons of its own when the token is revoked: the others recover
    all the same, with one refresh.
    """
    daemon = await timed_start()
    reject_with_401(timed_sandbox, body, "codex/troubled")
    for _ in range(20):
        assert (await daemon.client.get(MODELS)).status == 200
        assert (await daemon.client.get(TROUBLED)).status == 401
        clock.advance(1)
    calls = timed_sandbox.authority.calls
    timed_sandbox.revoke_access_tokens()
    assert (await daemon.client.get(TROUBLED)).status == 401
    replies = await daemon.client.many(20, "/v1/responses")
    assert {reply.status for reply in replies} == {200}
    assert timed_sandbox.authority.calls == calls + 1
    assert timed_sandbox.authority.reused == 0


async def test_tokens_that_live_five_seconds_work_if_the_budget_allows(
    timed_start: Start, timed_sandbox: Sandbox, clock: ManualClock
) -> None:
    """With one call per second no request is rejected, none waits, and no call is
    wasted: a token of five seconds is renewed in its last one.
    """
    timed_sandbox.tokens.access_lifetime_seconds = 5
    daemon = await timed_start(refresh_interval_seconds=1)
    for _ in range(100):
        await clock.wait_for_sleepers(2)
        assert (await daemon.client.get(MODELS)).status == 200
        clock.advance(1)
    assert timed_sandbox.upstream.statuses == {200: 100}
    assert 100 / 5 - 1 <= timed_sandbox.authority.calls <= 100 / 4 + 1
    assert timed_sandbox.authority.reused == 0
