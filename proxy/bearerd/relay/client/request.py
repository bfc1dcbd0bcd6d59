"""The client's request as the relay sees it: values, taken once from aiohttp's request."""

from __future__ import annotations

import re
from dataclasses import dataclass

from aiohttp import HttpVersion, HttpVersion10, HttpVersion11, web

from bearerd.errors import RequestMalformed
from bearerd.relay.body import BodyReader
from bearerd.relay.headers import connection_options
from bearerd.relay.message import WEBSOCKET, Fields

LENGTH_LIMIT = 1 << 63
"""From here on a Content-Length overflows the signed 64-bit number of other parsers."""

HOPS = re.compile(rb"0*[1-9][0-9]{0,8}")
"""A Max-Forwards that can be decremented; one of more digits limits nothing."""


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """One request.

    `target` is the request target as sent, `fields` all field lines. `reader` is None if
    there is no body; `length` is the Content-Length, None for a chunked body. A length of
    0 without a body is one that the client declared. `is_last_hop` is True for an OPTIONS
    whose Max-Forwards is 0.
    """

    method: str
    target: bytes
    fields: Fields
    is_http_10: bool
    keeps_alive: bool
    reader: BodyReader | None
    length: int | None
    expects_continue: bool
    asks_upgrade: bool
    is_last_hop: bool


def read_request(request: web.BaseRequest) -> ClientRequest:
    """Return the values of a request that aiohttp has parsed.

    Raises:
        RequestMalformed: aiohttp accepts its version or its framing, and the relay not.
    """
    is_http_10 = _is_http_10(request.version)
    is_options = request.method == "OPTIONS"
    fields = request.raw_headers  # as bytes, in order, as spelled
    reader = request.content if request.can_read_body else None
    length = None
    expects_continue = names_websocket = False
    for name, value in fields:
        match name.lower():
            case b"content-length":
                length = _length(value)
            case b"transfer-encoding":
                _check_coding(value, is_http_10=is_http_10)
                length = 0 if reader is None else None
            case b"upgrade":
                names_websocket = value.strip().lower() == WEBSOCKET
            case b"expect":
                expects_continue = value.lower() == b"100-continue"
            case _:
                pass
    may_upgrade = names_websocket and not is_http_10 and reader is None
    return ClientRequest(
        method=request.method,
        target=request.raw_path.encode("utf-8", "surrogateescape"),
        fields=_decrement_hops(fields) if is_options else fields,
        is_http_10=is_http_10,
        keeps_alive=request.keep_alive,
        reader=reader,
        length=length,
        # RFC 9110 section 10.1.1: a server ignores it in a 1.0 request.
        expects_continue=expects_continue and not is_http_10,
        # RFC 9110 section 7.8: Connection must name it, and a 1.0 request cannot ask.
        asks_upgrade=may_upgrade and b"upgrade" in connection_options(fields),
        is_last_hop=is_options and _has_no_hops_left(fields),
    )


def _is_http_10(version: HttpVersion) -> bool:
    """Return True for HTTP/1.0, False for HTTP/1.1; other versions are not served."""
    if version not in (HttpVersion10, HttpVersion11):
        message = "only HTTP/1.1 and HTTP/1.0 are served"
        raise RequestMalformed(message)
    return version == HttpVersion10


def _length(value: bytes) -> int:
    """Return the number in a Content-Length; aiohttp has checked that it is one."""
    length = int(value)
    if length >= LENGTH_LIMIT:
        message = "the Content-Length is too large"
        raise RequestMalformed(message)
    return length


def _check_coding(value: bytes, *, is_http_10: bool) -> None:
    """Raise unless a Transfer-Encoding is `chunked`, in a 1.1 request.

    RFC 9112 section 6.1: HTTP/1.0 has no transfer codings. No agent sends another one, and
    parsers differ on lists such as `,chunked`.
    """
    if is_http_10 or value.lower() != b"chunked":
        message = "no transfer coding but chunked is served, and none in HTTP/1.0"
        raise RequestMalformed(message)


def _has_no_hops_left(fields: Fields) -> bool:
    """Return True if a Max-Forwards is 0 (RFC 9110 section 7.6.2)."""
    return any(
        name.lower() == b"max-forwards" and value == b"0" for name, value in fields
    )


def _decrement_hops(fields: Fields) -> Fields:
    """Return *fields* with Max-Forwards decremented (RFC 9110 section 7.6.2)."""
    return tuple(
        (name, b"%d" % (int(value) - 1))
        if name.lower() == b"max-forwards" and HOPS.fullmatch(value)
        else (name, value)
        for name, value in fields
    )
