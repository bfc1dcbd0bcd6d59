"""The values that one exchange passes around: bytes as they came, frozen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Field: TypeAlias = tuple[bytes, bytes]
Fields: TypeAlias = tuple[Field, ...]
"""Field lines in the order they came: name as spelled, value without outer blanks."""

SWITCHING_PROTOCOLS = 101

WEBSOCKET = b"websocket"
"""The one protocol that a request may upgrade to, in the spelling of RFC 6455."""


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """A response of the upstream up to its body (RFC 9112 section 4).

    `length` is the Content-Length, or None; `is_chunked` and `length` are never both
    set. Both describe the body that a GET would have, so that a response without a body
    (`has_body` is False) may have them too. A body with neither ends with the connection.
    """

    status: int
    reason: bytes
    fields: Fields
    length: int | None
    is_chunked: bool
    has_body: bool

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of every line of a field; *name* in lower case."""
        return [value for field, value in self.fields if field.lower() == name]
