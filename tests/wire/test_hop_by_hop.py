"""Hop-by-hop fields: removed in both directions, from whichever side they come."""

from __future__ import annotations

import pytest

from tests.wire.gateway import ACCESS_TOKEN, ACCOUNT, Gateway, get, ok, post
from tests.wire.peers import names, values

NOMINATIONS = [
    [b"Connection: X-A, x-b"],
    [b"Connection: X-A", b"Connection: x-b"],
    [b"Connection: x-a", b"Connection:", b"connection: , X-B ,"],
    [b"Connection:", b"CONNECTION:\tX-B\t,keep-alive,x-A"],
]


@pytest.mark.parametrize("lines", NOMINATIONS)
async def test_fields_named_by_connection_are_removed_from_a_request(
    gateway: Gateway, lines: list[bytes]
) -> None:
    """Items 43, 45: RFC 9110 section 7.6.1."""
    _, _, head = await gateway.asked(
        get(b"/v1/models", b"X-A: 1", *lines, b"x-B: 2", b"X-C: 3")
    )
    assert not {b"x-a", b"x-b", b"connection"} & names(head)
    assert values(head, b"x-c") == [b"3"]


@pytest.mark.parametrize("lines", NOMINATIONS)
async def test_fields_named_by_connection_are_removed_from_a_response(
    gateway: Gateway, lines: list[bytes]
) -> None:
    """Items 44, 45: the same for a response."""
    client, _ = await gateway.answered(
        ok(b"ok", b"X-A: 1", *lines, b"x-B: 2", b"X-C: 3")
    )
    head = await client.head()
    assert not {b"x-a", b"x-b", b"connection"} & names(head)
    assert values(head, b"x-c") == [b"3"]


async def test_a_client_cannot_remove_our_fields_by_connection(
    gateway: Gateway,
) -> None:
    """Item 46: neither the credential, nor the framing, nor Host."""
    _, peer, head = await gateway.asked(
        post(
            b"/v1/responses",
            b"abc",
            b"Authorization: Bearer mine",
            b"Connection: authorization, content-length, host, chatgpt-account-id",
        )
    )
    assert values(head, b"authorization") == [b"Bearer " + ACCESS_TOKEN.encode()]
    assert values(head, b"chatgpt-account-id") == [ACCOUNT.encode()]
    assert values(head, b"content-length") == [b"3"]
    assert len(values(head, b"host")) == 1
    assert await peer.exactly(3) == b"abc"


async def test_an_upstream_cannot_remove_the_framing_by_connection(
    gateway: Gateway,
) -> None:
    """Item 46: the same for a response."""
    client, _ = await gateway.answered(ok(b"ok", b"Connection: content-length, date"))
    head, body = await client.response()
    assert (values(head, b"content-length"), body) == ([b"2"], b"ok")
    assert len(values(head, b"date")) == 1


async def test_hop_by_hop_fields_are_removed_from_a_request(
    gateway: Gateway,
) -> None:
    """Items 47, 48: even unnamed; TE is one, because no client past us asked for
    trailers.
    """
    _, _, head = await gateway.asked(
        get(
            b"/v1/models",
            b"Proxy-Connection: keep-alive",
            b"Keep-Alive: timeout=5",
            b"TE: trailers",
            b"Trailer: X-T",
            b"Upgrade: h2c",
            b"Proxy-Authorization: Basic bWFkZTp1cA==",
        )
    )
    assert names(head) == {b"host", b"authorization", b"chatgpt-account-id"}


async def test_hop_by_hop_fields_are_removed_from_a_response(
    gateway: Gateway,
) -> None:
    """Item 47: even where Connection does not name them."""
    client, _ = await gateway.answered(
        ok(
            b"ok",
            b"Proxy-Connection: keep-alive",
            b"Keep-Alive: timeout=5",
            b"TE: trailers",
            b"Trailer: X-T",
            b"Upgrade: h2c",
            b"Proxy-Authenticate: Basic",
            b"Proxy-Authentication-Info: a=b",
        )
    )
    assert names(await client.head()) == {b"content-length", b"date"}


async def test_a_client_that_asks_for_close_gets_it(
    gateway: Gateway,
) -> None:
    """Item 50: the response has `Connection: close`, and the connection ends after it."""
    client, _ = await gateway.answered(ok(), get(b"/v1/models", b"Connection: close"))
    head, body = await client.response()
    assert (values(head, b"connection"), body) == ([b"close"], b"ok")
    assert await client.rest() == b""


async def test_a_close_by_the_upstream_does_not_close_the_client(
    gateway: Gateway,
) -> None:
    """Item 50: each hop has a connection of its own."""
    client, peer = await gateway.answered(ok(b"one", b"Connection: close"))
    head, _ = await client.response()
    assert values(head, b"connection") == []
    assert await peer.gone() == b""
    _, second, _ = await gateway.asked(get(b"/v1/models"), client)
    await second.send(ok(b"two"))
    assert (await client.response())[1] == b"two"
