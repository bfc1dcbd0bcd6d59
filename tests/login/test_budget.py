"""Points 9 and 11: how often the authority is called, and clocks that jump."""

from __future__ import annotations

import asyncio
import json
import re
import time

import pytest

from tests.login.clocks import FastClock, needs_compiler
from tests.login.http1 import Response
from tests.login.lab import error, grants, http_date, says
from tests.login.processes import Daemon, Reply, reached
from tests.login.world import World

YEAR = 365 * 86400.0
STATE = "auth.json.bearerd-state"


def throttled(status: int, retry_after: str) -> Response:
    """Return a response that says when to come back."""
    return Response.of_json(status, {"error": "slow_down"}, retry_after=retry_after)


def is_served(reply: Reply) -> bool:
    """Return True for a good response of the upstream."""
    return reply.status == 200


async def ask_for(
    daemon: Daemon, clock: FastClock, seconds: float, statuses: set[int]
) -> None:
    """Send requests for some fast seconds; each gets one of *statuses*."""
    end = clock.now() + seconds
    while clock.now() < end:
        reply = await daemon.ask()
        assert reply.status in statuses, reply


# Retry-After.


async def test_eight_commands_and_four_restarts_make_one_or_two_calls(
    world: World,
) -> None:
    """`Retry-After: 600` binds all processes on the store."""
    family = world.log_in(ttl=-5)
    world.authority.always = says(throttled(429, "600"))
    codes = await world.run_together(8, "token")
    assert codes == [1] * 8
    for _ in range(4):
        daemon = await world.serve()
        reply = await daemon.ask()
        assert reply.status == 503
        assert 1 <= int(reply.headers["retry-after"]) <= 5
        await daemon.kill()
    assert 1 <= len(world.authority.calls) <= 2
    assert family.is_alive


@pytest.mark.parametrize(
    ("status", "form"), [(429, "date"), (503, "date"), (403, "seconds")]
)
async def test_a_response_that_asks_for_patience_counts(
    world: World, status: int, form: str
) -> None:
    """In both forms and with each status: the next process makes no call."""
    world.log_in(ttl=-5)
    value = "600" if form == "seconds" else http_date(time.time() + 600)
    world.authority.always = says(throttled(status, value))
    for _ in range(2):
        finished = await world.run("token")
        assert finished.code == 1, finished
        assert f"answered {status}" in finished.stderr, finished
    assert len(world.authority.calls) == 1


async def test_an_absurd_retry_after_does_not_hide_the_login(world: World) -> None:
    """An authority that asks for twenty years is asked again within an hour or so."""
    for value in (str(int(20 * YEAR)), "Fri, 31 Dec 2199 23:59:59 GMT", "9" * 400):
        world.log_in(ttl=-5)
        world.authority.scenes.append(says(throttled(429, value)))
        await world.run("token")
        state = json.loads(world.state_files()[STATE])
        assert state["retry"]["until"] < time.time() + 2 * 3600, (value, state["retry"])


@needs_compiler
async def test_a_strange_retry_after_is_no_value(world: World) -> None:
    """A value without a meaning: 503, and back within seconds."""
    clock = world.live_by(10)
    family = world.log_in()
    daemon = await world.serve(authority_timeout_seconds=100, refresh_burst=50)
    epoch = "Thu, 01 Jan 1970 00:00:00 GMT"
    for value in ("-5", "nonsense", "", "0", "1.5", "\x00", epoch):
        world.authority.revoke_access_tokens()
        world.authority.scenes.append(says(throttled(429, value)))
        reply = await daemon.ask()
        assert reply.status == 503, (value, reply)
        await reached(daemon.ask, is_served, repr(value), clock.real(30) + 3)
    world.assert_kept(family, calls=14)


# Clocks that jump. What they leave behind is written into the state file.


def edit_state(world: World, **changes: object) -> None:
    """Change the state file, as a jump of the clock would have left it."""
    path = world.store.with_name(STATE)
    document = json.loads(path.read_text()) if path.exists() else {"version": 1}
    path.write_text(json.dumps(document | changes))


@pytest.mark.parametrize("ahead", [3600.0, YEAR])
async def test_a_clock_that_was_ahead_does_not_dry_the_budget(
    world: World, ahead: float
) -> None:
    """The budget ran dry while the clock was wrong; the clock is right again."""
    family = world.log_in(ttl=-5)
    edit_state(world, level={"calls": 0.0, "at": time.time() + ahead})
    daemon = await world.serve(refresh_interval_seconds=1)
    await reached(daemon.ask, is_served, "served", seconds=8)
    world.assert_kept(family, calls=1)


async def test_a_pause_that_was_noted_by_a_clock_ahead(world: World) -> None:
    """A 429 came while the clock was a month ahead; the pause ends all the same."""
    family = world.log_in(ttl=-5)
    world.authority.scenes.append(says(throttled(429, "1")))
    await world.run("token")
    state = json.loads(world.state_files()[STATE])
    state["retry"]["until"] += 30 * 86400
    state["level"]["at"] += 30 * 86400
    edit_state(world, **state)
    daemon = await world.serve(refresh_interval_seconds=1)
    await reached(daemon.ask, is_served, "served", seconds=8)
    world.assert_kept(family, calls=2)


async def test_a_refusal_that_was_noted_by_a_clock_ahead(world: World) -> None:
    """The count of refused fresh tokens has a time in the future: refreshes go on."""
    family = world.log_in(ttl=-5)
    edit_state(world, unaccepted={"count": 12, "at": time.time() + YEAR})
    daemon = await world.serve(refresh_interval_seconds=1)
    await reached(daemon.ask, is_served, "served", seconds=8)
    world.assert_kept(family, calls=1)


