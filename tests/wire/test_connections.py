"""Connections: when one is reused, when it never is, and what a disconnect ends."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.wire.gateway import Gateway, get, ok, post, request, running
from tests.wire.peers import PATIENCE_SECONDS, Peer, first_line, status, values

CHUNKED = b"Transfer-Encoding: chunked"


async def request_on_new_connection(gateway: Gateway, client: Peer) -> Peer:
    """Send a second request over *client*; check that it uses a new upstream
    connection.
    """
    before = gateway.upstream.connections
    _, peer, _ = await gateway.asked(get(b"/v1/models"), client)
    assert gateway.upstream.connections == before + 1
    await peer.send(ok(b"next"))
    assert (await client.response())[1] == b"next"
    return peer


@pytest.mark.parametrize(
    "stray", [b"x", ok(b"evil"), b"HTTP/1.1 200 OK\r\n", b"\x00" * 10]
)
async def test_a_connection_with_bytes_after_a_response_is_discarded(
    gateway: Gateway, stray: bytes
) -> None:
    """Item 83: the next client would receive them."""
    client, peer = await gateway.answered(ok(b"first") + stray)
    assert (await client.response())[1] == b"first"
    assert await peer.gone() == b""
    await request_on_new_connection(gateway, client)


async def test_a_connection_with_bytes_after_the_last_chunk_is_discarded(
    gateway: Gateway,
) -> None:
    """Item 83: the same for a chunked body."""
    client, peer = await gateway.answered(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + ok(b"evil")
    )
    await client.head()
    assert await client.exactly(5) == b"0\r\n\r\n"
    assert await peer.gone() == b""
    await request_on_new_connection(gateway, client)


async def test_a_connection_with_a_body_after_a_head_response_is_discarded(
    gateway: Gateway,
) -> None:
    """Item 83: a response to HEAD has no body, so the bytes are something else."""
    client, peer = await gateway.answered(ok(b"evil"), request(b"HEAD", b"/v1/models"))
    assert status(await client.head()) == 200
    assert await peer.gone() == b""
    await request_on_new_connection(gateway, client)


async def test_an_unsolicited_response_closes_the_connection(
    gateway: Gateway,
) -> None:
    """Item 84: RFC 9112 section 9.2."""
    client, peer = await gateway.answered(ok(b"first"))
    assert (await client.response())[1] == b"first"
    await gateway.finished()
    await peer.send(ok(b"evil"))
    assert await peer.gone() == b""
    await request_on_new_connection(gateway, client)


async def test_an_idle_connection_closed_by_the_upstream_is_not_reused(
    gateway: Gateway,
) -> None:
    """Item 122: a POST after it is sent once, over a new connection."""
    client, peer = await gateway.answered(ok())
    await client.response()
    peer.close()
    assert await peer.gone() == b""
    _, second, head = await gateway.asked(post(b"/v1/responses", b"abc"), client)
    assert first_line(head).startswith(b"POST ")
    assert await second.exactly(3) == b"abc"


async def test_a_post_on_a_connection_that_closes_is_not_resent(
    gateway: Gateway,
) -> None:
    """Items 120, 122: after its first byte was sent, only the client can decide to
    retry.
    """
    client, peer = await gateway.answered(ok())
    await client.response()
    await client.send(post(b"/v1/responses", b"abc"))
    await peer.head()
    peer.close()
    head = await client.head()
    assert status(head) == 502
    assert values(head, b"x-bearerd-error") == [b"upstream_unreachable"]
    assert gateway.upstream.connections == 1


async def test_a_get_on_a_reused_connection_that_closes_is_resent_once(
    gateway: Gateway,
) -> None:
    """Item 121: RFC 9112 section 9.3.1 allows one retry, over a new connection."""
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


async def test_a_get_on_a_new_connection_is_never_resent(
    gateway: Gateway,
) -> None:
    """Item 121: the connection was not stale, so the request failed for another reason."""
    client, peer, _ = await gateway.asked(get(b"/v1/models"))
    peer.close()
    assert status(await client.head()) == 502
    assert gateway.upstream.connections == 1


async def test_a_get_whose_response_has_begun_is_never_resent(
    gateway: Gateway,
) -> None:
    """Item 121: one byte of a response counts as a response."""
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
    """Items 115, 116: RFC 9112 section 9.5; that connection is not reused."""
    client, peer, _ = await gateway.asked(
        request(b"POST", b"/v1/responses", CHUNKED) + b"3\r\nabc\r\n"
    )
    assert await peer.exactly(8) == b"3\r\nabc\r\n"
    await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
    head, body = await client.response()
    assert (status(head), body) == (413, b"no")
    assert await peer.gone() == b""


async def test_the_rest_of_a_body_after_an_early_response_is_no_request(
    gateway: Gateway,
) -> None:
    """Item 115: the bytes that follow still belong to the body."""
    client, peer, _ = await gateway.asked(
        request(b"POST", b"/v1/responses", b"Content-Length: 100") + b"abc"
    )
    await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
    assert status(await client.head()) == 413
    hidden = get(b"/v1/hidden")
    await client.send(hidden + b"x" * (97 - len(hidden)))
    after = await request_on_new_connection(gateway, client)
    assert gateway.upstream.peers == [peer, after]


async def test_a_client_disconnect_before_the_response_ends_the_upstream_request(
    gateway: Gateway,
) -> None:
    """Item 117: and the request is not sent again."""
    client, peer, _ = await gateway.asked(get(b"/v1/models"))
    client.close()
    assert await peer.gone() == b""
    assert [told.status for told in await gateway.finished()] == [499]
    assert gateway.upstream.connections == 1


async def test_a_client_disconnect_in_mid_response_ends_the_upstream_request(
    gateway: Gateway,
) -> None:
    """Item 118: the upstream connection is closed."""
    client, peer = await gateway.answered(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"
    )
    await client.head()
    client.reset()
    assert await peer.gone() == b""


async def test_a_half_closed_client_counts_as_disconnected(gateway: Gateway) -> None:
    """Item 119: on TCP the two look the same; see item 117."""
    client, peer, _ = await gateway.asked(get(b"/v1/models"))
    client.half_close()
    assert await peer.gone() == b""
    assert await client.gone() == b""


async def test_a_hundred_requests_share_two_connections(gateway: Gateway) -> None:
    """Item 123: one on each side."""
    client, peer, _ = await gateway.asked(get(b"/v1/models"))
    for count in range(100):
        await peer.send(ok(b"%d" % count))
        assert (await client.response())[1] == b"%d" % count
        await client.send(get(b"/v1/models"))
        await peer.head()
    assert gateway.upstream.connections == 1


async def test_consecutive_clients_share_an_upstream_connection(
    gateway: Gateway,
) -> None:
    """Item 123: a new client connection uses the same upstream connection."""
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


async def test_pipelined_requests_get_responses_in_order(gateway: Gateway) -> None:
    """Item 124: one after the other."""
    targets = [b"/v1/%d" % count for count in range(5)]
    client, peer, head = await gateway.asked(b"".join(map(get, targets)))
    for count in range(5):
        if count:
            head = await peer.head()
        assert first_line(head) == b"GET /backend-api/codex/%d HTTP/1.1" % count
        await peer.send(ok(b"%d" % count))
        assert (await client.response())[1] == b"%d" % count


async def test_no_request_is_served_after_a_malformed_one(gateway: Gateway) -> None:
    """Item 125: where the next one begins is no longer known."""
    client = await gateway.client()
    await client.send(b"nonsense\r\n\r\n" + get(b"/v1/models"))
    head, _ = await client.response()
    assert values(head, b"connection") == [b"close"]
    assert await client.gone() == b""
    assert gateway.upstream.connections == 0


async def test_a_request_before_a_malformed_one_is_served(gateway: Gateway) -> None:
    """Item 125: it was complete."""
    client, peer, _ = await gateway.asked(get(b"/v1/models"))
    await client.send(b"nonsense\r\n\r\n" + get(b"/v1/other"))
    await peer.send(ok(b"first"))
    assert (await client.response())[1] == b"first"
    assert status(await client.head()) == 400
    await client.gone()
    assert gateway.upstream.connections == 1


async def test_slow_clients_do_not_delay_others(gateway: Gateway) -> None:
    """Item 126: whether they are slow with the head or with the body."""
    for begun in (b"GET /v1/mo", request(b"POST", b"/v1/a", b"Content-Length: 9")):
        await (await gateway.client()).send(begun)
    answering = asyncio.create_task(respond_to_the_get(gateway))
    client = await gateway.client()
    await client.send(get(b"/v1/models"))
    assert (await client.response())[1] == b"ok"
    await answering


async def respond_to_the_get(gateway: Gateway) -> None:
    """Respond to the one GET among the requests that arrive."""
    while True:
        peer = await gateway.upstream.accept()
        if first_line(await peer.head()).startswith(b"GET "):
            await peer.send(ok())
            return


async def test_a_silent_upstream_is_504_before_its_response(tmp_path: Path) -> None:
    """Item 127: the idle limit ends the wait for a response."""
    async with running(tmp_path, upstream_idle_timeout_seconds="0.2") as gateway:
        client, peer, _ = await gateway.asked(get(b"/v1/models"))
        head = await client.head()
        assert status(head) == 504
        assert values(head, b"x-bearerd-error") == [b"upstream_timeout"]
        assert await peer.gone() == b""


async def test_a_response_that_stalls_is_aborted(tmp_path: Path) -> None:
    """Item 127: the idle limit applies between two parts of a body."""
    async with running(tmp_path, upstream_idle_timeout_seconds="0.2") as gateway:
        client, _ = await gateway.answered(ok(b"0123456789")[:-5])
        await client.head()
        assert await client.gone() == b"01234"


async def test_a_stream_that_keeps_sending_has_no_time_limit(tmp_path: Path) -> None:
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
            await asyncio.sleep(
                0.05
            )  # the pace of the upstream; the test waits for nothing here
        await peer.send(b"0\r\n\r\n")
        assert await client.exactly(5) == b"0\r\n\r\n"


async def test_an_upstream_that_refuses_connections_is_502(tmp_path: Path) -> None:
    """Item 127: and the client's connection stays open."""
    async with running(tmp_path, upstream_url="http://127.0.0.1:9/x") as gateway:
        client = await gateway.client()
        for _ in range(2):
            await client.send(get(b"/v1/models"))
            head, _ = await client.response()
            assert status(head) == 502
            assert values(head, b"x-bearerd-error") == [b"upstream_unreachable"]


async def test_a_large_body_reaches_a_slow_upstream_complete(
    gateway: Gateway,
) -> None:
    """Item 85: the client is slowed down, and no byte is lost."""
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
