"""The response toward the client: how it is framed, marked, and broken off."""

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
from bearerd.relay.client.response import DateField, Response
from bearerd.relay.message import Field, ResponseHead
from tests.wire.peers import Peer, RawUpstream, names, status, values

NOW = 784111777.0
DATE = b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"


class Line:
    """Both ends of a connection: a response is written to one and read at the other."""

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

    async def seen(self) -> bytes:
        """Return all that the client sees of it."""
        self.transport.close()
        return await self.client.rest()


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    """A real connection on loopback."""
    async with RawUpstream() as server:
        client = await Peer.connect(server.port)
        ours = await server.accept()
        yield Line(cast("asyncio.Transport", ours.writer.transport), client)
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
async def test_how_a_response_is_framed(
    line: Line, upstream: ResponseHead, is_http_10: bool, framing: bytes
) -> None:
    """By its length if it has one; else in chunks, or by the end toward 1.0."""
    response = line.response(is_http_10=is_http_10)
    response.begin(upstream)
    response.flush()
    seen = await line.seen()
    assert seen == b"HTTP/1.1 %d OK\r\n" % upstream.status + framing + DATE + b"\r\n"
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
async def test_a_body_goes_out_in_its_framing(
    line: Line, upstream: ResponseHead, is_http_10: bool, body: bytes
) -> None:
    """One chunk for each piece, so that an event stays one."""
    response = line.response(is_http_10=is_http_10)
    response.begin(upstream)
    response.body_chunks([b"ab"])
    response.body_chunks([b"c", b"de"])
    response.end([])
    assert (await line.seen()).partition(b"\r\n\r\n")[2] == body


@pytest.mark.parametrize(
    ("is_http_10", "expected"),
    [(False, b"0\r\nX-T: 1\r\nx-t: 2\r\n\r\n"), (True, b"")],
)
async def test_trailers_go_where_chunks_carry_them(
    line: Line, is_http_10: bool, expected: bytes
) -> None:
    """Toward 1.0 there is no place for them."""
    response = line.response(is_http_10=is_http_10)
    response.begin(head(is_chunked=True))
    response.end([(b"X-T", b"1"), (b"x-t", b"2")])
    assert (await line.seen()).partition(b"\r\n\r\n")[2] == expected


async def test_the_head_waits_for_the_first_piece(line: Line) -> None:
    """One segment instead of two."""
    response = line.response()
    response.begin(head(length=2))
    assert line.transport.get_write_buffer_size() == 0
    response.body_chunks([b"ok"])
    response.flush()
    assert (await line.seen()).endswith(DATE + b"\r\nok")


async def test_an_upstream_s_date_is_kept(line: Line) -> None:
    """And ours is not added to it."""
    response = line.response()
    response.begin(head(200, (b"dATE", b"then"), length=0))
    response.flush()
    assert values(await line.seen(), b"date") == [b"then"]


async def test_what_is_added_stands_behind_the_upstream_s_fields(line: Line) -> None:
    """Ours are set last."""
    response = line.response()
    response.begin(
        head(200, (b"X-A", b"1"), length=0), b"x-bearerd-recovery: reload\r\n"
    )
    response.flush()
    seen = await line.seen()
    assert seen.index(b"X-A: 1") < seen.index(b"x-bearerd-recovery: reload")


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
async def test_an_error_of_ours_has_openai_s_shape_and_our_mark(
    line: Line, error: BearerdError, code: int
) -> None:
    """With a challenge where it is a 401, and Retry-After where that is known."""
    line.response().send_error(error)
    got, _, body = (await line.seen()).partition(b"\r\n\r\n")
    got += b"\r\n\r\n"
    assert status(got) == code
    assert values(got, b"x-bearerd-error") == [error.code.encode()]
    assert values(got, b"content-length") == [b"%d" % len(body)]
    assert values(got, b"content-type") == [b"application/json"]
    assert json.loads(body) == {
        "error": {
            "message": error.message,
            "type": "bearerd_error",
            "code": error.code,
            "param": None,
        }
    }
    seconds = error.retry_after_seconds
    assert values(got, b"retry-after") == ([b"%d" % seconds] if seconds else [])
    assert (b"www-authenticate" in names(got)) is (code == 401)


async def test_an_error_for_a_head_request_has_no_body(line: Line) -> None:
    """But the length that it would have."""
    line.response(is_head=True).send_error(NotFound("nothing here"))
    got, _, body = (await line.seen()).partition(b"\r\n\r\n")
    assert body == b""
    assert b"Content-Length: " in got


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
async def test_what_is_broken_off_looks_incomplete(
    line: Line, upstream: ResponseHead, is_http_10: bool, is_reset: bool
) -> None:
    """Too short, without a last chunk, or, where neither tells, ended by a reset."""
    response = line.response(is_http_10=is_http_10)
    response.begin(upstream)
    response.body_chunks([b"part"])
    await line.client.until(b"part")
    response.abort()
    assert response.must_close
    if is_reset:
        assert await line.client.is_reset()
    else:
        assert await line.client.rest() in (b"", b"\r\n")


@pytest.mark.parametrize(
    ("code", "is_http_10", "expected"),
    [(103, False, True), (102, False, True), (100, False, False), (103, True, False)],
)
async def test_which_interim_responses_are_passed_on(
    line: Line, code: int, is_http_10: bool, expected: bool
) -> None:
    """A 100 is ours to give; 1.0 understands none."""
    line.response(is_http_10=is_http_10).interim(
        ResponseHead(code, b"Soon", ((b"X", b"1"),), None, False, False)
    )
    interim = b"HTTP/1.1 %d Soon\r\nX: 1\r\n\r\n" % code
    assert await line.seen() == (interim if expected else b"")


async def test_no_interim_response_follows_the_final_one(line: Line) -> None:
    """It would stand in the body."""
    response = line.response()
    response.begin(head(length=1))
    response.interim(ResponseHead(103, b"Late", (), None, False, False))
    response.body_chunks([b"x"])
    assert b"103" not in await line.seen()


async def test_a_client_that_has_left_is_written_nothing(line: Line) -> None:
    """And nothing fails."""
    response = line.response()
    response.begin(head(length=4))
    line.transport.close()
    response.body_chunks([b"late"])
    response.end([])
    assert await line.client.rest() == b""


def test_the_date_is_made_once_a_second() -> None:
    """And is the second's own."""
    now = NOW
    line = DateField(lambda: now)
    assert line() == DATE
    now += 0.9
    assert line() is line()
    now += 0.2
    assert line() == DATE.replace(b":37", b":38")
