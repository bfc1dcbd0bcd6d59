"""Authorities, and things in front of them, that behave in ways nobody has promised."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from pathlib import Path

import pytest

from tests.login.clocks import needs_compiler
from tests.login.http1 import Connection, Request, Response, Server
from tests.login.lab import Scene, Turn, error, grants, says
from tests.login.processes import Reply, reached
from tests.login.world import World

BUDGET = {"refresh_burst": 50, "refresh_interval_seconds": 1}


def is_served(reply: Reply) -> bool:
    """Return True for a good response of the upstream."""
    return reply.status == 200


@pytest.mark.parametrize("without", [(), ("refresh_token",)], ids=["same", "none"])
async def test_an_authority_that_does_not_rotate(
    world: World, without: tuple[str, ...]
) -> None:
    """The refresh token stays: it is not taken for spent, after a restart neither."""
    family = world.log_in()
    world.authority.always = grants(rotates=False, without=without)
    backup = world.store.read_bytes()
    daemon = await world.serve(refresh_interval_seconds=0.5)
    for _ in range(2):
        world.authority.revoke_access_tokens()
        await reached(daemon.ask, is_served, "served", seconds=8)
    await daemon.stop()
    daemon = await world.serve(refresh_interval_seconds=0.5)
    world.authority.revoke_access_tokens()
    await reached(daemon.ask, is_served, "served", seconds=8)
    world.store.write_bytes(backup)
    world.authority.revoke_access_tokens()
    await reached(daemon.ask, is_served, "served", seconds=8)
    world.assert_kept(family)


@needs_compiler
async def test_a_redirect_is_not_followed(world: World) -> None:
    """A redirect of the token URL to another server: the refresh token does not go there."""
    seen: list[Request] = []

    async def elsewhere(request: Request, connection: Connection) -> None:
        seen.append(request)
        await connection.send(Response.of_json(200, {}))

    clock = world.live_by(150)
    server = Server(elsewhere)
    await server.start()
    family = world.log_in()
    daemon = await world.serve(authority_timeout_seconds=100, **BUDGET)
    target = f"http://127.0.0.1:{server.port}/oauth/token"
    for status in (301, 302, 303, 307, 308):
        world.authority.revoke_access_tokens()
        world.authority.scenes.append(says(Response(status, b"", {"location": target})))
        reply = await daemon.ask()
        assert reply.status == 503, (status, reply)
        await reached(daemon.ask, is_served, str(status), clock.real(120) + 5)
    await server.stop()
    assert not seen
    world.assert_kept(family, calls=10)


@needs_compiler
async def test_a_200_without_tokens_is_not_the_end(world: World) -> None:
    """The login is kept, and served when all is well."""
    clock = world.live_by(20)
    family = world.log_in()
    daemon = await world.serve(authority_timeout_seconds=100, **BUDGET)
    bodies: tuple[object, ...] = ({"error": "server_error"}, {}, [])
    for body in bodies:
        world.authority.revoke_access_tokens()
        world.authority.scenes.append(says(Response.of_json(200, body)))
        reply = await daemon.ask()
        assert reply.status == 503, (body, reply)
        await reached(daemon.ask, is_served, str(body), clock.real(120) + 5)
    world.assert_kept(family, calls=6)


def informed() -> Scene:
    """Rotate, and send two informational responses before the grant."""

    async def scene(turn: Turn) -> None:
        granted = turn.spend()
        await turn.answer(b"HTTP/1.1 100 Continue\r\n\r\n")
        await turn.answer(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n")
        await turn.answer(granted)

    return scene


def bare_line_feeds() -> Scene:
    """Rotate, and send a head whose lines end in LF alone."""

    async def scene(turn: Turn) -> None:
        granted = turn.spend()
        head = b"HTTP/1.1 200 OK\ncontent-length: %d\n\n" % len(granted.body)
        await turn.answer(head + granted.body)
        await asyncio.sleep(0.2)
        await turn.connection.close()

    return scene


def old_http() -> Scene:
    """Rotate, and answer as HTTP/1.0, until the close."""

    async def scene(turn: Turn) -> None:
        granted = turn.spend()
        await turn.answer(b"HTTP/1.0 200 OK\r\n\r\n" + granted.body)
        await turn.connection.close()

    return scene


def cut_short() -> Scene:
    """Rotate, and close in order with a body that lacks its last two bytes."""

    async def scene(turn: Turn) -> None:
        granted = turn.spend()
        head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n"
        size = len(granted.body)
        await turn.answer(head % (size + 2) + granted.body)
        await turn.connection.close()

    return scene


HEADS = {
    "informed": informed(),
    "bare_line_feeds": bare_line_feeds(),
    "old_http": old_http(),
    "cut_short": cut_short(),
}


async def test_a_grant_in_an_odd_message_is_not_lost(world: World) -> None:
    """All bytes of the grant came: it is taken, and the spent token not presented."""
    family = world.log_in()
    daemon = await world.serve(**BUDGET)
    for number, (name, scene) in enumerate(HEADS.items(), start=1):
        world.authority.revoke_access_tokens()
        world.authority.scenes.append(scene)
        await reached(daemon.ask, is_served, name, seconds=9)
        world.assert_kept(family, calls=number)


async def test_an_endless_response_does_not_fill_memory_or_disk(world: World) -> None:
    """Something streams without end, as fast as it is read."""
    family = world.log_in()
    sent = 0

    async def endless(turn: Turn) -> None:
        nonlocal sent
        await turn.answer(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n")
        while sent < 400 << 20 and not turn.connection.is_closing:
            await turn.connection.send(b"x" * (1 << 20))
            sent += 1 << 20

    daemon = await world.serve(authority_timeout_seconds=2)
    world.authority.revoke_access_tokens()
    world.authority.scenes.append(endless)
    reply = await daemon.ask()
    assert reply.status == 503, reply
    assert sent < 100 << 20, "the response was read on and on"
    assert resident_mebibytes(daemon.pid) < 250
    on_disk = sum(len(data) for data in world.state_files().values())
    assert on_disk < 32 << 20
    assert family.is_alive


def resident_mebibytes(pid: int) -> int:
    """Return how much memory a process has."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) >> 10


