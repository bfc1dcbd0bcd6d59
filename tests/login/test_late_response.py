"""A call lasts longer than the requests that wait for it."""

from __future__ import annotations

import asyncio
import gzip
import json
import signal
import time

import pytest

from tests.login.clocks import needs_compiler
from tests.login.http1 import Response
from tests.login.lab import Scene, Turn, breaks, grants_after, hangs, trickles
from tests.login.processes import Daemon, end, passed, reached, until
from tests.login.world import World


async def one_call_is_in_flight(world: World, daemon: Daemon) -> None:
    """Make the access token dead and wait for the 503 of a request that waited."""
    world.authority.revoke_access_tokens()
    reply = await daemon.ask()
    assert (reply.status, reply.code) == (503, "authority_unavailable"), reply
    assert 0.5 < reply.seconds < 5, reply
    assert len(world.authority.calls) == 1


async def test_a_late_response_is_taken(world: World) -> None:
    """Rotated at once, answered after the patience: one call, and the grant is served."""
    family, gate = world.log_in(), asyncio.Event()
    daemon = await world.serve(authority_timeout_seconds=1)
    world.authority.scenes.append(grants_after(gate))
    await one_call_is_in_flight(world, daemon)
    more = await asyncio.gather(*(daemon.ask() for _ in range(4)))
    assert {reply.status for reply in more} == {503}
    assert max(reply.seconds for reply in more) < 5
    gate.set()
    await reached(daemon.ask, lambda reply: reply.status == 200, "served", seconds=3)
    world.assert_kept(family, calls=1)
    assert world.stored_refresh_token() == family.live_token


async def test_a_trickled_response_is_taken(world: World) -> None:
    """The response comes in pieces, and takes three times the patience."""
    family = world.log_in()
    daemon = await world.serve(authority_timeout_seconds=1)
    world.authority.scenes.append(trickles(0.1))
    await one_call_is_in_flight(world, daemon)
    await reached(daemon.ask, lambda reply: reply.status == 200, "served", seconds=10)
    world.assert_kept(family, calls=1)


async def test_a_late_response_is_taken_though_every_client_has_left(
    world: World,
) -> None:
    """No request waits for the response when it comes."""
    family, gate = world.log_in(), asyncio.Event()
    daemon = await world.serve(authority_timeout_seconds=1)
    world.authority.scenes.append(grants_after(gate))
    world.authority.revoke_access_tokens()
    with pytest.raises(TimeoutError):
        await daemon.ask(patience=0.5)
    await until(lambda: bool(world.authority.calls), "the call")
    gate.set()
    await until(
        lambda: world.stored_refresh_token() == family.live_token, "stored", seconds=5
    )
    world.assert_kept(family, calls=1)


@pytest.mark.parametrize("signals", [1, 2])
async def test_a_daemon_that_is_stopping_waits_for_a_late_response(
    world: World, signals: int
) -> None:
    """SIGTERM after the patience of the requests is over: the grant still lands."""
    family, gate = world.log_in(), asyncio.Event()
    daemon = await world.serve(authority_timeout_seconds=2, drain_seconds=2)
    world.authority.scenes.append(grants_after(gate))
    await one_call_is_in_flight_after(world, daemon, 2)
    daemon.signal(signal.SIGTERM)
    await until(lambda: bool(daemon.logged("service.stopping")), "stopping")
    if signals > 1:
        daemon.signal(signal.SIGTERM)
    await passed(1)
    gate.set()
    assert await daemon.ended() == 0
    world.assert_kept(family, calls=1)


async def test_a_stop_during_a_call_later_than_the_drain(world: World) -> None:
    """SIGTERM, and the response comes after drain and patience are both over."""
    family, gate = world.log_in(), asyncio.Event()
    daemon = await world.serve(authority_timeout_seconds=1, drain_seconds=1)
    world.authority.scenes.append(grants_after(gate))
    await one_call_is_in_flight(world, daemon)
    daemon.signal(signal.SIGTERM)
    began = time.monotonic()
    await until(
        lambda: daemon.has_ended or time.monotonic() - began > 3, "three seconds pass"
    )
    gate.set()
    assert await daemon.ended() == 0
    world.assert_kept(family, calls=1)


async def one_call_is_in_flight_after(
    world: World, daemon: Daemon, seconds: float
) -> None:
    """Like `one_call_is_in_flight`, with another patience."""
    world.authority.revoke_access_tokens()
    reply = await daemon.ask()
    assert reply.status == 503
    assert reply.seconds < seconds + 1.5, reply


