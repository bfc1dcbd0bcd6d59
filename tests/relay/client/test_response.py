"""The response toward the client: its framing, its marks, and its breaking off."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import cast

import pytest

from bearerd.errors import (
    AuthorityUnavailable,
    BearerdError,
    ClientKeyInvalid,
    LoginRequired,
    NotFound,
    UpstreamTimeout,
)
from bearerd.relay.client.date import DateField
from bearerd.relay.client.response import Response
from bearerd.relay.message import Field, ResponseHead
from tests.wire.peers import Peer, RawUpstream, names, status, values

NOW = 784111777.0
DATE = b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"  # RFC 9110 section 5.6.7 has this one


class Connection:
    """Both ends of one: a response is written to one and read from the other."""

    def __init__(self, transport: asyncio.Transport, client: Peer) -> None:
        self.transport = transport
        self.client = client

    def response(
        self, *, is_http_10: bool = False, is_head: bool = False, closes: bool = False
    ) -> Response:
        return Response(
            self.transport,
            is_http_10=is_http_10,
            is_head_request=is_head,
            must_close=closes,
            date=DateField(lambda: NOW),
        )

    async def received(self) -> bytes:
        """End the connection, and return all that the client receives."""
        self.transport.close()
        return await self.client.rest()


@pytest.fixture
async def connection() -> AsyncIterator[Connection]:
    """A real connection on loopback."""
    async with RawUpstream() as server:
        client = await Peer.connect(server.port)
        accepted = await server.accept()
        transport = cast("asyncio.Transport", accepted.writer.transport)
        yield Connection(transport, client)
        await client.leave()


def head(
    code: int = 200,
    *fields: Field,
    length: int | None = None,
    is_chunked: bool = False,
    has_body: bool = True,
) -> ResponseHead:
    """Return an upstream's head."""
    return ResponseHead(code, b"OK", fields, length, is_chunked, has_body)


CL, TE = b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n"
CLOSE = b"Connection: close\r\n"


@pytest.mark.parametrize(
    ("upstream", "is_http_10", "framing"),
    [
        (head(length=3), False, CL),
        (head(length=3), True, CL + CLOSE),
        (head(is_chunked=True), False, TE),
        (head(is_chunked=True), True, CLOSE),
        (head(), False, TE),
        (head(), True, CLOSE),
        (head(304, length=3, has_body=False), False, CL),
        (head(304, has_body=False), False, b""),
        (head(204, has_body=False), False, b""),
        (head(204, length=3, has_body=False), False, b""),
        (head(204, is_chunked=True, has_body=False), False, b""),
        (head(length=3, has_body=False), False, CL),
        (head(is_chunked=True, has_body=False), False, TE),
        (head(is_chunked=True, has_body=False), True, CLOSE),
    ],
)
async def test_the_framing_follows_from_the_head_and_the_client_s_version(
    connection: Connection, upstream: ResponseHead, is_http_10: bool, framing: bytes
) -> None:
    """Case by case, as response.py numbers them."""
    response = connection.response(is_http_10=is_http_10)
    response.send_head(upstream)
    response.flush_head()
    received = await connection.received()
    assert (
        received == b"HTTP/1.1 %d OK\r\n" % upstream.status + framing + DATE + b"\r\n"
    )
    assert response.must_close is is_http_10


@pytest.mark.parametrize(
    ("upstream", "is_http_10", "body"),
    [
        (head(length=5), False, b"abcde"),
        (head(length=5), True, b"abcde"),
        (head(is_chunked=True), False, b"2\r\nab\r\n1\r\nc\r\n2\r\nde\r\n0\r\n\r\n"),
        (head(), False, b"2\r\nab\r\n1\r\nc\r\n2\r\nde\r\n0\r\n\r\n"),
        (head(), True, b"abcde"),
    ],
)
async def test_a_body_is_sent_in_its_framing(
    connection: Connection, upstream: ResponseHead, is_http_10: bool, body: bytes
) -> None:
    """Each chunk stays a chunk of its own, so that an event is not split or joined."""
    response = connection.response(is_http_10=is_http_10)
    response.send_head(upstream)
    response.body_chunks([b"ab"])
    response.body_chunks([b"c", b"de"])
    response.end([])
    assert (await connection.received()).partition(b"\r\n\r\n")[2] == body


