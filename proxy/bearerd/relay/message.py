"""The values that one exchange passes around: bytes as they came, frozen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Field: TypeAlias = tuple[bytes, bytes]
Fields: TypeAlias = tuple[Field, ...]
"""Field lines in the order they came: name as spelled, value without outer blanks."""


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """An upstream answer up to its body (RFC 9112 section 4).

    `length` is the Content-Length, or None. `is_chunked` and `length` are never both
    set. A body with neither ends where the connection does.
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


def declared_length(fields: Fields) -> int | None:
    """Return the one Content-Length in *fields*, or None if there is none.

    Raises:
        ValueError: there are several that differ, or one that is no number
            (RFC 9112 section 6.3, item 5).
    """
    lengths = {value for name, value in fields if name.lower() == b"content-length"}
    if not lengths:
        return None
    (length,) = lengths  # ValueError if several
    if not length.isdigit():
        message = "Content-Length is no number"
        raise ValueError(message)
    return int(length)


def codings(fields: Fields) -> list[bytes]:
    """Return the transfer codings in order, in lower case (RFC 9112 section 6.1)."""
    return [
        coding.strip().lower()
        for name, value in fields
        if name.lower() == b"transfer-encoding"
        for coding in value.split(b",")
    ]