async def test_a_response_that_lies_in_the_socket_of_a_stopped_daemon(
    world: World,
) -> None:
    """SIGSTOP for longer than the patience; the response and the FIN are there by then."""
    family, gate = world.log_in(), asyncio.Event()
    daemon = await world.serve(authority_timeout_seconds=1)
    world.authority.scenes.append(grants_after(gate))
    world.authority.revoke_access_tokens()
    asking = asyncio.create_task(daemon.ask())
    await until(lambda: bool(world.authority.calls), "the call")
    daemon.signal(signal.SIGSTOP)
    gate.set()
    await passed(2.5)
    daemon.signal(signal.SIGCONT)
    reply = await asking
    assert reply.status in {200, 503}, reply
    await reached(daemon.ask, lambda reply: reply.status == 200, "served", seconds=5)
    world.assert_kept(family, calls=1)


async def test_a_stopped_daemon_and_a_second_process(world: World) -> None:
    """The stopped daemon holds the lock; a command gives up in time and presents nothing."""
    family, gate = world.log_in(), asyncio.Event()
    daemon = await world.serve(authority_timeout_seconds=1)
    world.authority.scenes.append(grants_after(gate))
    world.authority.revoke_access_tokens()
    asking = asyncio.create_task(daemon.ask())
    await until(lambda: bool(world.authority.calls), "the call")
    daemon.signal(signal.SIGSTOP)
    finished = await world.run("token", "--retry", authority_timeout_seconds=1)
    assert finished.code == 1
    assert str(daemon.pid) in finished.stderr
    gate.set()
    daemon.signal(signal.SIGCONT)
    await asking
    await reached(daemon.ask, lambda reply: reply.status == 200, "served", seconds=5)
    world.assert_kept(family, calls=1)