async def test_an_authority_that_is_not_there_for_some_seconds(world: World) -> None:
    """Connection refused: nothing was spent, and clients are back within seconds."""
    family = world.log_in()
    port = world.authority.server.port
    daemon = await world.serve()
    await world.authority.server.stop()
    world.authority.revoke_access_tokens()
    began = time.monotonic()
    while time.monotonic() - began < 2:
        reply = await daemon.ask()
        assert (reply.status, reply.code) == (503, "authority_unavailable"), reply
        assert 1 <= int(reply.headers["retry-after"]) <= 5
        await asyncio.sleep(0.2)
    await world.authority.server.start(socket.create_server(("127.0.0.1", port)))
    began = time.monotonic()
    await reached(daemon.ask, is_served, "served", seconds=20)
    assert time.monotonic() - began < 8
    world.assert_kept(family, calls=1)


async def test_a_proxy_that_refuses_the_tunnel(world: World) -> None:
    """The way out goes through a proxy that refuses: passing, and nothing was spent."""
    seen: list[str] = []

    async def refusing(request: Request, connection: Connection) -> None:
        seen.append(f"{request.method} {request.target}")
        headers = {"proxy-authenticate": "Basic realm=x"}
        await connection.send(Response(407, b"<html>no</html>", headers))

    proxy = Server(refusing)
    await proxy.start()
    family = world.log_in(ttl=-5)
    daemon = await world.serve(
        upstream_proxy=f"http://127.0.0.1:{proxy.port}",
        token_url="https://authority.invalid/oauth/token",
    )
    reply = await daemon.ask()
    await proxy.stop()
    assert seen
    assert reply.status == 503, reply
    assert "bearerd login" not in reply.message, reply
    await daemon.stop()
    daemon = await world.serve()
    await reached(daemon.ask, is_served, "served without the proxy", seconds=9)
    world.assert_kept(family, calls=1)


@needs_compiler
async def test_a_dead_refresh_token_beside_a_live_access_token(world: World) -> None:
    """Each acceptance clears the refusal; the authority is asked again at the slow pace."""
    clock = world.live_by(10)
    family = world.log_in(ttl=250, age=3300)
    world.authority.always = says(error(400, "invalid_grant"))
    daemon = await world.serve(
        refresh_burst=20, refresh_interval_seconds=1, authority_timeout_seconds=100
    )
    end = clock.now() + 40
    while clock.now() < end:
        reply = await daemon.ask()
        assert reply.status == 200, reply
    assert 1 <= len(world.authority.calls) <= 2, len(world.authority.calls)
    assert family.is_alive
