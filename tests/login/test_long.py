"""Hours in seconds: incidents, pauses and stops, by a clock that runs fast.

Seconds here are those of the fast clock. A limit on them allows for a machine that is
busy: a stall of half a second is a minute at the highest speed.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from itertools import pairwise

import pytest

from tests.login.clocks import FastClock, needs_compiler
from tests.login.http1 import Response
from tests.login.lab import PLAIN_401, Turn, error, grants_after, hangs, says
from tests.login.processes import Daemon, reached, until
from tests.login.world import World

pytestmark = needs_compiler

PATIENT = {"authority_timeout_seconds": 300}
"""Real seconds are short at these speeds: a request waits as long as on a slow clock."""


async def ask_for(
    daemon: Daemon, clock: FastClock, seconds: float, pause: float = 5.0
) -> list[int]:
    """Send requests for some seconds, with pauses. Return the statuses."""
    statuses, end = [], clock.now() + seconds
    while clock.now() < end:
        statuses.append((await daemon.ask()).status)
        await asyncio.sleep(clock.real(pause))
    return statuses


def times(world: World, clock: FastClock, since: float) -> list[int]:
    """Return when the authority was called, in seconds after *since*."""
    return [round(clock.at(call.at) - since) for call in world.authority.calls]


async def served_after(
    daemon: Daemon,
    clock: FastClock,
    limit: float,
    is_good: Callable[[int], bool] = lambda status: status == 200,
) -> float:
    """Return after how many seconds the status is good."""
    began = clock.now()
    await reached(
        daemon.ask,
        lambda reply: is_good(reply.status),
        "served",
        seconds=clock.real(limit),
        pause=clock.real(2),
    )
    return clock.now() - began


# The incident.


@pytest.mark.parametrize(
    ("seconds", "dies"),
    [(60, False), (60, True), (600, False), (600, True)],
    ids=["60s", "60s_and_token_dies", "600s", "600s_and_token_dies"],
)
async def test_an_incident_on_both_sides(
    world: World, seconds: int, dies: bool
) -> None:
    """A plain 401 from both sides: served again by itself, calls within the budget."""
    clock = world.live_by(100 if seconds == 600 else 50)
    family = world.log_in(ttl=7200)
    daemon = await world.serve(**PATIENT)
    assert (await daemon.ask()).status == 200
    grant = world.authority.always
    world.upstream.outage = PLAIN_401
    world.authority.always = says(PLAIN_401)
    began = clock.now()
    statuses = await ask_for(daemon, clock, seconds, pause=1)
    assert set(statuses) <= {401, 503}, set(statuses)
    if dies:
        world.authority.revoke_access_tokens()
    world.upstream.outage = None
    world.authority.always = grant
    took = await served_after(daemon, clock, 1500)
    assert len(world.authority.calls) <= 5 + seconds / 30, times(world, clock, began)
    assert not daemon.logged("login.needed", code="login_required")
    assert took < (400 + seconds if dies else 300), took
    world.assert_kept(family)


async def test_half_an_hour_of_passing_refusals(world: World) -> None:
    """Few calls, ever more seldom, and served within the longest pause."""
    clock = world.live_by(300)
    family = world.log_in(ttl=-5)
    grant = world.authority.always
    world.authority.always = says(Response(403, b"<html>blocked</html>"))
    daemon = await world.serve(authority_timeout_seconds=600)
    began = clock.now()
    statuses = await ask_for(daemon, clock, 1400, pause=60)
    assert set(statuses) == {503}
    calls = times(world, clock, began)
    assert 4 <= len(calls) <= 6, calls
    pauses = [later - earlier for earlier, later in pairwise(calls)]
    assert pauses == sorted(pauses), pauses
    world.authority.always = grant
    await served_after(daemon, clock, 4500)
    world.assert_kept(family)


# Retry-After, and clocks that jump.


async def test_retry_after_ten_minutes(world: World) -> None:
    """`Retry-After: 600`: not before, and soon after."""
    clock = world.live_by(200)
    family = world.log_in(ttl=-5)
    busy = Response.of_json(429, {"error": "slow_down"}, retry_after="600")
    world.authority.scenes.append(says(busy))
    daemon = await world.serve(**PATIENT)
    await served_after(daemon, clock, 1500)
    first, second = world.authority.calls
    assert 590 < clock.at(second.at) - clock.at(first.at) < 1200
    world.assert_kept(family, calls=2)


@pytest.mark.parametrize("jump", [86400.0, -86400.0, 365 * 86400.0])
async def test_a_clock_that_jumps_under_a_running_daemon(
    world: World, jump: float
) -> None:
    """The wall clock is wrong for a while, with refreshes; then it is right again."""
    clock = world.live_by(5)
    family = world.log_in()
    daemon = await world.serve(
        refresh_burst=2, refresh_interval_seconds=2, authority_timeout_seconds=100
    )
    assert (await daemon.ask()).status == 200
    for wrong_by in (jump, jump, jump, 0.0, 0.0):
        clock.set_wrong_by(wrong_by)
        world.authority.revoke_access_tokens()
        await served_after(daemon, clock, 100)
    await daemon.kill()
    world.authority.revoke_access_tokens()
    daemon = await world.serve(refresh_burst=2, refresh_interval_seconds=2, **PATIENT)
    await served_after(daemon, clock, 100)
    world.assert_kept(family)
    assert len(world.authority.calls) <= 12


@pytest.mark.parametrize("who", ["daemon", "command"])
async def test_a_throttled_call_while_the_clock_is_ahead(
    world: World, who: str
) -> None:
    """429 with a minute's pause, noted by a wrong clock; then the clock is set right."""
    clock = world.live_by(20)
    family = world.log_in(ttl=-5)
    clock.set_wrong_by(365 * 86400.0)
    busy = Response.of_json(429, {"error": "slow_down"}, retry_after="60")
    world.authority.scenes.append(says(busy))
    if who == "daemon":
        daemon = await world.serve(authority_timeout_seconds=100)
        assert (await daemon.ask()).status == 503
        clock.set_wrong_by(0.0)
    else:
        assert (await world.run("token", authority_timeout_seconds=100)).code == 1
        clock.set_wrong_by(0.0)
        daemon = await world.serve(authority_timeout_seconds=100)
    await served_after(daemon, clock, 400)
    world.assert_kept(family, calls=2)


