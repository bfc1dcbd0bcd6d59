"""The relay's listening addresses: one server for each, with the rules of that address."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from bearerd.address import Address
from bearerd.listen import OpenListener, open_listener
from bearerd.relay.access import ListenerRules
from bearerd.relay.client.server import ClientServer
from bearerd.relay.handler import RelayHandler

ABORT_SECONDS = 0.2
"""How long a handler that is cancelled may take to end. 0 would mean for ever."""

SETTING = "listen"
"""The setting that the addresses come from."""


class Listener:
    """Owns the listening sockets, and every client's connection."""

    def __init__(self, handler: RelayHandler, *, connection_limit: int) -> None:
        self._handler = handler
        self._connection_limit = connection_limit
        self._listeners: list[OpenListener] = []
        self._servers: list[ClientServer] = []

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The addresses that are open, with the ports that the system chose."""
        return tuple(listener.address for listener in self._listeners)

    async def open(self, wanted: Sequence[tuple[Address, ListenerRules]]) -> None:
        """Listen on every address, or on none.

        Raises:
            StartError: one of them cannot be opened.
        """
        try:
            for address, rules in wanted:
                await self._open(address, rules)
        except BaseException:
            self._stop_listening()
            raise

    async def close(self, drain_seconds: float, force: asyncio.Event | None) -> int:
        """Accept no new request, let those in flight end, and close all connections.

        Wait *drain_seconds* at most, and no longer than until *force* is set. Return how
        many requests were aborted.
        """
        self._stop_listening()
        self._handler.drain()
        for server in self._servers:
            server.close_idle()
        ends: list[asyncio.Task[Any]] = [asyncio.create_task(self._handler.wait_idle())]
        if force is not None:
            ends.append(asyncio.create_task(force.wait()))
        await asyncio.wait(
            ends, timeout=drain_seconds, return_when=asyncio.FIRST_COMPLETED
        )
        for end in ends:
            end.cancel()
        aborted = self._handler.requests_in_flight
        for server in self._servers:
            await server.shutdown(ABORT_SECONDS)
        return aborted

    def _stop_listening(self) -> None:
        for listener in self._listeners:
            listener.close()

    async def _open(self, address: Address, rules: ListenerRules) -> None:
        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            return await self._handler.handle(rules, request)

        server = ClientServer(handle, self._handler.date, self._connection_limit)
        listener = await open_listener(address, server, setting=SETTING)
        self._servers.append(server)
        self._listeners.append(listener)
