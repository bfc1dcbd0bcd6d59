"""Other parsers: what h11 and llhttp make of the same bytes."""

from __future__ import annotations

from dataclasses import dataclass

import h11
import httptools


@dataclass(frozen=True, slots=True)
class Message:
    """A message as a parser reads it: start line, fields in lower case, body."""

    start: tuple[bytes, ...]
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes


def response_by_h11(data: bytes, *, method: bytes = b"GET") -> Message | None:
    """Return the final response in *data*, behind which the connection ends.

    Return None if h11 refuses it, or if its end is missing.
    """
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    head: h11.Response | None = None
    body = b""
    try:
        connection.receive_data(data)
        connection.receive_data(b"")
        while True:
            match connection.next_event():
                case h11.Response() as response:
                    head = response
                case h11.Data() as part:
                    body += part.data
                case h11.EndOfMessage():
                    assert head is not None
                    start = (b"%d" % head.status_code,)
                    return Message(start, tuple(head.headers), body)
                case h11.InformationalResponse():
                    pass
                case _:
                    return None
    except h11.RemoteProtocolError:
        return None


def request_by_h11(data: bytes) -> tuple[Message, bytes] | None:
    """Return the request in *data* and the bytes behind it, or None if it has no end."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(data)
    request = connection.next_event()
    if not isinstance(request, h11.Request):
        assert request is h11.NEED_DATA
        return None
    body = b""
    while isinstance(event := connection.next_event(), h11.Data):
        body += event.data
    if event is h11.NEED_DATA:
        return None
    assert isinstance(event, h11.EndOfMessage)
    message = Message((request.method, request.target), tuple(request.headers), body)
    return message, bytes(connection.trailing_data[0])


class Callbacks:
    """Collects what llhttp calls back with."""

    def __init__(self) -> None:
        self.target = self.body = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.ends = 0

    def on_url(self, part: bytes) -> None:
        self.target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value))

    def on_body(self, part: bytes) -> None:
        self.body += part

    def on_message_complete(self) -> None:
        self.ends += 1


def request_by_llhttp(data: bytes) -> Message | None:
    """Return the one request in *data*, or None if it has no end."""
    parsed = Callbacks()
    parser = httptools.HttpRequestParser(parsed)
    end = len(data)
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade as switch:
        end = switch.args[0]
    assert end == len(data), "bytes are left over"
    if not parsed.ends:
        return None
    assert parsed.ends == 1
    start = (parser.get_method(), parsed.target)
    return Message(start, tuple(parsed.fields), parsed.body)