async def test_a_command_waits_for_a_late_response(world: World) -> None:
    """`bearerd token` does not end while its call may still be answered."""
    family, gate = world.log_in(ttl=-5), asyncio.Event()
    world.authority.scenes.append(grants_after(gate))
    running = asyncio.create_task(
        world.run("token", authority_timeout_seconds=1, patience=20)
    )
    await until(lambda: bool(world.authority.calls), "the call")
    began = time.monotonic()
    await until(
        lambda: running.done() or time.monotonic() - began > 2.5, "the patience is over"
    )
    gate.set()
    finished = await running
    again = await world.run("token", authority_timeout_seconds=1)
    assert again.code == 0, (finished, again)
    world.assert_kept(family, calls=1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_command_that_is_interrupted_during_its_call(
    world: World, number: signal.Signals
) -> None:
    """A first signal to `bearerd token`: it prints what it waits for, and stores that."""
    family, gate = world.log_in(ttl=-5), asyncio.Event()
    world.authority.scenes.append(grants_after(gate))
    process = await world.launcher().start("token")
    try:
        await until(lambda: bool(world.authority.calls), "the call")
        process.send_signal(number)
        assert process.stderr is not None
        async with asyncio.timeout(10):
            assert (
                b"a second signal ends this at once" in await process.stderr.readline()
            )
        gate.set()
        async with asyncio.timeout(10):
            await process.communicate()
    finally:
        await end(process)
    assert process.returncode == 130
    assert world.stored_refresh_token() == family.live_token
    world.assert_kept(family, calls=1)


async def test_a_second_signal_ends_a_command_at_once(world: World) -> None:
    """The authority does not answer, and a person has seen what it costs."""
    world.log_in(ttl=-5)
    world.authority.scenes.append(hangs(spends=False))
    process = await world.launcher().start("token")
    try:
        await until(lambda: bool(world.authority.calls), "the call")
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        async with asyncio.timeout(10):
            await process.stderr.readline()
            process.send_signal(signal.SIGTERM)
            await process.communicate()
    finally:
        await end(process)
    assert process.returncode == 130


async def test_a_daemon_that_loses_its_terminal_during_a_call(world: World) -> None:
    """SIGHUP, as a closed terminal sends it, during a call that has spent the token."""
    family, gate = world.log_in(), asyncio.Event()
    daemon = await world.serve(authority_timeout_seconds=5)
    world.authority.scenes.append(grants_after(gate))
    world.authority.revoke_access_tokens()
    asking = asyncio.create_task(daemon.ask())
    await until(lambda: bool(world.authority.calls), "the call")
    daemon.signal(signal.SIGHUP)
    began = time.monotonic()
    await until(
        lambda: daemon.has_ended or time.monotonic() - began > 1, "a second passes"
    )
    gate.set()
    await asyncio.gather(asking, return_exceptions=True)
    if not daemon.has_ended:
        await daemon.stop()
    finished = await world.run("token")
    assert finished.code == 0, finished
    world.assert_kept(family, calls=1)


MOMENT_SECONDS = 4.0
"""A call whose connection has died may go on at the authority for about as long."""


async def second_call(world: World, daemon: Daemon) -> float:
    """Ask until the token is presented again; return the pause between both calls."""
    calls = world.authority.calls
    await reached(daemon.ask, lambda _: len(calls) == 2, "presented again", pause=0.02)
    return calls[1].at - calls[0].at


@needs_compiler
async def test_a_maybe_spent_token_is_not_presented_again_at_once(world: World) -> None:
    """The connection breaks after the rotation: the second presentation takes its time."""
    clock = world.live_by(5)
    world.log_in()
    daemon = await world.serve()
    world.authority.revoke_access_tokens()
    world.authority.scenes.append(breaks(spends=True))
    assert await second_call(world, daemon) > clock.real(MOMENT_SECONDS)


@needs_compiler
async def test_a_maybe_spent_token_after_a_kill_is_not_presented_at_once(
    world: World,
) -> None:
    """Kill -9 during the call, and a new start: the call may still be running over there."""
    clock = world.live_by(2)
    world.log_in()
    gate = asyncio.Event()
    daemon = await world.serve()
    world.authority.revoke_access_tokens()
    world.authority.scenes.append(grants_after(gate))
    asking = asyncio.create_task(daemon.ask())
    await until(lambda: bool(world.authority.calls), "the call")
    await daemon.kill()
    await asyncio.gather(asking, return_exceptions=True)
    daemon = await world.serve()
    assert await second_call(world, daemon) > clock.real(MOMENT_SECONDS)


def chunked() -> Scene:
    """Rotate, and answer in chunks, with a field that ends them."""

    async def scene(turn: Turn) -> None:
        granted = turn.spend()
        head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        half = len(granted.body) // 2
        parts = (granted.body[:half], granted.body[half:])
        data = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
        await turn.answer(head + data + b"0\r\n\r\n")

    return scene


def until_close() -> Scene:
    """Rotate, and answer without a length; the end of the connection ends the body."""

    async def scene(turn: Turn) -> None:
        granted = turn.spend()
        head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"
        await turn.answer(head + granted.body)
        await turn.connection.close()

    return scene


def too_short() -> Scene:
    """Rotate, promise more bytes than there are, and reset after the whole JSON."""

    async def scene(turn: Turn) -> None:
        granted = turn.spend()
        head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (
            len(granted.body) + 10
        )
        await turn.answer(head + granted.body)
        await asyncio.sleep(0.3)
        turn.connection.reset()

    return scene


def compressed() -> Scene:
    """Rotate, and answer with gzip, which bearerd offers to take."""

    async def scene(turn: Turn) -> None:
        granted = turn.spend()
        fields = {**granted.headers, "content-encoding": "gzip"}
        await turn.answer(Response(200, gzip.compress(granted.body), fields))

    return scene


def dressed(status: int, prefix: bytes = b"", suffix: bytes = b"") -> Scene:
    """Rotate, and answer with another status, or with bytes around the JSON."""

    async def scene(turn: Turn) -> None:
        granted = turn.spend()
        body = prefix + granted.body + suffix
        await turn.answer(Response(status, body, granted.headers))

    return scene


def nested() -> Scene:
    """Rotate, and answer with a large document around the tokens' names."""

    async def scene(turn: Turn) -> None:
        granted = json.loads(turn.spend().body)
        padding = {f"extra_{number}": "x" * 1000 for number in range(300)}
        await turn.answer(Response.of_json(200, {**padding, **granted}))

    return scene


SHAPES = {
    "chunked": chunked(),
    "until_close": until_close(),
    "too_short": too_short(),
    "compressed": compressed(),
    "created_201": dressed(201),
    "with_bom": dressed(200, b"\xef\xbb\xbf"),
    "spaces": dressed(200, b"\r\n  ", b"\r\n\r\n"),
    "large": nested(),
}


async def test_a_grant_is_taken_in_each_form_that_http_allows(world: World) -> None:
    """The new token is in the bytes that came; the old one is not presented again."""
    family = world.log_in()
    daemon = await world.serve(refresh_burst=20)
    for number, (name, scene) in enumerate(SHAPES.items(), start=1):
        world.authority.revoke_access_tokens()
        world.authority.scenes.append(scene)
        await reached(daemon.ask, lambda reply: reply.status == 200, name, seconds=9)
        world.assert_kept(family, calls=number)