@pytest.mark.parametrize(
    ("is_http_10", "expected"),
    [(False, b"0\r\nX-T: 1\r\nx-t: 2\r\n\r\n"), (True, b"")],
)
async def test_trailers_are_sent_in_chunked_framing_only(
    connection: Connection, is_http_10: bool, expected: bytes
) -> None:
    """HTTP/1.0 has no place for them."""
    response = connection.response(is_http_10=is_http_10)
    response.send_head(head(is_chunked=True))
    response.end([(b"X-T", b"1"), (b"x-t", b"2")])
    assert (await connection.received()).partition(b"\r\n\r\n")[2] == expected


async def test_the_head_waits_for_the_first_chunk(connection: Connection) -> None:
    """They are one segment instead of two."""
    response = connection.response()
    response.send_head(head(length=2))
    assert connection.transport.get_write_buffer_size() == 0
    response.body_chunks([b"ok"])
    response.flush_head()
    assert (await connection.received()).endswith(DATE + b"\r\nok")


async def test_an_upstream_s_date_is_kept(connection: Connection) -> None:
    """No second one is added."""
    response = connection.response()
    response.send_head(head(200, (b"dATE", b"then"), length=0))
    response.flush_head()
    assert values(await connection.received(), b"date") == [b"then"]


async def test_the_relay_s_fields_stand_behind_the_upstream_s(
    connection: Connection,
) -> None:
    """They are attached last."""
    response = connection.response()
    response.send_head(
        head(200, (b"X-A", b"1"), length=0), b"x-bearerd-recovery: reload\r\n"
    )
    response.flush_head()
    received = await connection.received()
    assert received.index(b"X-A: 1") < received.index(b"x-bearerd-recovery: reload")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFound("nothing here"), 404),
        (ClientKeyInvalid("not known"), 401),
        (LoginRequired("run `bearerd login`", reason="expired"), 401),
        (AuthorityUnavailable("later", retry_after_seconds=7), 503),
        (UpstreamTimeout('silent "for" long'), 504),
        (BearerdError("failed"), 500),
    ],
)
async def test_an_error_has_openai_s_shape_and_bearerd_s_mark(
    connection: Connection, error: BearerdError, code: int
) -> None:
    """A 401 has a challenge; Retry-After is there if the time is known."""
    connection.response().send_error(error)
    sent, _, body = (await connection.received()).partition(b"\r\n\r\n")
    sent += b"\r\n\r\n"
    assert status(sent) == code
    assert values(sent, b"x-bearerd-error") == [error.code.encode()]
    assert values(sent, b"content-length") == [b"%d" % len(body)]
    assert values(sent, b"content-type") == [b"application/json"]
    assert json.loads(body) == {
        "error": {
            "message": error.message,
            "type": "bearerd_error",
            "code": error.code,
            "param": None,
        }
    }
    seconds = error.retry_after_seconds
    assert values(sent, b"retry-after") == ([b"%d" % seconds] if seconds else [])
    assert (b"www-authenticate" in names(sent)) is (code == 401)


async def test_an_error_to_a_head_request_has_no_body(connection: Connection) -> None:
    """It has the length that the body would have."""
    connection.response(is_head=True).send_error(NotFound("nothing here"))
    sent, _, body = (await connection.received()).partition(b"\r\n\r\n")
    assert body == b""
    assert b"Content-Length: " in sent


