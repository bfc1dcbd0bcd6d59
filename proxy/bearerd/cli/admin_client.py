"""A question to the daemon that runs here, by its admin listener.

With the standard library's client: it loads in a tenth of the time of a better one, and
picks up no proxy of the environment.
"""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterable
from typing import Any, Final

from bearerd.address import Address
from bearerd.json_object import json_object

RESPONSE_TIMEOUT_SECONDS: Final = 2.0
"""A daemon on this machine answers in milliseconds; one that is stuck, never."""


def ask(addresses: Iterable[Address], path: str) -> dict[str, Any] | None:
    """Return the JSON object that the daemon answers *path* with; None if none does."""
    for address in addresses:
        answer = _ask(address, path)
        if answer is not None:
            return answer
    return None


def _ask(address: Address, path: str) -> dict[str, Any] | None:
    connection = _connection(address)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        document = json_object(response.read())
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    # Another program may have the port.
    return document if response.getheader("Server") == "bearerd" else None


def _connection(address: Address) -> http.client.HTTPConnection:
    if address.kind == "unix":
        return _UnixConnection(address.path)
    # A daemon on all addresses is also on loopback.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)  # noqa: S104
    return http.client.HTTPConnection(
        host, address.port, timeout=RESPONSE_TIMEOUT_SECONDS
    )


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=RESPONSE_TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        """Connect to the path in place of a host and a port."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(RESPONSE_TIMEOUT_SECONDS)
        self.sock.connect(self._path)
