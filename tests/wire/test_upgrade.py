"""From `Upgrade: websocket` to the 101, or to any other response."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bearerd.sandbox import Sandbox
from tests.wire.gateway import Gateway, get, ok, request
from tests.wire.peers import first_line, names, status, values
from tests.wire.renewals import REFUSED, refuse, renewing
from tests.wire.upgrades import ASKING, SWITCHED, UPGRADE, tunnelled

REFUSALS = {
    426: b"HTTP/1.1 426 Upgrade Required\r\nX-Why: old\r\nContent-Length: 3\r\n\r\nold",
    403: b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
    200: ok(b"not a tunnel"),
    302: b"HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n",
    500: b"HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
}
BODIES = {
    426: b"old",
    403: b"no",
    200: b"not a tunnel",
    302: b"",
    500: b"1\r\nx\r\n0\r\n\r\n",
}


@pytest.fixture
async def authority() -> AsyncIterator[Sandbox]:
    """An authority that refreshes; its upstream stays unused."""
    async with Sandbox() as sandbox:
        yield sandbox


async def test_an_upgrade_is_forwarded_with_the_credential(
    gateway: Gateway,
) -> None:
    """The fields of WebSocket are between the two ends, and are forwarded unchanged."""
    lines = (
        b"Sec-WebSocket-Key: bWFkZS11cC1rZXk=",
        b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
        b"sec-websocket-protocol: a, b",
    )
    client, peer, head = await gateway.asked(get(b"/v1/responses", *UPGRADE, *lines))
    assert first_line(head) == b"GET /backend-api/codex/responses HTTP/1.1"
    assert values(head, b"connection") == [b"Upgrade"]
    assert values(head, b"upgrade") == [b"websocket"]
    assert len(values(head, b"authorization")) == 1
    assert set(lines) <= set(head.split(b"\r\n"))
    extension = b"Sec-WebSocket-Extensions: permessage-deflate"
    await peer.send(SWITCHED[:-2] + extension + b"\r\n\r\n")
    response = await client.head()
    assert first_line(response) == b"HTTP/1.1 101 Switching Protocols"
    assert values(response, b"connection") == [b"Upgrade"]
    assert values(response, b"upgrade") == [b"websocket"]
    assert extension in response.split(b"\r\n")
    assert not {b"content-length", b"transfer-encoding"} & names(response)


async def test_bytes_are_forwarded_unchanged_in_both_directions(
    gateway: Gateway,
) -> None:
    """They are no longer HTTP, even where they look like it."""
    client, peer = await tunnelled(gateway)
    every = bytes(range(256)) + b"\r\n\r\n" + get(b"/v1/models") + ok(b"x")
    await client.send(every)
    assert await peer.exactly(len(every)) == every
    await peer.send(every)
    assert await client.exactly(len(every)) == every
    assert gateway.upstream.connections == 1


@pytest.mark.parametrize("size", [1, 100, 2_000_000])
async def test_bytes_after_the_101_are_the_first_of_the_tunnel(
    gateway: Gateway, size: int
) -> None:
    """Item 95: in the same read, in the middle of a frame, and in many reads."""
    client, peer, _ = await gateway.asked(ASKING)
    behind = b"\x81\x05hel" * size
    sending = asyncio.create_task(peer.send(SWITCHED + behind))
    assert status(await client.head()) == 101
    assert await client.exactly(len(behind)) == behind
    await sending
    await peer.send(b"lo")
    assert await client.exactly(2) == b"lo"


@pytest.mark.parametrize("size", [1, 100, 300_000])
async def test_bytes_sent_before_the_101_are_forwarded(
    gateway: Gateway, size: int
) -> None:
    """Item 95: sent together with the request, and before the upstream has decided."""
    client, peer, _ = await gateway.asked(ASKING + b"\x82")
    ahead = b"\x00" * size
    client.writer.write(ahead)
    await peer.send(SWITCHED)
    assert await peer.exactly(1 + size) == b"\x82" + ahead
    assert status(await client.head()) == 101
    await client.send(b"after")
    assert await peer.exactly(5) == b"after"


async def test_early_bytes_of_both_sides_are_forwarded(
    gateway: Gateway,
) -> None:
    """Item 95: both at once."""
    client, peer, _ = await gateway.asked(ASKING + b"from the client")
    await peer.send(SWITCHED + b"from the upstream")
    assert await peer.exactly(15) == b"from the client"
    await client.head()
    assert await client.exactly(17) == b"from the upstream"


async def test_a_101_sent_byte_by_byte_is_accepted(gateway: Gateway) -> None:
    """Item 95: TCP has no messages."""
    client, peer, _ = await gateway.asked(ASKING)
    for at in range(len(SWITCHED)):
        await peer.send(SWITCHED[at : at + 1])
    await peer.send(b"x")
    assert status(await client.head()) == 101
    assert await client.exactly(1) == b"x"


async def test_informational_responses_before_a_101_are_forwarded(
    gateway: Gateway,
) -> None:
    """Item 86: none of them is final."""
    client, peer, _ = await gateway.asked(ASKING)
    await peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + SWITCHED + b"x")
    assert status(await client.head()) == 103
    assert status(await client.head()) == 101
    assert await client.exactly(1) == b"x"


@pytest.mark.parametrize("code", REFUSALS)
async def test_any_other_response_is_forwarded_and_the_connection_stays_open(
    gateway: Gateway, code: int
) -> None:
    """Item 96: clients then go on without WebSocket, over the same connection."""
    client, peer = await gateway.answered(REFUSALS[code], ASKING)
    head = await client.head()
    assert status(head) == code
    assert b"x-bearerd-error" not in names(head)
    assert await client.exactly(len(BODIES[code])) == BODIES[code]
    await client.send(get(b"/v1/models"))
    assert first_line(await peer.head()) == b"GET /backend-api/codex/models HTTP/1.1"
    await peer.send(ok(b"next"))
    assert (await client.response())[1] == b"next"
    assert gateway.upstream.connections == 1


async def test_a_request_after_a_declined_upgrade_is_served(gateway: Gateway) -> None:
    """Item 96: the client sent it before it had the response."""
    client, peer, _ = await gateway.asked(ASKING + get(b"/v1/models"))
    await peer.send(REFUSALS[426])
    assert (await client.response())[1] == b"old"
    assert first_line(await peer.head()) == b"GET /backend-api/codex/models HTTP/1.1"
    await peer.send(ok(b"next"))
    assert (await client.response())[1] == b"next"


async def test_frames_after_a_declined_upgrade_are_400(
    gateway: Gateway,
) -> None:
    """Item 125: frames that were sent early are not HTTP."""
    client, peer, _ = await gateway.asked(ASKING + b"\x82\x00\x82\x00\r\n\r\n")
    await peer.send(REFUSALS[426])
    assert (await client.response())[1] == b"old"
    head, _ = await client.response()
    assert (status(head), values(head, b"connection")) == (400, [b"close"])
    assert await client.gone() == b""
    assert gateway.upstream.connections == 1


async def test_a_401_at_the_handshake_is_recovered(
    tmp_path: Path, authority: Sandbox
) -> None:
    """Item 97: the client sees the 101 only, after one refresh."""
    async with renewing(tmp_path, authority) as gateway:
        client, peer, first = await gateway.asked(ASKING + b"ahead")
        peer, second = await refuse(gateway, peer)
        assert first_line(first) == first_line(second)
        assert values(second, b"upgrade") == [b"websocket"]
        assert values(first, b"authorization") != values(second, b"authorization")
        await peer.send(SWITCHED + b"behind")
        head = await client.head()
        assert (status(head), values(head, b"x-bearerd-recovery")) == (
            101,
            [b"refresh"],
        )
        assert await client.exactly(6) == b"behind"
        assert await peer.exactly(5) == b"ahead"
        assert authority.authority.refreshes == 1


async def test_a_second_401_at_the_handshake_is_forwarded(
    tmp_path: Path, authority: Sandbox
) -> None:
    """Item 97: there is one retry; then it is a response like any other."""
    async with renewing(tmp_path, authority) as gateway:
        client, peer, _ = await gateway.asked(ASKING)
        peer, _ = await refuse(gateway, peer)
        await peer.send(REFUSED)
        head, body = await client.response()
        assert (status(head), b"token_expired" in body) == (401, True)
        assert authority.authority.refreshes == 1
        assert [told.attempts for told in await gateway.finished()] == [2]
        await client.send(get(b"/v1/models"))
        await peer.head()
        await peer.send(ok(b"next"))
        assert (await client.response())[1] == b"next"


async def test_a_426_after_a_recovered_401_is_forwarded(
    tmp_path: Path, authority: Sandbox
) -> None:
    """Item 97: whatever the second response is."""
    async with renewing(tmp_path, authority) as gateway:
        client, peer, _ = await gateway.asked(ASKING)
        peer, _ = await refuse(gateway, peer)
        await peer.send(REFUSALS[426])
        head, body = await client.response()
        assert (status(head), body) == (426, b"old")


@pytest.mark.parametrize(
    "lines",
    [
        b"Upgrade: h2c\r\nConnection: Upgrade\r\n",
        b"Upgrade: websocket, h2c\r\nConnection: Upgrade\r\n",
        b"Upgrade: websocket\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n",
        b"Upgrade: websocke\xc5\xbf\r\nConnection: Upgrade\r\n",
        b"Upgrade: websocket\r\nConnection: keep-alive\r\n",
        b"Upgrade: websocket\r\n",
        b"Connection: Upgrade\r\n",
        b"",
    ],
)
async def test_a_switch_to_another_protocol_is_502(
    gateway: Gateway, lines: bytes
) -> None:
    """Item 94: it is not the protocol that the client asked for."""
    client, peer = await gateway.answered(
        b"HTTP/1.1 101 Switching Protocols\r\n%b\r\nwhatever" % lines, ASKING
    )
    head = await client.head()
    assert status(head) == 502
    assert values(head, b"x-bearerd-error") == [b"upstream_protocol_error"]
    assert await peer.gone() == b""


async def test_the_protocol_of_a_101_is_compared_without_case(gateway: Gateway) -> None:
    """Item 94: RFC 9110 section 7.8."""
    client, peer, head = await gateway.asked(
        get(b"/v1/responses", b"connection: keep-alive, UPGRADE", b"upgrade: WebSocket")
    )
    assert values(head, b"upgrade") == [b"websocket"]
    response = b"HTTP/1.1 101 Yes\r\nupgrade: WEBSOCKET\r\nconnection: x, UPGRADE\r\n"
    await peer.send(response + b"\r\nab")
    assert status(await client.head()) == 101
    assert await client.exactly(2) == b"ab"


async def test_fields_named_by_connection_are_removed_from_a_101(
    gateway: Gateway,
) -> None:
    """Item 49: RFC 9110 section 7.6.1 makes no exception."""
    client, peer, _ = await gateway.asked(ASKING)
    line = b"Connection: Upgrade, X-Hop\r\nX-Hop: 1\r\nX-End: 1\r\n"
    await peer.send(SWITCHED.replace(b"Connection: Upgrade\r\n", line))
    head = await client.head()
    assert values(head, b"connection") == [b"Upgrade"]
    assert b"x-hop" not in names(head)
    assert values(head, b"x-end") == [b"1"]


NO_UPGRADE = {
    "not nominated": get(b"/v1/responses", b"Upgrade: websocket"),
    "nominated elsewise": get(
        b"/v1/responses", b"Connection: keep-alive", b"Upgrade: websocket"
    ),
    "in 1.0": b"GET /v1/responses HTTP/1.0\r\nHost: localhost\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "h2c": get(b"/v1/responses", b"Connection: Upgrade", b"Upgrade: h2c"),
    "with a body": request(b"POST", b"/v1/responses", *UPGRADE, b"Content-Length: 2")
    + b"ab",
}


@pytest.mark.parametrize("asked", NO_UPGRADE.values(), ids=NO_UPGRADE.keys())
async def test_other_upgrades_are_forwarded_as_plain_requests(
    gateway: Gateway, asked: bytes
) -> None:
    """Items 93, 100: the client gets a plain response; a 101 to it would be wrong."""
    client, peer, head = await gateway.asked(asked)
    assert not {b"upgrade", b"connection"} & names(head)
    await peer.send(ok(b"plain"))
    response, body = await client.response()
    assert (status(response), body) == (200, b"plain")


async def test_a_101_to_a_plain_request_is_502(gateway: Gateway) -> None:
    """Item 94: the client does not expect a tunnel."""
    client, peer = await gateway.answered(SWITCHED, NO_UPGRADE["not nominated"])
    assert status(await client.head()) == 502
    assert await peer.gone() == b""