NONSENSE = {
    "list": b"[]",
    "empty": b"",
    "wrong_types": b'{"version": 1, "owner": 5, "level": "x", "retry": [], "spent": 7}',
    "nan": b'{"version": 1, "level": {"calls": NaN, "at": NaN}}',
    "infinite": b'{"version": 1, "level": {"calls": -1e999, "at": 1e999}}',
    "deep": b"[" * 100000,
    "later_version": b'{"version": 99, "owner": null, "budget": {"new": "form"}}',
    "not_utf8": b'{"version": "\xff\xfe"}',
    "null_fields": b'{"version": 1, "level": {"calls": null, "at": null}, "retry": {}}',
}


@pytest.mark.parametrize("beside", ["bearerd-state", "bearerd-journal"])
async def test_nonsense_beside_the_store_ends_nothing(
    world: World, beside: str
) -> None:
    """State or journal is torn, or of a later version: served, and refreshed."""
    family = world.log_in()
    path = world.store.with_name(f"auth.json.{beside}")
    path.write_bytes(NONSENSE["deep"])
    daemon = await world.serve(refresh_burst=50)
    assert (await daemon.ask()).status == 200
    for name, content in NONSENSE.items():
        path.write_bytes(content)
        world.authority.revoke_access_tokens()
        await reached(daemon.ask, is_served, name, seconds=8)
    world.assert_kept(family, calls=len(NONSENSE))
    assert await daemon.stop() == 0


# An account that the upstream rejects for good.


@needs_compiler
async def test_an_account_refused_for_good_does_not_rotate_for_ever(
    world: World,
) -> None:
    """With an interval of one second, forty seconds see few rotations, ever more seldom."""
    clock = world.live_by(8)
    family = world.log_in(ttl=86400)
    daemon = await world.serve(
        refresh_burst=2, refresh_interval_seconds=1, authority_timeout_seconds=100
    )
    world.upstream.outage = error(401, "account_deactivated")
    began = clock.now()
    await ask_for(daemon, clock, 40, {401})
    times = [clock.at(call.at) - began for call in world.authority.calls]
    assert 3 <= len(times) <= 12, times
    assert len([moment for moment in times if moment > 20]) <= 3, times
    assert family.is_alive
    world.upstream.outage = None
    reply = await daemon.ask()
    assert reply.status == 200, reply
    world.authority.revoke_access_tokens()
    await reached(daemon.ask, is_served, "served", seconds=8)
    world.assert_kept(family)


@needs_compiler
async def test_damping_ends_with_a_new_login(world: World) -> None:
    """The account was refused for a while; a person signs in anew: one 401 is recovered."""
    clock = world.live_by(8)
    world.log_in(ttl=86400)
    daemon = await world.serve(
        refresh_burst=2, refresh_interval_seconds=1, authority_timeout_seconds=100
    )
    world.upstream.outage = error(401, "account_deactivated")
    await ask_for(daemon, clock, 20, {401})
    calls = len(world.authority.calls)
    world.upstream.outage = None
    world.authority.device.approve("acct-a")
    assert (await world.run("login", "--device")).code == 0
    newer = world.authority.families[-1]
    world.authority.revoke_access_tokens()
    await reached(daemon.ask, is_served, "served", seconds=8)
    assert len(world.authority.calls) == calls + 1
    world.assert_kept(newer)


@needs_compiler
async def test_grants_whose_tokens_are_expired_do_not_drive_the_authority(
    world: World,
) -> None:
    """Each new access token is expired when it comes: the calls are bounded."""
    clock = world.live_by(5)
    family = world.log_in()
    daemon = await world.serve(
        refresh_interval_seconds=5, authority_timeout_seconds=100
    )
    world.authority.revoke_access_tokens()
    world.authority.always = grants(ttl=-60)
    await ask_for(daemon, clock, 8, {401, 503})
    assert len(world.authority.calls) <= 7
    world.assert_kept(family)


@needs_compiler
async def test_a_grant_without_an_access_token_backs_off(world: World) -> None:
    """The rotated refresh token is kept, and the next call takes its time."""
    clock = world.live_by(5)
    family = world.log_in()
    daemon = await world.serve(
        refresh_burst=50, refresh_interval_seconds=1, authority_timeout_seconds=100
    )
    for without in (("access_token",), ("access_token", "id_token")):
        before = len(world.authority.calls)
        world.authority.revoke_access_tokens()
        world.authority.always = grants(without=without)
        await ask_for(daemon, clock, 3, {401, 503})
        calls = world.authority.calls[before:]
        assert len(calls) <= 5, [call.at for call in calls]
        world.assert_kept(family)
        world.authority.always = grants()
        await reached(daemon.ask, is_served, f"without {without}", seconds=20)
    world.assert_kept(family)


async def test_a_command_does_not_wait_for_the_next_interval(world: World) -> None:
    """An empty budget is an answer at once, and not a command that hangs."""
    world.log_in(ttl=-5)
    edit_state(world, level={"calls": 0.0, "at": time.time()})
    async with asyncio.timeout(10):
        finished = await world.run("token", refresh_interval_seconds=3600)
    assert finished.code == 1, finished
    assert re.search(r"may run in 3[56]\d\d s", finished.stderr), finished
    assert not world.authority.calls
