"""Authorities, and things in front of them, that behave in ways nobody has promised."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from pathlib import Path

import pytest

from tests.login.http1 import Connection, Request, Response, Server
from tests.login.lab import Scene, Turn, error, grants, says
from tests.login.processes import Reply, reached, until
from tests.login.world import World


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


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(world: World, status: int) -> None:
    """A redirect of the token URL to another server: the refresh token does not go there."""
    seen: list[Request] = []

    async def elsewhere(request: Request, connection: Connection) -> None:
        seen.append(request)
        await connection.send(Response.of_json(200, {}))

    server = Server(elsewhere)
    await server.start()
    family = world.log_in()
    daemon = await world.serve(refresh_interval_seconds=0.5)
    world.authority.revoke_access_tokens()
    target = f"http://127.0.0.1:{server.port}/oauth/token"
    world.authority.scenes.append(says(Response(status, b"", {"location": target})))
    reply = await daemon.ask()
    await server.stop()
    assert reply.status == 503, reply
    assert not seen
    assert family.is_alive


@pytest.mark.parametrize(
    "body",
    [{"error": "server_error"}, {}, [], {"error": {"code": "refresh_token_reused"}}],
    ids=["error", "empty", "list", "final_code"],
)
async def test_a_200_without_tokens_is_not_the_end(world: World, body: object) -> None:
    """A 200 that holds no tokens: the login is kept, and served when all is well."""
    family = world.log_in()
    daemon = await world.serve(refresh_interval_seconds=0.5)
    world.authority.revoke_access_tokens()
    world.authority.scenes.append(says(Response.of_json(200, body)))
    reply = await daemon.ask()
    assert reply.status == 503, reply
    await reached(daemon.ask, is_served, "served", seconds=20)
    world.assert_kept(family, calls=2)


def informed() -> Scene:
    """Rotate, and send two informational responses before the grant."""

    async def scene(turn: Turn) -> None:
        granted = turn.spend()
        await turn.answer(b"HTTP/1.1 100 Continue\r\n\r\n")
        await turn.answer(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n")
        await turn.answer(granted)

    return scene


def two_lengths() -> Scene:
    """Rotate, and send a head that is not allowed, with the grant behind it."""

    async def scene(turn: Turn) -> None:
        granted = turn.spend()
        size = len(granted.body)
        head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\ncontent-length: %d\r\n\r\n"
        await turn.answer(head % (size, size) + granted.body)

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
    "two_lengths": two_lengths(),
    "bare_line_feeds": bare_line_feeds(),
    "old_http": old_http(),
    "cut_short": cut_short(),
}


@pytest.mark.parametrize("name", HEADS)
async def test_a_grant_in_an_odd_message_is_not_lost(world: World, name: str) -> None:
    """All bytes of the grant came: it is taken, and the spent token not presented."""
    family = world.log_in()
    daemon = await world.serve(refresh_interval_seconds=0.5)
    world.authority.revoke_access_tokens()
    world.authority.scenes.append(HEADS[name])
    await reached(daemon.ask, is_served, "served", seconds=9)
    world.assert_kept(family, calls=1)


async def test_an_endless_response_does_not_fill_memory_or_disk(world: World) -> None:
    """Something streams without end, as fast as it is read."""
    family = world.log_in()
    sent = 0

    async def endless(turn: Turn) -> None:
        nonlocal sent
        await turn.answer(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n")
        while sent < 400 << 20:
            await turn.connection.send(b"x" * (1 << 20))
            sent += 1 << 20

    daemon = await world.serve(authority_timeout_seconds=2)
    world.authority.revoke_access_tokens()
    world.authority.scenes.append(endless)
    await daemon.ask()
    began = time.monotonic()
    await until(
        lambda: time.monotonic() - began > 4 or sent >= 400 << 20, "some seconds"
    )
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    resident = int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) >> 10
    on_disk = sum(len(data) for data in world.state_files().values()) >> 20
    print(f"{sent >> 20} MiB sent, {resident} MiB resident, {on_disk} MiB on disk")
    assert resident < 250
    assert on_disk < 32
    assert family.is_alive


async def test_an_authority_that_is_not_there_for_some_seconds(world: World) -> None:
    """Connection refused: nothing was spent, and clients are back within seconds."""
    family = world.log_in()
    port = world.authority.server.port
    daemon = await world.serve()
    await world.authority.server.stop()
    world.authority.revoke_access_tokens()
    began = time.monotonic()
    while time.monotonic() - began < 3:
        reply = await daemon.ask()
        assert (reply.status, reply.code) == (503, "authority_unavailable"), reply
        assert 1 <= int(reply.headers["retry-after"]) <= 5
        await asyncio.sleep(0.2)
    await world.authority.server.start(socket.create_server(("127.0.0.1", port)))
    began = time.monotonic()
    await reached(daemon.ask, is_served, "served", seconds=20)
    assert time.monotonic() - began < 8
    world.assert_kept(family, calls=1)


@pytest.mark.parametrize("status", [407, 403, 502])
async def test_a_proxy_that_refuses_the_tunnel(world: World, status: int) -> None:
    """The way out goes through a proxy that says no: passing, and nothing was spent."""
    seen: list[str] = []

    async def refusing(request: Request, connection: Connection) -> None:
        seen.append(f"{request.method} {request.target}")
        headers = {"proxy-authenticate": "Basic realm=x"} if status == 407 else {}
        await connection.send(Response(status, b"<html>no</html>", headers))

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


async def test_a_dead_refresh_token_beside_a_live_access_token(world: World) -> None:
    """Each acceptance clears the refusal: the authority is not asked each time for it."""
    family = world.log_in(ttl=200)
    world.authority.always = says(error(400, "invalid_grant"))
    daemon = await world.serve(refresh_burst=20, refresh_interval_seconds=0.2)
    began = time.monotonic()
    while time.monotonic() - began < 8:
        reply = await daemon.ask()
        assert reply.status == 200, reply
        await asyncio.sleep(0.05)
    assert len(world.authority.calls) <= 3, [
        c.at - began for c in world.authority.calls
    ]
    assert family.is_alive
