"""The client's request as the relay sees it: values taken from aiohttp's server once."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import HttpVersion10, web

from proxy.relay.body import Reader
from proxy.relay.message import Fields


@dataclass(frozen=True, slots=True)
class Inbound:
    """One request. `reader` is None when it has no body.

    `length` is the Content-Length, None for a chunked body.
    """

    method: str
    target: bytes
    fields: Fields
    is_http_10: bool
    keeps_alive: bool
    reader: Reader | None
    length: int | None
    expects_continue: bool


def read(request: web.BaseRequest) -> Inbound:
    """Return what the listener's server has parsed. aiohttp keeps field lines raw."""
    fields = request.raw_headers
    reader = request.content if request.can_read_body else None
    length = None
    expects_continue = False
    for name, value in fields:
        match name.lower():
            case b"content-length":
                length = int(value)  # the server has checked it
            case b"expect":
                expects_continue = value.lower() == b"100-continue"
            case _:
                pass
    is_http_10 = request.version <= HttpVersion10
    return Inbound(
        method=request.method,
        target=request.raw_path.encode("utf-8", "surrogateescape"),
        fields=fields,
        is_http_10=is_http_10,
        keeps_alive=request.keep_alive,
        reader=reader,
        length=length,
        # RFC 9110 section 10.1.1: a 1.0 client cannot wait for it.
        expects_continue=expects_continue and not is_http_10,
    )
