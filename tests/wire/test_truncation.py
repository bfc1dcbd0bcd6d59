"""The upstream closes or resets the connection at every byte of its response.

A strict parser that is not ours (h11) judges what the client gets: it may see a
complete message only where a complete message was sent. The test never waits: each
connection ends within a limit that only a defect would reach.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

import h11
import pytest

from tests.wire.gateway import Gateway, get, request
from tests.wire.peers import HEAD_END, PATIENCE_SECONDS, Peer

BODY = b"hello world"
INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\nX-A: 1\r\n\r\n" + BODY
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n"
    b"5;ext=1\r\nhello\r\n06\r\n world\r\n0\r\nX-T: 1\r\nX-U: 2\r\n\r\n"
)
CLOSED = b"HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\n" + BODY
BODILESS = {
    "empty": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-A: 1\r\n\r\n",
    "204": b"HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n",
    "304": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 11\r\nX-A: 1\r\n\r\n",
}
FRAMED = {"length": LENGTH, "chunked": CHUNKED, "interim first": INTERIM + LENGTH}

ASKED = {
    "get": get(b"/v1/models"),
    "get in 1.0": b"GET /v1/models HTTP/1.0\r\n\r\n",
}
HEAD = request(b"HEAD", b"/v1/models")

framed = pytest.mark.parametrize("response", FRAMED.values(), ids=FRAMED.keys())
bodiless = pytest.mark.parametrize("response", BODILESS.values(), ids=BODILESS.keys())
asked_by = pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED.keys())
dying = pytest.mark.parametrize("ending", ["end", "reset"])
at_once_or_later = pytest.mark.parametrize("is_later", [False, True])


@dataclass(frozen=True)
class ClientView:
    """What the client's parser made of what it received. `status` is 0 without a
    response.
    """

    status: int
    body: bytes
    is_whole: bool
    is_ours: bool


def head_size(response: bytes) -> int:
    """Return the offset at which the body of the final response begins."""
    past_interim = len(INTERIM) if response.startswith(INTERIM) else 0
    return response.index(HEAD_END, past_interim) + len(HEAD_END)


class StrictClient:
    """A client that reads one response with h11."""

    def __init__(self, asked: bytes) -> None:
        self._parser = h11.Connection(h11.CLIENT)
        method = asked.split(b" ", 1)[0]
        self._parser.send(
            h11.Request(method=method, target="/", headers=[("Host", "x")])
        )
        self._parser.send(h11.EndOfMessage())
        self._status = 0
        self._body = b""
        self._is_ours = False
        self._is_whole = False

    async def head(self, client: Peer) -> None:
        """Read until the final response has begun."""
        while not self._status and await self._more(client):
            self._take()

    async def end(self, client: Peer) -> ClientView:
        """Read until the response is complete, or the connection has ended."""
        while not self._is_whole and await self._more(client):
            self._take()
        self._take()
        return ClientView(self._status, self._body, self._is_whole, self._is_ours)

    async def _more(self, client: Peer) -> bool:
        """Read once; the parser sees an orderly close, and not a reset."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                part = await client.reader.read(1 << 16)
        except ConnectionResetError:
            return False
        self._parser.receive_data(part)
        return bool(part)

    def _take(self) -> None:
        """Handle the parser's events."""
        with suppress(h11.RemoteProtocolError):
            while not self._is_whole:
                match self._parser.next_event():
                    case h11.Response() as head:
                        self._status = head.status_code
                        names = {name for name, _ in head.headers}
                        self._is_ours = b"x-bearerd-error" in names
                    case h11.Data() as part:
                        self._body += bytes(part.data)
                    case h11.EndOfMessage():
                        self._is_whole = True
                    case h11.InformationalResponse():
                        pass
                    case _:
                        return


async def truncate(
    gateway: Gateway, asked: bytes, beginning: bytes, ending: str, *, is_later: bool
) -> ClientView:
    """Send *beginning* and close; return what the client made of it.

    *is_later* closes after the client has seen the head.
    """
    client, peer, _ = await gateway.asked(asked)
    if beginning:
        await peer.send(beginning)
    reading = StrictClient(asked)
    if is_later:
        await reading.head(client)
    peer.reset() if ending == "reset" else peer.close()
    seen = await reading.end(client)
    await client.leave()
    await peer.leave()
    return seen


OURS = (502, True, True)


def verdict(seen: ClientView) -> tuple[int, bool, bool]:
    """Return what identifies a response of our own."""
    return seen.status, seen.is_whole, seen.is_ours


@framed
@asked_by
@dying
async def test_a_response_truncated_in_its_head_is_502(
    gateway: Gateway, response: bytes, asked: bytes, ending: str
) -> None:
    """At every byte of the head: no part of it is ever forwarded."""
    for cut in range(head_size(response)):
        seen = await truncate(gateway, asked, response[:cut], ending, is_later=False)
        assert verdict(seen) == OURS, cut


