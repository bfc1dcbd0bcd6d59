"""Messages as whoever reads strictly sees them: where each ends, and what it says.

Used for what a proxy has sent upstream, and for what it has answered. Nothing of
bearerd's own is used here, so that no mistake of a parser is made twice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

Pair: TypeAlias = tuple[bytes, bytes]

HEAD_END = b"\r\n\r\n"
CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})\r\n")


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `framing` is "none", "chunked", "closed" or "length N".

    `raw` is all of it, as it came. `is_whole` is False for one whose end is missing.
    """

    start: bytes
    fields: tuple[Pair, ...]
    framing: str
    body: bytes
    trailers: bytes
    is_whole: bool
    raw: bytes

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of a field's lines; *name* in lower case."""
        return [value for field, value in self.fields if field.lower() == name]


def take(data: bytes, *, may_have_body: bool, ends_with_connection: bool) -> Message:
    """Return the first message of *data*, as far as it is there.

    *ends_with_connection* says whether a body without framing goes on to the end, as an
    response's does, or is none, as a request's is.
    """
    head, mark, rest = data.partition(HEAD_END)
    start, *lines = head.split(b"\r\n")
    fields = tuple(_pair(line) for line in lines)
    if not mark:
        return Message(start, fields, "none", b"", b"", is_whole=False, raw=data)
    lengths = [value for name, value in fields if name.lower() == b"content-length"]
    codings = [value for name, value in fields if name.lower() == b"transfer-encoding"]
    framing, body, trailers, end = "none", b"", b"", 0
    is_whole = True
    if not may_have_body:
        pass
    elif codings:
        framing = "chunked" if not lengths else "chunked and a length"
        body, trailers, end, is_whole = _chunks(rest)
    elif lengths:
        framing = f"length {lengths[0].decode('latin-1')}"
        if len(lengths) > 1 or not lengths[0].isdigit():
            return Message(start, fields, "ambiguous", rest, b"", False, data)
        end = int(lengths[0])
        body, is_whole = rest[:end], len(rest) >= end
    elif ends_with_connection:
        framing, body, end = "closed", rest, len(rest)
    raw = data[: len(head) + len(mark) + end] if is_whole else data
    return Message(start, fields, framing, body, trailers, is_whole=is_whole, raw=raw)


def _pair(line: bytes) -> Pair:
    name, _, value = line.partition(b":")
    return name, value.strip(b" \t")


def _chunks(data: bytes) -> tuple[bytes, bytes, int, bool]:
    """Return body, trailer section, length in bytes, and whether its end is there."""
    body, at = b"", 0
    while True:
        match = CHUNK_SIZE.match(data, at)
        if match is None:
            return body, b"", at, False
        size = int(match[1], 16)
        at = match.end()
        if size == 0:
            break
        body += data[at : at + size]
        at += size
        if data[at : at + 2] != b"\r\n":
            return body, b"", at, False
        at += 2
    if data[at : at + 2] == b"\r\n":
        return body, b"", at + 2, True
    end = data.find(HEAD_END, at)
    if end < 0:
        return body, b"", at, False
    return body, data[at : end + 2], end + 4, True
