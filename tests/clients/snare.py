"""A proxy that leads nowhere: it notes who an agent wanted to talk to, and hangs up."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self


class Snare:
    """Owns the list of what was asked of it. An async context manager."""

    def __init__(self) -> None:
        self.caught: list[str] = []
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """What belongs into HTTPS_PROXY."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _take(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        asked = await reader.readline()
        self.caught.append(asked.decode(errors="replace").strip())
        writer.close()
