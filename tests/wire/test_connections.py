"""Connections: when they are used again, when never, and who leaving ends what."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.wire.gateway import Gateway, get, ok, post, request, running
from tests.wire.peers import PATIENCE_SECONDS, Peer, first_line, status, values

CHUNKED = b"Transfer-Encoding: chunked"


async def follow_up(gateway: Gateway, client: Peer) -> Peer:
    """Send a second request over *client*; check that it takes a new connection."""
    before = gateway.upstream.connections
    _, peer, _ = await gateway.asked(get(b"/v1/models"), client)
    assert gateway.upstream.connections == before + 1
    await peer.send(ok(b"next"))
    assert (await client.response())[1] == b"next"
    return peer


@pytest.mark.parametrize(
    "stray", [b"x", ok(b"evil"), b"HTTP/1.1 200 OK\r\n", b"\x00" * 10]
)
async def test_bytes_after_a_response_cost_the_connection(
    gateway: Gateway, stray: bytes
) -> None:
    """Item 83: else another client would be served them."""
    client, peer = await gateway.answered(ok(b"first") + stray)
    assert (await client.response())[1] == b"first"
    assert await peer.gone() == b""
    await follow_up(gateway, client)


async def test_bytes_after_a_last_chunk_cost_the_connection(gateway: Gateway) -> None:
    """Item 83."""
    client, peer = await gateway.answered(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + ok(b"evil")
    )
    await client.head()
    assert await client.exactly(5) == b"0\r\n\r\n"
    assert await peer.gone() == b""
    await follow_up(gateway, client)


async def test_a_body_after_a_response_to_head_costs_the_connection(
    gateway: Gateway,
) -> None:
    """Item 83: there is none, so it is something else."""
    client, peer = await gateway.answered(ok(b"evil"), request(b"HEAD", b"/v1/models"))
    assert status(await client.head()) == 200
    assert await peer.gone() == b""
    await follow_up(gateway, client)


async def test_a_response_to_no_request_closes_the_connection(
    gateway: Gateway,
) -> None:
    """Item 84: RFC 9112 section 9.2."""
    client, peer = await gateway.answered(ok(b"first"))
    assert (await client.response())[1] == b"first"
    await gateway.finished()
    await peer.send(ok(b"evil"))
    assert await peer.gone() == b""
    await follow_up(gateway, client)


async def test_an_idle_connection_that_the_upstream_closed_is_not_used(
    gateway: Gateway,
) -> None:
    """Item 122: a POST after it goes over a new one, once."""
    client, peer = await gateway.answered(ok())
    await client.response()
    peer.close()
    assert await peer.gone() == b""
    _, second, head = await gateway.asked(post(b"/v1/responses", b"abc"), client)
    assert first_line(head).startswith(b"POST ")
    assert await second.exactly(3) == b"abc"


async def test_a_post_that_met_a_dying_connection_is_not_sent_twice(
    gateway: Gateway,
) -> None:
    """Items 120, 122: after the first byte went out, only the client may know better."""
    client, peer = await gateway.answered(ok())
    await client.response()
    await client.send(post(b"/v1/responses", b"abc"))
    await peer.head()
    peer.close()
    head = await client.head()
    assert status(head) == 502
    assert values(head, b"x-bearerd-error") == [b"upstream_unreachable"]
    assert gateway.upstream.connections == 1


async def test_a_get_that_met_a_dying_connection_is_sent_once_more(
    gateway: Gateway,
) -> None:
    """Item 121: RFC 9112 section 9.3.1 allows it, over a new connection, once."""
    client, peer = await gateway.answered(ok())
    await client.response()
    await client.send(get(b"/v1/models"))
    await peer.head()
    peer.close()
    second = await gateway.upstream.accept()
    await second.head()
    second.close()
    assert status(await client.head()) == 502
    assert gateway.upstream.connections == 2


async def test_a_get_over_a_fresh_connection_is_never_sent_again(
    gateway: Gateway,
) -> None:
    """Item 121: it was not stale, so it failed for another reason."""
    client, peer, _ = await gateway.asked(get(b"/v1/models"))
    peer.close()
    assert status(await client.head()) == 502
    assert gateway.upstream.connections == 1


async def test_a_get_whose_response_had_begun_is_never_sent_again(
    gateway: Gateway,
) -> None:
    """Item 121: a byte of a response is a response."""
    client, peer = await gateway.answered(ok())
    await client.response()
    await client.send(get(b"/v1/models"))
    await peer.head()
    await peer.send(b"H")
    peer.close()
    assert status(await client.head()) == 502
    assert gateway.upstream.connections == 1


async def test_an_early_response_ends_the_upload_and_is_relayed(
    gateway: Gateway,
) -> None:
    """Items 115, 116: RFC 9112 section 9.5; that connection is not used again."""
    client, peer, _ = await gateway.asked(
        request(b"POST", b"/v1/responses", CHUNKED) + b"3\r\nabc\r\n"
    )
    assert await peer.exactly(8) == b"3\r\nabc\r\n"
    await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
    head, body = await client.response()
    assert (status(head), body) == (413, b"no")
    assert await peer.gone() == b""


async def test_after_an_early_response_the_rest_of_the_body_is_no_request(
    gateway: Gateway,
) -> None:
    """Item 115: what was the body's stays the body's."""
    client, peer, _ = await gateway.asked(
        request(b"POST", b"/v1/responses", b"Content-Length: 100") + b"abc"
    )
    await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
    assert status(await client.head()) == 413
    hidden = get(b"/v1/hidden")
    await client.send(hidden + b"x" * (97 - len(hidden)))
    after = await follow_up(gateway, client)
    assert gateway.upstream.peers == [peer, after]


async def test_a_client_that_leaves_before_the_head_ends_the_upstream_request(
    gateway: Gateway,
) -> None:
    """Item 117: and nothing is sent again."""
    client, peer, _ = await gateway.asked(get(b"/v1/models"))
    client.close()
    assert await peer.gone() == b""
    assert [told.status for told in await gateway.finished()] == [499]
    assert gateway.upstream.connections == 1


async def test_a_client_that_leaves_in_mid_stream_ends_the_upstream_request(
    gateway: Gateway,
) -> None:
    """Item 118."""
    client, peer = await gateway.answered(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"
    )
    await client.head()
    client.reset()
    assert await peer.gone() == b""


async def test_a_client_that_sends_no_more_counts_as_gone(gateway: Gateway) -> None:
    """Item 119: TCP does not tell this apart from leaving; see item 117."""
    client, peer, _ = await gateway.asked(get(b"/v1/models"))
    client.half_close()
    assert await peer.gone() == b""
    assert await client.gone() == b""


async def test_a_hundred_requests_share_two_connections(gateway: Gateway) -> None:
    """Item 123: one on either side."""
    client, peer, _ = await gateway.asked(get(b"/v1/models"))
    for count in range(100):
        await peer.send(ok(b"%d" % count))
        assert (await client.response())[1] == b"%d" % count
        await client.send(get(b"/v1/models"))
        await peer.head()
    assert gateway.upstream.connections == 1


async def test_clients_that_come_and_go_leave_nothing_behind(
    gateway: Gateway,
) -> None:
    """Item 123: their successors find the same upstream connection."""
    client, peer, _ = await gateway.asked(get(b"/v1/models"))
    for count in range(100):
        await peer.send(ok())
        await client.response()
        client.close()
        await gateway.finished(count + 1)
        client = await gateway.client()
        await client.send(get(b"/v1/models"))
        await peer.head()
    assert gateway.upstream.connections == 1


async def test_pipelined_requests_are_answered_in_order(gateway: Gateway) -> None:
    """Item 124: one after the other."""
    targets = [b"/v1/%d" % count for count in range(5)]
    client, peer, head = await gateway.asked(b"".join(map(get, targets)))
    for count in range(5):
        if count:
            head = await peer.head()
        assert first_line(head) == b"GET /backend-api/codex/%d HTTP/1.1" % count
        await peer.send(ok(b"%d" % count))
        assert (await client.response())[1] == b"%d" % count


async def test_after_a_malformed_request_no_other_is_served(gateway: Gateway) -> None:
    """Item 125: where one begins can no longer be known."""
    client = await gateway.client()
    await client.send(b"nonsense\r\n\r\n" + get(b"/v1/models"))
    head, _ = await client.response()
    assert values(head, b"connection") == [b"close"]
    assert await client.gone() == b""
    assert gateway.upstream.connections == 0


async def test_a_request_before_a_malformed_one_is_answered(gateway: Gateway) -> None:
    """Item 125: it was whole."""
    client, peer, _ = await gateway.asked(get(b"/v1/models"))
    await client.send(b"nonsense\r\n\r\n" + get(b"/v1/other"))
    await peer.send(ok(b"first"))
    assert (await client.response())[1] == b"first"
    assert status(await client.head()) == 400
    await client.gone()
    assert gateway.upstream.connections == 1


async def test_slow_clients_do_not_keep_others_waiting(gateway: Gateway) -> None:
    """Item 126: neither one that dawdles in its head, nor one in its body."""
    for begun in (b"GET /v1/mo", request(b"POST", b"/v1/a", b"Content-Length: 9")):
        await (await gateway.client()).send(begun)
    answering = asyncio.create_task(respond_to_the_get(gateway))
    client = await gateway.client()
    await client.send(get(b"/v1/models"))
    assert (await client.response())[1] == b"ok"
    await answering


async def respond_to_the_get(gateway: Gateway) -> None:
    """Answer the one GET among the requests that come in."""
    while True:
        peer = await gateway.upstream.accept()
        if first_line(await peer.head()).startswith(b"GET "):
            await peer.send(ok())
            return


async def test_a_silent_upstream_is_504_before_its_response(tmp_path: Path) -> None:
    """Item 127."""
    async with running(tmp_path, upstream_idle_timeout_seconds="0.2") as gateway:
        client, peer, _ = await gateway.asked(get(b"/v1/models"))
        head = await client.head()
        assert status(head) == 504
        assert values(head, b"x-bearerd-error") == [b"upstream_timeout"]
        assert await peer.gone() == b""


async def test_a_silent_upstream_is_broken_off_in_mid_response(tmp_path: Path) -> None:
    """Item 127."""
    async with running(tmp_path, upstream_idle_timeout_seconds="0.2") as gateway:
        client, _ = await gateway.answered(ok(b"0123456789")[:-5])
        await client.head()
        assert await client.gone() == b"01234"


async def test_a_stream_that_goes_on_outlives_every_limit(tmp_path: Path) -> None:
    """Item 127: only silence ends it."""
    async with running(tmp_path, upstream_idle_timeout_seconds="0.4") as gateway:
        client, peer = await gateway.answered(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        await client.head()
        loop = asyncio.get_running_loop()
        until = loop.time() + 1.0
        while loop.time() < until:
            await peer.send(b"1\r\nx\r\n")
            assert await client.exactly(6) == b"1\r\nx\r\n"
            await asyncio.sleep(0.05)  # the upstream's pace; nothing is waited for
        await peer.send(b"0\r\n\r\n")
        assert await client.exactly(5) == b"0\r\n\r\n"


async def test_an_upstream_that_is_not_there_is_502(tmp_path: Path) -> None:
    """Item 127: and the client's connection goes on."""
    async with running(tmp_path, upstream_url="http://127.0.0.1:9/x") as gateway:
        client = await gateway.client()
        for _ in range(2):
            await client.send(get(b"/v1/models"))
            head, _ = await client.response()
            assert status(head) == 502
            assert values(head, b"x-bearerd-error") == [b"upstream_unreachable"]


async def test_a_large_body_goes_up_while_the_upstream_takes_its_time(
    gateway: Gateway,
) -> None:
    """Item 85: the client is slowed down, and nothing is lost."""
    body = b"0123456789abcdef" * (1 << 16) * 12
    client = await gateway.client()
    sending = asyncio.create_task(client.send(post(b"/v1/responses", body)))
    peer = await gateway.upstream.accept()
    head = await peer.head()
    assert values(head, b"content-length") == [b"%d" % len(body)]
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await peer.reader.readexactly(len(body)) == body
    await sending
    await peer.send(ok())
    assert (await client.response())[1] == b"ok"
