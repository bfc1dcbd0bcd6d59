"""How bytes leave a stand-in when they do not leave as HTTP wants them to."""

import socket
import struct

from aiohttp import web

RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # linger on, 0 s: close() sends RST


def cut_connection(request: web.BaseRequest) -> None:
    """Reset the client's connection (RST): no response and no orderly end (FIN)."""
    transport = request.transport
    if transport is None:
        return
    peer = transport.get_extra_info("socket")
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    transport.abort()
