"""What bearerd sends up is one request to every reader: h11 and llhttp see the same."""

from __future__ import annotations

from dataclasses import dataclass

import h11
import httptools

from tests.differential.message import Message
from tests.differential.observe import OURS, Observations
from tests.wire.parsers import IS_PYTHON_PARSER


@dataclass(frozen=True, slots=True)
class Read:
    """A request as one parser reads it; `rest` is what it takes for the next one."""

    method: bytes
    target: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes
    rest: bytes


class Heard:
    """Collects what llhttp calls out."""

    def __init__(self) -> None:
        self.target = self.body = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.messages = self.ends = 0

    def on_message_begin(self) -> None:
        self.messages += 1

    def on_url(self, part: bytes) -> None:
        self.target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value))

    def on_body(self, part: bytes) -> None:
        self.body += part

    def on_message_complete(self) -> None:
        self.ends += 1


def by_h11(data: bytes) -> Read:
    """Return what h11 reads, as a server."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(data)
    request = connection.next_event()
    assert isinstance(request, h11.Request)
    body = b""
    while isinstance(event := connection.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    return Read(
        method=request.method,
        target=request.target,
        fields=tuple((name, value) for name, value in request.headers),
        body=body,
        rest=bytes(connection.trailing_data[0]),
    )


def by_llhttp(data: bytes) -> Read:
    """Return what llhttp reads."""
    heard = Heard()
    parser = httptools.HttpRequestParser(heard)
    rest = b""
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade as switch:
        rest = data[switch.args[0] :]
    assert (heard.messages, heard.ends) == (1, 1)
    assert parser.get_http_version() == "1.1"
    return Read(
        method=parser.get_method(),
        target=heard.target,
        fields=tuple(heard.fields),
        body=heard.body,
        rest=rest,
    )


def forwarded(observations: Observations) -> list[tuple[str, Message]]:
    """Return every whole request that bearerd has sent up, with its case's name."""
    return [
        (name, message)
        for name, by_proxy in observations.items()
        for message in by_proxy[OURS].upstream
        if message.is_whole
    ]


def test_h11_and_llhttp_read_the_same_request(observations: Observations) -> None:
    """Method, target, fields and body are the same, and nothing is left over."""
    sent = forwarded(observations)
    assert len(sent) > 300
    for name, message in sent:
        if IS_PYTHON_PARSER and name.startswith("method: "):
            continue  # it takes any token; llhttp knows the registered methods
        ours = by_h11(message.raw)
        assert ours == by_llhttp(message.raw), name
        assert ours.rest == b"", name
        assert ours.body == message.body, name
        assert b" ".join((ours.method, ours.target, b"HTTP/1.1")) == message.start


def test_a_broken_request_is_broken_to_every_reader(
    observations: Observations,
) -> None:
    """Neither parser takes for whole what was broken off on its way up."""
    for name, by_proxy in observations.items():
        for message in by_proxy[OURS].upstream:
            if message.is_whole:
                continue
            heard = Heard()
            httptools.HttpRequestParser(heard).feed_data(message.raw)
            assert heard.ends == 0, name
            connection = h11.Connection(h11.SERVER)
            connection.receive_data(message.raw)
            events = [connection.next_event()]
            while isinstance(events[-1], h11.Request | h11.Data):
                events.append(connection.next_event())
            assert events[-1] is h11.NEED_DATA, name
