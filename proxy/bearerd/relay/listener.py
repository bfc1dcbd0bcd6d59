"""Where clients come in: one server for each address, with the policy of that address.

A refusal to listen becomes one line that names the address and the reason.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from bearerd.address import Address
from bearerd.errors import StartError
from bearerd.relay.access import ListenerRules
from bearerd.relay.client.connection import ClientServer
from bearerd.relay.handler import RelayHandler

BACKLOG = 1024
"""Agents start in swarms; the kernel's own limit cuts it down where that is lower."""

ABORT_SECONDS = 0.2
"""How long a handler that is broken off may take to see it. 0 would mean for ever."""

UNIX_MODE = 0o600
"""Whoever may open the socket may use the login, if no key is asked for."""


class Listener:
    """Owns the listening sockets, and every client's connection."""

    def __init__(self, relay: RelayHandler, *, connection_limit: int) -> None:
        self._relay = relay
        self._connection_limit = connection_limit
        self._servers: list[tuple[asyncio.Server, ClientServer]] = []
        self._unix_paths: list[Path] = []
        self.addresses: tuple[Address, ...] = ()

    async def open(self, wanted: Sequence[tuple[Address, ListenerRules]]) -> None:
        """Listen on every address, or on none.

        Raises:
            StartError: one of them cannot be had.
        """
        for address, rules in wanted:
            try:
                bound = await self._open(address, rules)
            except OSError as error:
                self._stop_listening()
                raise _refused(address, error) from error
            self.addresses += (bound,)

    async def close(self, drain_seconds: float, hurry: asyncio.Event | None) -> int:
        """Take no new request, let those under way end, and close.

        *hurry* ends the waiting early. Return how many had to be broken off.
        """
        self._stop_listening()
        self._relay.is_draining = True
        for _, clients in self._servers:
            clients.close_idle()
        ends: list[asyncio.Task[Any]] = [asyncio.create_task(self._relay.drained())]
        if hurry is not None:
            ends.append(asyncio.create_task(hurry.wait()))
        await asyncio.wait(
            ends, timeout=drain_seconds, return_when=asyncio.FIRST_COMPLETED
        )
        for end in ends:
            end.cancel()
        aborted = self._relay.requests_in_flight
        for _, clients in self._servers:
            await clients.shutdown(ABORT_SECONDS)
        return aborted

    def _stop_listening(self) -> None:
        for server, _ in self._servers:
            server.close()
        for path in self._unix_paths:
            path.unlink(missing_ok=True)
        self._unix_paths.clear()

    async def _open(self, address: Address, rules: ListenerRules) -> Address:
        loop = asyncio.get_running_loop()

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            return await self._relay.handle(rules, request)

        clients = ClientServer(handle, self._relay.date, self._connection_limit)
        if address.kind == "unix":
            path = Path(address.path)
            _clear_stale(path)
            server = await loop.create_unix_server(clients, str(path), backlog=BACKLOG)
            path.chmod(UNIX_MODE)  # noqa: ASYNC240 - before anybody is served
            self._unix_paths.append(path)
            bound = address
        else:
            server = await loop.create_server(
                clients, address.host, address.port, backlog=BACKLOG
            )
            port = server.sockets[0].getsockname()[1]
            bound = Address("tcp", host=address.host, port=port)
        self._servers.append((server, clients))
        return bound


def _clear_stale(path: Path) -> None:
    """Remove a socket that nobody listens on any more; raise if somebody does."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(
                errno.EEXIST, "a file that is no socket is in the way"
            )
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _refused(address: Address, error: OSError) -> StartError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    if error.errno == errno.EADDRINUSE:
        return StartError(
            f"cannot listen on {address}: {reason.lower()}; is bearerd running already "
            "(`bearerd status`)? Otherwise choose another address with `listen`"
        )
    return StartError(
        f"cannot listen on {address}: {reason.lower()}; choose another address with "
        "`listen`"
    )