@framed
@asked_by
@at_once_or_later
async def test_a_response_truncated_in_its_body_is_forwarded_so_far(
    gateway: Gateway, response: bytes, asked: bytes, is_later: bool
) -> None:
    """At every byte of body, framing and trailers: it never looks complete."""
    for cut in range(head_size(response), len(response)):
        seen = await truncate(gateway, asked, response[:cut], "end", is_later=is_later)
        assert (seen.status, seen.is_whole, seen.is_ours) == (200, False, False), cut
        assert BODY.startswith(seen.body), cut
        if b"chunked" not in response and b"1.0" not in asked:
            assert seen.body == response[head_size(response) : cut], cut


@framed
@asked_by
@at_once_or_later
async def test_a_response_reset_in_its_body_never_looks_complete(
    gateway: Gateway, response: bytes, asked: bytes, is_later: bool
) -> None:
    """At every byte of it; a reset may overtake the bytes that were sent before it."""
    for cut in range(head_size(response), len(response)):
        seen = await truncate(
            gateway, asked, response[:cut], "reset", is_later=is_later
        )
        if not seen.is_ours:
            assert (seen.status, seen.is_whole) == (200, False), cut
            assert BODY.startswith(seen.body), cut
        else:
            assert verdict(seen) == OURS, cut
            assert not is_later, cut


@asked_by
@at_once_or_later
async def test_a_close_delimited_body_ends_with_the_connection(
    gateway: Gateway, asked: bytes, is_later: bool
) -> None:
    """At every byte of it: the close is its only end, and it is forwarded."""
    for cut in range(head_size(CLOSED), len(CLOSED) + 1):
        seen = await truncate(gateway, asked, CLOSED[:cut], "end", is_later=is_later)
        assert (seen.status, seen.is_whole) == (200, True), cut
        assert seen.body == CLOSED[head_size(CLOSED) : cut], cut


@asked_by
@at_once_or_later
async def test_a_close_delimited_body_that_is_reset_never_looks_complete(
    gateway: Gateway, asked: bytes, is_later: bool
) -> None:
    """At every byte of it, the last one too: a reset is not the end of a body."""
    for cut in range(head_size(CLOSED), len(CLOSED) + 1):
        seen = await truncate(gateway, asked, CLOSED[:cut], "reset", is_later=is_later)
        if is_later or not seen.is_ours:
            assert (seen.status, seen.is_whole) == (200, False), cut
        else:
            assert verdict(seen) == OURS, cut


@asked_by
@dying
async def test_a_close_delimited_response_truncated_in_its_head_is_502(
    gateway: Gateway, asked: bytes, ending: str
) -> None:
    """At every byte of the head: only a body can end with the connection."""
    for cut in range(head_size(CLOSED)):
        seen = await truncate(gateway, asked, CLOSED[:cut], ending, is_later=False)
        assert verdict(seen) == OURS, cut


@bodiless
@asked_by
@dying
async def test_a_response_without_a_body_is_complete_after_its_head(
    gateway: Gateway, response: bytes, asked: bytes, ending: str
) -> None:
    """Before that it is a 502, at every byte."""
    for cut in range(len(response)):
        seen = await truncate(gateway, asked, response[:cut], ending, is_later=False)
        assert verdict(seen) == OURS, cut
    seen = await truncate(gateway, asked, response, ending, is_later=True)
    assert (seen.status, seen.body, seen.is_whole) == (int(response[9:12]), b"", True)


@pytest.mark.parametrize("response", [LENGTH, CHUNKED, CLOSED])
@dying
async def test_a_response_to_head_is_complete_after_its_head(
    gateway: Gateway, response: bytes, ending: str
) -> None:
    """Whatever its fields say about a body; before that it is a 502, at every byte."""
    size = head_size(response)
    for cut in range(size):
        seen = await truncate(gateway, HEAD, response[:cut], ending, is_later=False)
        assert verdict(seen) == (502, True, True), cut
    seen = await truncate(gateway, HEAD, response[:size], ending, is_later=True)
    assert (seen.status, seen.body, seen.is_whole) == (200, b"", True)


async def test_the_complete_response_is_complete(gateway: Gateway) -> None:
    """The other tests are compared with this one."""
    for response in (*FRAMED.values(), *BODILESS.values()):
        for asked in ASKED.values():
            seen = await truncate(gateway, asked, response, "end", is_later=True)
            body = BODY if response in FRAMED.values() else b""
            status = 200 if response in FRAMED.values() else int(response[9:12])
            assert seen == ClientView(status, body, is_whole=True, is_ours=False)
