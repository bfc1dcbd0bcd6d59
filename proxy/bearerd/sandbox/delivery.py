"""Responses with a faulty delivery: reset, cut, slow or without an end.

They are written to the transport, since aiohttp would complete them.
"""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable

from aiohttp import web

RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # linger on, 0 s: close() sends RST


def reset_connection(request: web.BaseRequest) -> None:
    """Reset the client's connection (RST) instead of closing it (FIN)."""
    transport = request.transport
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    transport.abort()


def send_cut(
    request: web.BaseRequest, message: bytes, *, after_bytes: int, resets: bool
) -> None:
    """Send the first `after_bytes` of a message and close the connection.

    With `resets` the connection is reset, and the client may lose bytes that it has not
    read yet.
    """
    if request.transport is None:
        return
    request.transport.write(message[:after_bytes])
    if resets:
        reset_connection(request)
    else:
        request.transport.close()


async def send_slowly(
    request: web.BaseRequest,
    message: bytes,
    *,
    interval_seconds: float,
    sleep: Callable[[float], Awaitable[None]],
) -> None:
    """Send a message byte by byte, and close the connection after it."""
    transport = request.transport
    if transport is None:
        return
    for position in range(len(message)):
        if position:
            await sleep(interval_seconds)
        if transport.is_closing():
            return
        transport.write(message[position : position + 1])
    transport.close()


async def send_without_end(request: web.BaseRequest, message: bytes) -> None:
    """Send a message and keep the connection open until the sandbox stops."""
    if request.transport is not None:
        request.transport.write(message)
    await asyncio.get_running_loop().create_future()


def as_message(response: web.Response, date: str, *, is_chunked: bool = False) -> bytes:
    """Return the bytes of a response on the wire (RFC 9112 section 2.1).

    With `is_chunked` the body is one chunk, and the last chunk is missing.
    """
    body = response.body if isinstance(response.body, bytes) else b""
    fields = {"Date": date, **response.headers, "Connection": "close"}
    if is_chunked:
        fields["Transfer-Encoding"] = "chunked"
        body = b"%x\r\n%b\r\n" % (len(body), body)
    else:
        fields["Content-Length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    status_line = f"HTTP/1.1 {response.status} {response.reason}\r\n"
    return f"{status_line}{head}\r\n".encode("latin-1") + body
