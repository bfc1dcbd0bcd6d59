"""The client's request as the relay sees it: values taken from aiohttp's server once."""

from __future__ import annotations

import re
from dataclasses import dataclass

from aiohttp import HttpVersion10, HttpVersion11, web

from bearerd.errors import RequestMalformed
from bearerd.relay.body import BodyReader
from bearerd.relay.headers import connection_options
from bearerd.relay.message import WEBSOCKET, Fields

LENGTH_LIMIT = 1 << 63
"""Where other parsers begin to count from zero again."""

HOPS = re.compile(rb"0*[1-9][0-9]{0,8}")
"""A number of hops that can be counted down; more than nine digits say nothing."""


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """One request. `reader` is None when it has no body.

    `length` is the Content-Length, None for a chunked body.
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
    """Return what the listener's server has parsed. aiohttp keeps field lines raw.

    Raises:
        RequestMalformed: it is in a version or a framing that aiohttp alone accepts.
    """
    if request.version not in (HttpVersion10, HttpVersion11):
        message = "HTTP/1.1 and HTTP/1.0 are spoken here, and no other version"
        raise RequestMalformed(message)
    fields = request.raw_headers
    is_http_10 = request.version == HttpVersion10
    reader = request.content if request.can_read_body else None
    length = None
    expects_continue = upgrades = is_last_hop = False
    for name, value in fields:
        match name.lower():
            case b"content-length":
                length = int(value)  # the server has checked that it is a number
                if length >= LENGTH_LIMIT:
                    message = "no body is that long"
                    raise RequestMalformed(message)
            case b"transfer-encoding":
                # RFC 9112 section 6.1: 1.0 knows none; and nobody codes but in chunks.
                if is_http_10 or value.lower() != b"chunked":
                    message = (
                        "no transfer coding but chunked is served, and none in 1.0"
                    )
                    raise RequestMalformed(message)
                length = 0 if reader is None else None
            case b"upgrade":
                upgrades = value.strip().lower() == WEBSOCKET
            case b"max-forwards":
                is_last_hop = value == b"0"
            case b"expect":
                expects_continue = value.lower() == b"100-continue"
            case _:
                pass
    return ClientRequest(
        method=request.method,
        target=request.raw_path.encode("utf-8", "surrogateescape"),
        fields=_one_hop_less(fields) if request.method == "OPTIONS" else fields,
        is_http_10=is_http_10,
        keeps_alive=request.keep_alive,
        reader=reader,
        length=length,
        # RFC 9110 section 10.1.1: a 1.0 client cannot wait for it.
        expects_continue=expects_continue and not is_http_10,
        is_last_hop=is_last_hop,
        # RFC 9110 section 7.8: a server ignores it in a 1.0 request.
        asks_upgrade=(
            upgrades
            and not is_http_10
            and reader is None
            and b"upgrade" in connection_options(fields)
        ),
    )


def _one_hop_less(fields: Fields) -> Fields:
    """Return *fields* with Max-Forwards counted down (RFC 9110 section 7.6.2)."""
    return tuple(
        (name, b"%d" % (int(value) - 1))
        if name.lower() == b"max-forwards" and HOPS.fullmatch(value)
        else (name, value)
        for name, value in fields
    )
