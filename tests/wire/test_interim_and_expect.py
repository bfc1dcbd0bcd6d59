"""Informational responses, `Expect: 100-continue`, and a 101 to no upgrade request."""

from __future__ import annotations

import pytest

from tests.wire.gateway import Gateway, get, ok, request
from tests.wire.peers import first_line, names, status, values

EXPECTING = request(
    b"POST", b"/v1/responses", b"Content-Length: 3", b"Expect: 100-continue"
)
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nX-I: 1\r\n\r\n"


@pytest.mark.parametrize(
    "interim", [HINTS, b"HTTP/1.1 102 Processing\r\n\r\n", b"HTTP/1.1 199 Odd\r\n\r\n"]
)
async def test_an_informational_response_is_forwarded(
    gateway: Gateway, interim: bytes
) -> None:
    """Item 86: RFC 9110 section 15.2, unchanged and at once."""
    client, peer = await gateway.answered(interim)
    assert await client.head() == interim
    await peer.send(ok())
    assert (await client.response())[1] == b"ok"


async def test_an_unrequested_100_is_not_forwarded(
    gateway: Gateway,
) -> None:
    """Item 86: we did not ask the upstream for one."""
    client, _ = await gateway.answered(b"HTTP/1.1 100 Continue\r\n\r\n" + ok())
    assert status(await client.head()) == 200


async def test_informational_fields_do_not_leak_into_the_final_response(
    gateway: Gateway,
) -> None:
    """Item 87: each response has its own fields."""
    client, _ = await gateway.answered(HINTS + HINTS + ok(b"ok", b"X-F: 1"))
    assert status(await client.head()) == 103
    assert status(await client.head()) == 103
    assert names(await client.head()) == {b"content-length", b"x-f", b"date"}


async def test_the_number_of_informational_responses_is_limited(
    gateway: Gateway,
) -> None:
    """Item 87: an upstream that sends more and no final response is given up."""
    client, peer = await gateway.answered(HINTS * 1000)
    head = await client.head()
    while status(head) == 103:
        head = await client.head()
    assert status(head) == 502
    assert await peer.gone() == b""


async def test_an_http_1_0_client_gets_no_informational_response(
    gateway: Gateway,
) -> None:
    """Item 86: RFC 9110 section 15.2, an HTTP/1.0 client would not understand it."""
    client, _ = await gateway.answered(HINTS + ok(), b"GET /v1/models HTTP/1.0\r\n\r\n")
    assert status(await client.head()) == 200


async def test_a_client_that_waits_for_a_100_gets_one_at_once(
    gateway: Gateway,
) -> None:
    """Items 88, 91: whatever the upstream does; Expect itself is not forwarded."""
    client, peer, head = await gateway.asked(EXPECTING)
    assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert b"expect" not in names(head)
    await client.send(b"abc")
    assert await peer.exactly(3) == b"abc"
    await peer.send(ok())
    assert (await client.response())[1] == b"ok"


async def test_a_client_that_does_not_wait_for_the_100_is_served(
    gateway: Gateway,
) -> None:
    """Item 88: RFC 9110 section 10.1.1."""
    client, peer, _ = await gateway.asked(EXPECTING + b"abc")
    assert await peer.exactly(3) == b"abc"
    await peer.send(ok())
    head = await client.head()
    if status(head) == 100:
        head = await client.head()
    assert status(head) == 200


async def test_a_rejected_request_gets_no_100(gateway: Gateway) -> None:
    """Item 89: it is rejected before its body is sent."""
    client = await gateway.client()
    await client.send(EXPECTING.replace(b"localhost", b"evil.example"))
    assert status(await client.head()) == 403
    assert gateway.upstream.connections == 0


async def test_a_final_response_before_the_body_ends_the_upload(
    gateway: Gateway,
) -> None:
    """Item 89: it is forwarded, and the upstream connection is not reused."""
    client, peer, _ = await gateway.asked(EXPECTING)
    await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
    assert status(await client.head()) == 100
    assert status(await client.head()) == 413
    assert await peer.gone() == b""


async def test_only_one_100_reaches_the_client(gateway: Gateway) -> None:
    """Item 90: ours, and not the upstream's as well."""
    client, peer, _ = await gateway.asked(EXPECTING)
    assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
    await client.send(b"abc")
    await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n" + ok())
    assert status(await client.head()) == 200


async def test_expect_in_http_1_0_is_ignored(gateway: Gateway) -> None:
    """Item 92: RFC 9110 section 10.1.1."""
    client, peer, head = await gateway.asked(
        b"POST /v1/responses HTTP/1.0\r\nExpect: 100-continue\r\n"
        b"Content-Length: 3\r\n\r\nabc"
    )
    assert b"expect" not in names(head)
    assert await peer.exactly(3) == b"abc"
    await peer.send(ok())
    assert status(await client.head()) == 200


async def test_another_expectation_gets_417_or_is_ignored(
    gateway: Gateway,
) -> None:
    """Item 92: we send no 100 for it, and wait for none."""
    client, peer, head = await gateway.asked(get(b"/v1/models", b"Expect: tea"))
    assert b"expect" not in names(head)
    await peer.send(ok())
    assert status(await client.head()) == 200


async def test_an_unrequested_101_is_502(gateway: Gateway) -> None:
    """Item 94: the bytes after it would not be HTTP."""
    client, peer = await gateway.answered(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
    )
    head = await client.head()
    assert first_line(head) == b"HTTP/1.1 502 Bad Gateway"
    assert values(head, b"x-bearerd-error") == [b"upstream_protocol_error"]
    assert await peer.gone() == b""
