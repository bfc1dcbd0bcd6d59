"""What one case is: bytes from a client, bytes from an upstream, and how those end.

Rule: a case is whole in some reading, so that a proxy that reads it so answers at once.
Nothing here understands HTTP; the bytes are what they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

PATH = b"/backend-api/case"
UPGRADE = (
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",  # RFC 6455 section 1.3's own
)

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class End(Enum):
    """What the upstream does with its connection after its response."""

    KEEP = "keep"
    CLOSE = "close"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class Case:
    """One request, and the response to its first message. `name` is unique."""

    name: str
    request: bytes
    response: bytes = OK
    end: End = End.KEEP


def request(
    *lines: bytes,
    method: bytes = b"GET",
    target: bytes = PATH,
    body: bytes = b"",
) -> bytes:
    """Return a request to us with these field lines after its Host."""
    start = b"%b %b HTTP/1.1\r\nHost: localhost\r\n" % (method, target)
    return start + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


def post(*lines: bytes, body: bytes = b"") -> bytes:
    """Return a POST whose framing is all in *lines*."""
    return request(*lines, method=b"POST", body=body)


def response(*lines: bytes, start: bytes = b"200 OK", body: bytes = b"") -> bytes:
    """Return an upstream's response whose framing is all in *lines*."""
    head = b"HTTP/1.1 %b\r\n" % start
    return head + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


def spelled(data: bytes) -> str:
    """Return a short name for bytes, fit for a case's name and for reading."""
    text = data.decode("latin-1").encode("unicode_escape").decode()
    return text.replace(" ", "\\x20") if text != text.strip() else text
