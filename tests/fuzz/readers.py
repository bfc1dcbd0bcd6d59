"""The other readers: what h11 and llhttp make of the same bytes."""

from __future__ import annotations

from dataclasses import dataclass

import h11
import httptools


@dataclass(frozen=True, slots=True)
class Told:
    """A message as a reader tells it: its start, fields in lower case, body, trailers."""

    start: tuple[bytes, ...]
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes


def response_by_h11(data: bytes, *, method: bytes = b"GET") -> Told | None:
    """Return the final response in *data*, which ends the connection.

    None if it is refused, or if its end is missing.
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
                    return Told(start, tuple(head.headers), body)
                case h11.InformationalResponse():
                    pass
                case _:
                    return None
    except h11.RemoteProtocolError:
        return None


def request_by_h11(data: bytes) -> tuple[Told, bytes] | None:
    """Return the request in *data* and what is behind it; None if it has no end."""
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
    told = Told((request.method, request.target), tuple(request.headers), body)
    return told, bytes(connection.trailing_data[0])


class Heard:
    """Collects what llhttp calls out."""

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


def request_by_llhttp(data: bytes) -> Told | None:
    """Return the one request in *data*; None if it has no end."""
    heard = Heard()
    parser = httptools.HttpRequestParser(heard)
    end = len(data)
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade as switch:
        end = switch.args[0]
    assert end == len(data), "something is left over"
    if not heard.ends:
        return None
    assert heard.ends == 1
    start = (parser.get_method(), heard.target)
    return Told(start, tuple(heard.fields), heard.body)
