"""A listening socket with a handler, on aiohttp's runners.

`stop` does not wait for requests in progress but cancels them, since the sandbox holds
and hangs calls on purpose.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from aiohttp import web

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

LINGER_SECONDS = 0.05  # for an orderly close of idle keep-alive connections
FIELD_LIMIT_BYTES = 65536  # aiohttp's 8190 is less than real tokens and metadata need


class InFlight:
    """Owns the set of running handler tasks."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[object]] = set()

    @contextmanager
    def track(self) -> Iterator[None]:
        """Add the current task to the set within the block."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - handlers run in tasks
        self._tasks.add(task)
        try:
            yield
        finally:
            self._tasks.discard(task)

    async def cancel(self) -> None:
        """Cancel all running tasks and wait until they have ended."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Listener:
    """Owns one listening socket and its connections.

    With `cancels_on_disconnect` a handler is cancelled when its client disconnects.
    """

    def __init__(self, handler: Handler, *, cancels_on_disconnect: bool) -> None:
        self._in_flight = InFlight()

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            with self._in_flight.track():
                return await handler(request)

        server = web.Server(
            handle,
            handler_cancellation=cancels_on_disconnect,
            auto_decompress=False,
            access_log=None,
            max_line_size=FIELD_LIMIT_BYTES,
            max_field_size=FIELD_LIMIT_BYTES,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=LINGER_SECONDS)

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port; 0 lets the system choose one."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Close the socket, cancel running handlers, and close all connections."""
        for site in list(self._runner.sites):
            await site.stop()
        await self._in_flight.cancel()
        await self._runner.cleanup()
