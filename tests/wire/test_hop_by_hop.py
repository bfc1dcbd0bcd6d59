"""Fields that are for one hop only: removed both ways, whoever names them."""

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
async def test_what_any_connection_line_names_goes_no_further_upward(
    gateway: Gateway, lines: list[bytes]
) -> None:
    """Items 43, 45: RFC 9110 section 7.6.1."""
    _, _, head = await gateway.asked(
        get(b"/v1/models", b"X-A: 1", *lines, b"x-B: 2", b"X-C: 3")
    )
    assert not {b"x-a", b"x-b", b"connection"} & names(head)
    assert values(head, b"x-c") == [b"3"]


@pytest.mark.parametrize("lines", NOMINATIONS)
async def test_what_any_connection_line_names_goes_no_further_downward(
    gateway: Gateway, lines: list[bytes]
) -> None:
    """Items 44, 45."""
    client, _ = await gateway.answered(
        ok(b"ok", b"X-A: 1", *lines, b"x-B: 2", b"X-C: 3")
    )
    head = await client.head()
    assert not {b"x-a", b"x-b", b"connection"} & names(head)
    assert values(head, b"x-c") == [b"3"]


async def test_a_client_cannot_nominate_away_what_is_ours(gateway: Gateway) -> None:
    """Item 46: not the signature, not the framing, not the Host."""
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


async def test_an_upstream_cannot_nominate_away_the_framing(gateway: Gateway) -> None:
    """Item 46, the other way."""
    client, _ = await gateway.answered(ok(b"ok", b"Connection: content-length, date"))
    head, body = await client.response()
    assert (values(head, b"content-length"), body) == ([b"2"], b"ok")
    assert len(values(head, b"date")) == 1


async def test_hop_by_hop_fields_go_no_further_upward_unnamed(
    gateway: Gateway,
) -> None:
    """Items 47, 48: TE among them, since nobody asked for trailers beyond us."""
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


async def test_hop_by_hop_fields_go_no_further_downward_unnamed(
    gateway: Gateway,
) -> None:
    """Item 47."""
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


async def test_a_client_that_wants_to_close_is_told_so_and_closed(
    gateway: Gateway,
) -> None:
    """Item 50."""
    client, _ = await gateway.answered(ok(), get(b"/v1/models", b"Connection: close"))
    head, body = await client.response()
    assert (values(head, b"connection"), body) == ([b"close"], b"ok")
    assert await client.rest() == b""


async def test_a_close_of_the_upstream_is_not_the_client_s(gateway: Gateway) -> None:
    """Item 50: each hop has its own connection."""
    client, peer = await gateway.answered(ok(b"one", b"Connection: close"))
    head, _ = await client.response()
    assert values(head, b"connection") == []
    assert await peer.gone() == b""
    _, second, _ = await gateway.asked(get(b"/v1/models"), client)
    await second.send(ok(b"two"))
    assert (await client.response())[1] == b"two"
