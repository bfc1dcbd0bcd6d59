"""One client's connection: what it refuses, its limits, and what it needs of aiohttp."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web, web_protocol
from aiohttp.http_exceptions import BadHttpMessage, HttpProcessingError, LineTooLong

from bearerd.errors import (
    BearerdError,
    FieldsTooLarge,
    NotFound,
    RequestMalformed,
    TargetTooLong,
)
from bearerd.relay.client.connection import (
    FIELD_LIMIT_BYTES,
    HEAD_LIMIT_BYTES,
    LINE_LIMIT_BYTES,
    AlreadySent,
    ClientConnection,
    client_error,
)
from bearerd.relay.client.date import DateField
from bearerd.relay.client.server import ClientServer
from tests.wire.peers import PATIENCE_SECONDS, Peer, status, values

GET = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /v1/x HTTP/1.1\r\nHost: localhost\r\n"
RESPONSE = b"HTTP/1.1 204 No Content\r\n\r\n"

PRIVATE_PARTS = [
    (web_protocol, "_ErrInfo"),
    (web.RequestHandler, "_waiter"),
    (web.RequestHandler, "_messages"),
    (web.RequestHandler, "_current_request"),
    (web.RequestHandler, "_lingering_time"),
    (web.StreamResponse, "_keep_alive"),
]


@pytest.mark.parametrize(
    ("owner", "name"), PRIVATE_PARTS, ids=[name for _, name in PRIVATE_PARTS]
)
def test_aiohttp_has_the_private_parts_that_the_connection_needs(
    owner: object, name: str
) -> None:
    """A release of aiohttp without one of them fails here, by its name."""
    assert hasattr(owner, name)


class Server:
    """A server on loopback whose handler a test chooses, and its connections."""

    def __init__(self) -> None:
        self.connections: list[ClientConnection] = []
        self.arrivals: asyncio.Queue[ClientConnection] = asyncio.Queue()
        self.errors: list[BaseException] = []
        self.may_respond = asyncio.Event()
        self.may_respond.set()
        self.clients = ClientServer(self.handle, DateField(lambda: 0.0), 2)
        self.port = 0

    async def arrived(self) -> None:
        """Wait until another request is in the handler."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.arrivals.get()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Read the body, and answer 204 when the test lets it."""
        connection = request.protocol
        assert isinstance(connection, ClientConnection)
        self.connections.append(connection)
        connection.request_started()
        self.arrivals.put_nowait(connection)
        try:
            await request.read()
            await self.may_respond.wait()
        except (web.RequestPayloadError, HttpProcessingError) as error:
            self.errors.append(error)
            raise NotFound("the body is broken") from error
        finally:
            connection.request_finished()
        assert request.transport is not None
        request.transport.write(RESPONSE)
        return AlreadySent(keeps_alive=True)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A server that accepts connections."""
    made = Server()
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(made.clients, "127.0.0.1", 0)
    made.port = listening.sockets[0].getsockname()[1]
    yield made
    listening.close()
    await made.clients.shutdown(0.1)


async def test_a_response_that_was_written_is_not_written_again(
    server: Server,
) -> None:
    """The connection goes on behind it."""
    client = await Peer.connect(server.port)
    for _ in range(2):
        await client.send(GET)
        assert await client.head() == RESPONSE
    await client.leave()


async def test_bytes_that_are_no_request_are_refused_without_an_echo(
    server: Server,
) -> None:
    """400 with the mark, and the connection ends; the handler is not called."""
    client = await Peer.connect(server.port)
    await client.send(b"GET /secret HTTP/1.1\r\nHost: a\r\nsecret\r\n\r\n")
    response = await client.rest()
    assert status(response.partition(b"\r\n\r\n")[0] + b"\r\n\r\n") == 400
    assert b"x-bearerd-error: request_malformed" in response
    assert b"secret" not in response
    assert server.connections == []
    await client.leave()


async def test_an_error_of_the_handler_is_the_response(server: Server) -> None:
    """A body whose framing breaks ends the wait for it with an error."""
    client = await Peer.connect(server.port)
    await client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
    await server.arrived()
    await client.send(b"x\r\n")
    response = await client.rest()
    assert b"x-bearerd-error: not_found" in response
    assert len(server.errors) == 1
    await client.leave()


async def test_one_connection_too_many_is_refused(server: Server) -> None:
    """503 with Retry-After; the others are still served."""
    first, second = [await Peer.connect(server.port) for _ in range(2)]
    await first.send(GET)
    assert await first.head() == RESPONSE
    third = await Peer.connect(server.port)
    head, _ = await third.response()
    assert (status(head), values(head, b"retry-after")) == (503, [b"1"])
    assert await third.gone() == b""
    await first.send(GET)
    assert await first.head() == RESPONSE
    for peer in (first, second, third):
        await peer.leave()


async def test_a_head_that_grows_past_its_limit_is_refused(server: Server) -> None:
    """Before it is complete, so that it occupies no more memory."""
    client = await Peer.connect(server.port)
    line = b"X-Filler: %b\r\n" % (b"x" * 1000)
    await client.send(GET[:-2] + line * (HEAD_LIMIT_BYTES // len(line) + 1))
    head, _ = await client.response()
    assert (status(head), values(head, b"connection")) == (431, [b"close"])
    await client.leave()


async def test_closing_idle_connections_spares_the_busy_ones(server: Server) -> None:
    """A request in flight gets its response."""
    idle, busy = [await Peer.connect(server.port) for _ in range(2)]
    await idle.send(GET)
    assert await idle.head() == RESPONSE
    server.may_respond.clear()
    await busy.send(POST + b"Content-Length: 1\r\n\r\n")
    await server.arrived()
    await server.arrived()
    assert [connection.is_busy for connection in server.connections] == [False, True]
    server.clients.close_idle()
    assert await idle.gone() == b""
    await busy.send(b"x")
    server.may_respond.set()
    assert await busy.head() == RESPONSE
    for peer in (idle, busy):
        await peer.leave()


@pytest.mark.parametrize(
    ("raised", "suggested", "expected"),
    [
        (NotFound("nothing here"), 500, NotFound),
        (LineTooLong(b"GET", LINE_LIMIT_BYTES), 400, TargetTooLong),
        (LineTooLong(b"X", FIELD_LIMIT_BYTES), 400, FieldsTooLarge),
        (BadHttpMessage("Too many headers received"), 400, FieldsTooLarge),
        (BadHttpMessage("Invalid method"), 400, RequestMalformed),
        (None, 400, RequestMalformed),
        (ValueError("secret"), 500, BearerdError),
        (None, 504, BearerdError),
    ],
)
def test_the_client_s_error_follows_from_what_was_raised(
    raised: BaseException | None, suggested: int, expected: type[BearerdError]
) -> None:
    """Its message is bearerd's own, and repeats no bytes of the request."""
    error = client_error(raised, suggested)
    assert type(error) is expected
    assert "secret" not in error.message
