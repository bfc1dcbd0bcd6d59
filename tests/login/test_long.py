"""Hours in seconds: incidents, pauses and stops, by a clock that runs fast."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import pytest

from tests.login.clocks import FastClock, needs_compiler
from tests.login.http1 import Response
from tests.login.lab import PLAIN_401, Turn, error, grants_after, hangs, says
from tests.login.processes import Daemon, reached, until
from tests.login.world import World

pytestmark = needs_compiler


async def ask_for(
    daemon: Daemon, clock: FastClock, seconds: float, pause: float = 5.0
) -> list[int]:
    """Send requests for some fast seconds, with fast pauses. Return the statuses."""
    statuses, end = [], clock.now() + seconds
    while clock.now() < end:
        statuses.append((await daemon.ask()).status)
        await asyncio.sleep(clock.real(pause))
    return statuses


def times(world: World, clock: FastClock, since: float) -> list[int]:
    """Return when the authority was called, in fast seconds after *since*."""
    return [round(clock.at(call.at) - since) for call in world.authority.calls]


async def served_after(
    daemon: Daemon, clock: FastClock, limit: float, is_good: Callable[[int], bool]
) -> float:
    """Return after how many fast seconds the status is good."""
    began = clock.now()
    await reached(
        daemon.ask,
        lambda reply: is_good(reply.status),
        "served",
        seconds=clock.real(limit),
        pause=clock.real(2),
    )
    return clock.now() - began


@pytest.mark.parametrize("dies", [False, True], ids=["token_lives", "token_dies"])
@pytest.mark.parametrize("seconds", [6, 60, 600])
async def test_an_incident_on_both_sides(
    world: World, seconds: int, dies: bool
) -> None:
    """A plain 401 from both sides: served again by itself, calls within the budget."""
    clock = world.live_by(30)
    family = world.log_in(ttl=7200)
    daemon = await world.serve()
    assert (await daemon.ask()).status == 200
    grant = world.authority.always
    world.upstream.outage = PLAIN_401
    world.authority.always = says(PLAIN_401)
    began = clock.now()
    statuses = await ask_for(daemon, clock, seconds, pause=1)
    if dies:
        world.authority.revoke_access_tokens()
    world.upstream.outage = None
    world.authority.always = grant
    took = await served_after(daemon, clock, 1000, lambda status: status == 200)
    print(
        f"{len(statuses)} during, calls {times(world, clock, began)}, back {took:.0f} s"
    )
    assert len(world.authority.calls) <= 5 + seconds / 30
    assert not daemon.logged("login.needed", code="login_required")
    if not dies:
        assert took < 15
    else:
        assert took < 70 + seconds
    world.assert_kept(family)


async def test_retry_after_ten_minutes(world: World) -> None:
    """`Retry-After: 600`: not before, and soon after."""
    clock = world.live_by(60)
    family = world.log_in(ttl=-5)
    busy = Response.of_json(429, {"error": "slow_down"}, retry_after="600")
    world.authority.scenes.append(says(busy))
    daemon = await world.serve()
    began = clock.now()
    took = await served_after(daemon, clock, 900, lambda status: status == 200)
    print(times(world, clock, began), took)
    assert 560 < took < 700
    world.assert_kept(family, calls=2)


async def test_a_day_of_passing_refusals(world: World) -> None:
    """Five hours of 403: few calls, a person is told, and back within the longest pause."""
    clock = world.live_by(600)
    family = world.log_in(ttl=-5)
    grant = world.authority.always
    world.authority.always = says(Response(403, b"<html>blocked</html>"))
    daemon = await world.serve()
    began = clock.now()
    statuses = await ask_for(daemon, clock, 5 * 3600, pause=120)
    assert set(statuses) == {503}
    calls = times(world, clock, began)
    print(calls)
    print(daemon.log_text("error"), daemon.log_text("warning")[:3000])
    assert 5 <= len(calls) <= 30, calls
    world.authority.always = grant
    took = await served_after(daemon, clock, 4500, lambda status: status == 200)
    print("back after", took)
    world.assert_kept(family)


async def test_an_account_refused_for_three_hours(world: World) -> None:
    """Defaults: interval 30 s. Three hours of `account_deactivated` make few rotations."""
    clock = world.live_by(300)
    family = world.log_in(ttl=864000)
    daemon = await world.serve()
    world.upstream.outage = error(401, "account_deactivated")
    began = clock.now()
    await ask_for(daemon, clock, 3 * 3600, pause=20)
    calls = times(world, clock, began)
    print(calls)
    assert len(calls) <= 20, calls
    assert family.is_alive
    assert world.authority.reuses == 0
    world.upstream.outage = None
    assert (await daemon.ask()).status == 200


@pytest.mark.parametrize("minutes", [1, 5, 12])
async def test_a_response_that_is_minutes_late(world: World, minutes: int) -> None:
    """Rotated at once, answered after minutes: how long the call is kept open."""
    clock = world.live_by(30)
    family, gate = world.log_in(ttl=-5), asyncio.Event()
    world.authority.scenes.append(grants_after(gate))
    daemon = await world.serve()
    began = clock.now()
    asking = asyncio.create_task(ask_for(daemon, clock, 60 * minutes, pause=20))
    await asking
    gate.set()
    took = await served_after(daemon, clock, 300, lambda status: status in {200, 401})
    print(times(world, clock, began), took)
    world.assert_kept(family, calls=1)


async def test_a_call_that_is_never_answered(world: World) -> None:
    """Nothing was spent: when is it presented again, and is it served then?"""
    clock = world.live_by(60)
    family = world.log_in(ttl=-5)
    world.authority.scenes.append(hangs(spends=False))
    daemon = await world.serve()
    began = clock.now()
    took = await served_after(daemon, clock, 3600, lambda status: status == 200)
    print(times(world, clock, began), took)
    world.assert_kept(family, calls=2)


async def test_a_whole_grant_in_a_message_that_never_ends(world: World) -> None:
    """All bytes of the JSON are there, the message never ends: it is taken."""
    clock = world.live_by(60)
    family = world.log_in(ttl=-5)

    async def scene(turn: Turn) -> None:
        granted = turn.spend()
        head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n"
        await turn.answer(head % (len(granted.body) + 10) + granted.body)
        await turn.connection.peer_closed()

    world.authority.scenes.append(scene)
    daemon = await world.serve()
    began = clock.now()
    took = await served_after(daemon, clock, 3600, lambda status: status in {200, 401})
    print(times(world, clock, began), took)
    world.assert_kept(family, calls=1)


async def test_a_daemon_that_is_stopped_for_half_an_hour(world: World) -> None:
    """SIGSTOP for longer than every time-out, with the grant in the socket."""
    clock = world.live_by(120)
    family, gate = world.log_in(ttl=-5), asyncio.Event()
    world.authority.scenes.append(grants_after(gate))
    daemon = await world.serve()
    asking = asyncio.create_task(daemon.ask())
    await until(lambda: bool(world.authority.calls), "the call")
    daemon.signal(signal.SIGSTOP)
    gate.set()
    end = clock.now() + 1800
    await until(lambda: clock.now() > end, "half an hour")
    daemon.signal(signal.SIGCONT)
    await asking
    await served_after(daemon, clock, 600, lambda status: status in {200, 401})
    world.assert_kept(family, calls=1)


async def test_a_daemon_that_is_stopped_beside_a_second_one(world: World) -> None:
    """The same, while a second daemon asks for the same login all the time."""
    clock = world.live_by(120)
    family, gate = world.log_in(ttl=-5), asyncio.Event()
    world.authority.scenes.append(grants_after(gate))
    first = await world.serve()
    asking = asyncio.create_task(first.ask())
    await until(lambda: bool(world.authority.calls), "the call")
    second = await world.serve()
    first.signal(signal.SIGSTOP)
    gate.set()
    statuses = await ask_for(second, clock, 1800, pause=60)
    first.signal(signal.SIGCONT)
    await asking
    print(statuses)
    await served_after(second, clock, 600, lambda status: status in {200, 401})
    await served_after(first, clock, 600, lambda status: status in {200, 401})
    world.assert_kept(family, calls=1)


@pytest.mark.parametrize("jump", [86400.0, -86400.0, 365 * 86400.0, -3 * 3600.0])
async def test_a_clock_that_jumps_under_a_running_daemon(
    world: World, jump: float
) -> None:
    """The wall clock is wrong for a while, with refreshes; then it is right again."""
    clock = world.live_by(1)
    family = world.log_in()
    daemon = await world.serve(refresh_burst=2, refresh_interval_seconds=2)
    assert (await daemon.ask()).status == 200
    clock.set_wrong_by(jump)
    for _ in range(3):
        world.authority.revoke_access_tokens()
        await reached(
            daemon.ask, lambda reply: reply.status == 200, "wrong", seconds=15
        )
    clock.set_wrong_by(0.0)
    for _ in range(2):
        world.authority.revoke_access_tokens()
        await reached(
            daemon.ask, lambda reply: reply.status == 200, "right", seconds=15
        )
    await daemon.kill()
    world.authority.revoke_access_tokens()
    daemon = await world.serve(refresh_burst=2, refresh_interval_seconds=2)
    await reached(daemon.ask, lambda reply: reply.status == 200, "again", seconds=15)
    world.assert_kept(family)
    assert len(world.authority.calls) <= 12


async def test_a_throttled_call_while_the_clock_is_a_year_ahead(world: World) -> None:
    """429 with a minute's pause, noted by a wrong clock; then the clock is set right."""
    clock = world.live_by(20)
    family = world.log_in(ttl=-5)
    clock.set_wrong_by(365 * 86400.0)
    busy = Response.of_json(429, {"error": "slow_down"}, retry_after="60")
    world.authority.scenes.append(says(busy))
    daemon = await world.serve()
    assert (await daemon.ask()).status == 503
    clock.set_wrong_by(0.0)
    took = await served_after(daemon, clock, 300, lambda status: status == 200)
    print("running:", took)
    await daemon.kill()
    world.assert_kept(family)


async def test_a_throttled_call_by_a_command_with_a_clock_ahead(world: World) -> None:
    """The same, noted by a command and read by a daemon with the right clock."""
    clock = world.live_by(20)
    family = world.log_in(ttl=-5)
    clock.set_wrong_by(30 * 86400.0)
    busy = Response.of_json(429, {"error": "slow_down"}, retry_after="60")
    world.authority.scenes.append(says(busy))
    assert (await world.run("token")).code == 1
    clock.set_wrong_by(0.0)
    daemon = await world.serve()
    took = await served_after(daemon, clock, 400, lambda status: status == 200)
    print("another process:", took)
    world.assert_kept(family, calls=2)