@pytest.mark.parametrize(
    ("upstream", "is_http_10", "is_reset"),
    [
        (head(length=9), False, False),
        (head(length=9), True, False),
        (head(is_chunked=True), False, False),
        (head(), False, False),
        (head(), True, True),
    ],
    ids=["length", "length 1.0", "chunked", "unframed", "unframed 1.0"],
)
async def test_a_response_that_is_broken_off_is_incomplete_to_the_client(
    connection: Connection, upstream: ResponseHead, is_http_10: bool, is_reset: bool
) -> None:
    """Too short, without a last chunk, or, if it ends with the connection, reset."""
    response = connection.response(is_http_10=is_http_10)
    response.send_head(upstream)
    response.body_chunks([b"part"])
    await connection.client.until(b"part")
    response.abort()
    assert response.must_close
    if is_reset:
        assert await connection.client.is_reset()
    else:
        assert await connection.client.rest() in (b"", b"\r\n")


@pytest.mark.parametrize(
    ("code", "is_http_10", "expected"),
    [(103, False, True), (102, False, True), (100, False, False), (103, True, False)],
)
async def test_which_interim_responses_are_passed_on(
    connection: Connection, code: int, is_http_10: bool, expected: bool
) -> None:
    """The relay answers Expect itself; HTTP/1.0 knows no interim responses."""
    connection.response(is_http_10=is_http_10).send_interim(
        ResponseHead(code, b"Soon", ((b"X", b"1"),), None, False, False)
    )
    interim = b"HTTP/1.1 %d Soon\r\nX: 1\r\n\r\n" % code
    assert await connection.received() == (interim if expected else b"")


async def test_no_interim_response_follows_the_final_head(
    connection: Connection,
) -> None:
    """It would be in the body."""
    response = connection.response()
    response.send_head(head(length=1))
    response.send_interim(ResponseHead(103, b"Late", (), None, False, False))
    response.body_chunks([b"x"])
    assert b"103" not in await connection.received()


async def test_nothing_is_written_to_a_client_that_has_left(
    connection: Connection,
) -> None:
    """And nothing fails."""
    response = connection.response()
    response.send_head(head(length=4))
    connection.transport.close()
    response.body_chunks([b"late"])
    response.end([])
    assert await connection.client.rest() == b""


async def test_a_switch_of_protocols_is_passed_on_and_leaves_the_connection(
    connection: Connection,
) -> None:
    """RFC 9110 section 7.8: Connection and Upgrade are named again."""
    response = connection.response()
    response.send_switching_protocols(
        ResponseHead(
            101,
            b"Switching Protocols",
            ((b"Sec-WebSocket-Accept", b"x"), (b"Connection", b"Upgrade")),
            length=None,
            is_chunked=False,
            has_body=False,
        ),
        b"x-bearerd-recovery: refresh\r\n",
    )
    assert response.must_close
    assert await connection.received() == (
        b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\n"
        b"x-bearerd-recovery: refresh\r\nConnection: Upgrade\r\n"
        b"Upgrade: websocket\r\n\r\n"
    )


async def test_options_are_answered_with_the_methods(connection: Connection) -> None:
    """RFC 9110 section 9.3.7."""
    connection.response().send_options()
    assert await connection.received() == (
        b"HTTP/1.1 204 No Content\r\n"
        b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n" + DATE + b"\r\n"
    )


async def test_an_error_can_end_the_connection(connection: Connection) -> None:
    """It says so, and nothing behind the request is read."""
    response = connection.response()
    response.send_error(NotFound("nothing here"), closes=True)
    assert response.must_close
    assert b"Connection: close" in await connection.client.rest()


async def test_there_is_one_final_response(connection: Connection) -> None:
    """A second one would be taken for a part of the first one's body."""
    response = connection.response()
    assert repr(response) == "<Response not started, status 0>"
    response.send_head(head(length=2))
    assert repr(response) == "<Response started, status 200>"
    with pytest.raises(AssertionError):
        response.send_error(NotFound("nothing here"))
    response.body_chunks([b"ok"])
    response.end([])
    assert repr(response) == "<Response complete, status 200>"