# An account that the upstream rejects.


async def test_an_account_refused_for_a_quarter_of_an_hour(world: World) -> None:
    """At the default interval of 30 s `account_deactivated` makes few rotations."""
    clock = world.live_by(200)
    family = world.log_in(ttl=864000)
    daemon = await world.serve(authority_timeout_seconds=600)
    world.upstream.outage = error(401, "account_deactivated")
    began = clock.now()
    await ask_for(daemon, clock, 900, pause=20)
    calls = times(world, clock, began)
    assert 4 <= len(calls) <= 9, calls
    assert family.is_alive
    assert world.authority.reuses == 0
    world.upstream.outage = None
    assert (await daemon.ask()).status == 200


# Late responses and stopped processes.


async def test_a_response_that_is_minutes_late(world: World) -> None:
    """Rotated at once, answered after minutes: the call is open as long as that."""
    clock = world.live_by(40)
    family, gate = world.log_in(ttl=-5), asyncio.Event()
    world.authority.scenes.append(grants_after(gate))
    daemon = await world.serve()
    await until(lambda: bool(world.authority.calls), "the call")
    await ask_for(daemon, clock, 150, pause=20)
    gate.set()
    await served_after(daemon, clock, 300)
    world.assert_kept(family, calls=1)


async def test_a_response_that_never_comes_is_the_loss_that_remains(
    world: World,
) -> None:
    """Rotated, and silent for more than five minutes: asked once more, and then said."""
    clock = world.live_by(100)
    world.log_in(ttl=-5)
    world.authority.scenes.append(hangs(spends=True))
    daemon = await world.serve(**PATIENT)
    await served_after(daemon, clock, 1500, lambda status: status == 401)
    assert [call.standing for call in world.authority.calls] == ["live", "spent"]
    first, second = (clock.at(call.at) for call in world.authority.calls)
    assert second - first > 290
    assert len(daemon.logged("login.needed")) == 1
    assert "the response to a refresh was lost" in (await daemon.ask()).message


async def test_a_call_that_is_never_answered(world: World) -> None:
    """Nothing was spent: it is presented again after five minutes, and served."""
    clock = world.live_by(100)
    family = world.log_in(ttl=-5)
    world.authority.scenes.append(hangs(spends=False))
    daemon = await world.serve()
    await served_after(daemon, clock, 1500)
    world.assert_kept(family, calls=2)


async def test_a_whole_grant_in_a_message_that_never_ends(world: World) -> None:
    """All bytes of the JSON are there, the message never ends: it is taken."""
    clock = world.live_by(100)
    family = world.log_in(ttl=-5)

    async def scene(turn: Turn) -> None:
        granted = turn.spend()
        head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n"
        await turn.answer(head % (len(granted.body) + 10) + granted.body)
        await turn.connection.peer_closed()

    world.authority.scenes.append(scene)
    daemon = await world.serve()
    await served_after(daemon, clock, 1500)
    world.assert_kept(family, calls=1)


async def test_a_daemon_that_is_stopped_beside_a_second_one(world: World) -> None:
    """SIGSTOP for longer than every time-out, with the grant in the socket.

    A second daemon asks for the same login all the time, and presents nothing.
    """
    clock = world.live_by(150)
    family, gate = world.log_in(ttl=-5), asyncio.Event()
    world.authority.scenes.append(grants_after(gate))
    first = await world.serve(authority_timeout_seconds=100)
    await until(lambda: bool(world.authority.calls), "the call")
    first.signal(signal.SIGSTOP)
    gate.set()
    second = await world.serve(authority_timeout_seconds=100)
    statuses = await ask_for(second, clock, 600, pause=60)
    assert set(statuses) == {503}, statuses
    first.signal(signal.SIGCONT)
    await served_after(second, clock, 600)
    await served_after(first, clock, 600)
    world.assert_kept(family, calls=1)
