"""A listening socket with a handler behind it, and a quick end.

Knows aiohttp's runners; knows nothing of tokens. Rule: stopping waits for nobody. What
is under way is cancelled, since the sandbox holds and hangs calls on purpose.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from aiohttp import web

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

LINGER_SECONDS = 0.05  # for idle keep-alive connections to close in order
FIELD_LIMIT_BYTES = 65536  # aiohttp's 8190 is less than real tokens and metadata need


class InFlight:
    """Owns the set of handler tasks that are under way."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[object]] = set()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Count the current task as under way inside the block."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - handlers run in tasks
        self._tasks.add(task)
        try:
            yield
        finally:
            self._tasks.discard(task)

    async def cancel(self) -> None:
        """Cancel what is under way, and return when it is gone."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Listener:
    """Owns one listening socket and the connections made to it.

    With `cancels_on_disconnect` a handler is cancelled when its client goes away.
    """

    def __init__(self, handler: Handler, *, cancels_on_disconnect: bool) -> None:
        self._in_flight = InFlight()

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            with self._in_flight.entered():
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
        """Close the socket, cancel what is under way, close every connection."""
        for site in list(self._runner.sites):
            await site.stop()
        await self._in_flight.cancel()
        await self._runner.cleanup()
