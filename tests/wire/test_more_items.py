"""Items that fit into no other file: hops, challenges, and what an error response
holds.
"""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import web

from bearerd.relay.client.connection import AlreadySent
from bearerd.relay.client.date import DateField
from bearerd.relay.client.server import KEEP_ALIVE_SECONDS, ClientServer
from tests.wire.gateway import Gateway, get, ok, request
from tests.wire.peers import Peer, names, status, values
from tests.wire.upgrades import SWITCHED, UPGRADE


async def test_a_requested_100_comes_before_the_101(gateway: Gateway) -> None:
    """Item 101: RFC 9110 section 7.8."""
    client, peer, head = await gateway.asked(
        get(b"/v1/responses", *UPGRADE, b"Expect: 100-continue")
    )
    assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert values(head, b"upgrade") == [b"websocket"]
    assert b"expect" not in names(head)
    await peer.send(SWITCHED)
    assert status(await client.head()) == 101


@pytest.mark.parametrize(
    ("hops", "left"),
    [(b"1", b"0"), (b"10", b"9"), (b"010", b"9"), (b"x", b"x"), (b"-1", b"-1")],
)
async def test_max_forwards_of_options_is_decremented(
    gateway: Gateway, hops: bytes, left: bytes
) -> None:
    """Item 105: RFC 9110 section 7.6.2; a value that is no number is ignored."""
    line = b"Max-Forwards: " + hops
    _, _, head = await gateway.asked(request(b"OPTIONS", b"/v1/models", line))
    assert values(head, b"max-forwards") == [left]


async def test_max_forwards_of_another_method_is_kept(gateway: Gateway) -> None:
    """Item 105: it has a meaning for OPTIONS and TRACE only."""
    _, _, head = await gateway.asked(get(b"/v1/models", b"Max-Forwards: 3"))
    assert values(head, b"max-forwards") == [b"3"]


async def test_options_at_its_last_hop_is_not_forwarded(gateway: Gateway) -> None:
    """Item 105: the response is ours."""
    client = await gateway.client()
    await client.send(request(b"OPTIONS", b"/v1/models", b"Max-Forwards: 0"))
    head = await client.head()
    assert status(head) == 204
    assert b"allow" in names(head)
    assert gateway.upstream.connections == 0


async def test_a_401_of_a_resource_keeps_its_challenge(gateway: Gateway) -> None:
    """Item 111: a 401 that is not about our token is forwarded unchanged."""
    client, peer = await gateway.answered(ok(), get(b"/v1/accepted"))
    await client.response()
    line = b'WWW-Authenticate: Basic realm="made-up", charset="UTF-8"'
    await client.send(get(b"/v1/other"))
    await peer.head()
    await peer.send(b"HTTP/1.1 401 No\r\n%b\r\nContent-Length: 4\r\n\r\nno\r\n" % line)
    head, body = await client.response()
    assert (status(head), body) == (401, b"no\r\n")
    assert line in head.split(b"\r\n")
    assert b"x-bearerd-error" not in names(head)


async def test_a_transient_error_has_retry_after(gateway: Gateway) -> None:
    """Item 113: with a short body; here the authority cannot be reached."""
    client, _ = await gateway.answered(
        b"HTTP/1.1 401 No\r\nContent-Length: 13\r\n\r\ntoken_expired"
    )
    head, body = await client.response()
    assert (status(head), values(head, b"x-bearerd-error")) == (
        503,
        [b"authority_unavailable"],
    )
    assert int(values(head, b"retry-after")[0]) > 0
    assert 0 < len(json.loads(body)["error"]["message"]) < 400


async def test_an_error_of_unknown_duration_has_no_retry_after(
    gateway: Gateway,
) -> None:
    """Item 113: no time is stated that is not known."""
    client, peer, _ = await gateway.asked(get(b"/v1/models"))
    peer.close()
    head, body = await client.response()
    assert status(head) == 502
    assert b"retry-after" not in names(head)
    assert "closed the connection" in json.loads(body)["error"]["message"]


async def test_an_idle_connection_is_closed_at_its_limit() -> None:
    """Item 128: after a response; here the limit is short."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        return AlreadySent(keeps_alive=True)

    clients = ClientServer(handle, DateField(lambda: 0.0), 10, keep_alive_seconds=0.2)
    server = await asyncio.get_running_loop().create_server(clients, "127.0.0.1", 0)
    async with server:
        client = await Peer.connect(server.sockets[0].getsockname()[1])
        await client.send(get(b"/v1/models"))
        assert status(await client.head()) == 204
        assert await client.gone() == b""
        await client.leave()
    await clients.shutdown(0.1)


def test_the_limit_of_idle_connections_is_a_few_minutes() -> None:
    """Item 128: longer than agents keep theirs open, and less than an hour."""
    assert 90 < KEEP_ALIVE_SECONDS <= 600
