"""An agent: sends requests to a relay, one or many at once, and keeps what came back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from tests.support.canary import Canary

MODELS = "/backend-api/codex/models"
RESPONSES = "/backend-api/codex/responses"
PATIENCE = aiohttp.ClientTimeout(total=20)


@dataclass(frozen=True, slots=True)
class Reply:
    """One whole response."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def code(self) -> str | None:
        """What bearerd marked it with, if it did."""
        return self.headers.get("x-bearerd-error")

    @property
    def recovery(self) -> str | None:
        """What bearerd did to get it."""
        return self.headers.get("x-bearerd-recovery")

    @property
    def message(self) -> str:
        """The sentence in an error of OpenAI's shape, after a look at that shape."""
        error = json.loads(self.body)["error"]
        assert set(error) == {"message", "type", "code", "param"}
        assert isinstance(error["message"], str)
        return error["message"]

    def json(self) -> Any:
        """Return the decoded body."""
        return json.loads(self.body)


class Client:
    """Owns the connections of one agent to one relay. An async context manager."""

    def __init__(self, base_url: str, key: str, canary: Canary) -> None:
        self.base_url = base_url
        self.key = key
        self._canary = canary
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            headers={"Authorization": f"Bearer {self.key}"},
            auto_decompress=False,
            timeout=PATIENCE,
        )
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        assert self._session is not None
        await self._session.close()

    @asynccontextmanager
    async def open(
        self, path: str = RESPONSES, *, method: str = "POST", **given: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request; give the response as soon as its head is in."""
        assert self._session is not None
        if method == "POST":
            given = {"json": {"model": "m", "stream": True}, **given}
        if "data" in given:
            given.pop("json", None)
        url = URL(self.base_url + path, encoded=True)  # as it is written
        async with self._session.request(method, url, **given) as response:
            yield response

    async def send(
        self, path: str = RESPONSES, *, method: str = "POST", **given: Any
    ) -> Reply:
        """Send a request and return the whole response."""
        async with self.open(path, method=method, **given) as response:
            reply = Reply(response.status, response.headers, await response.read())
        if reply.code is not None:
            emitted = f"{dict(reply.headers)} {reply.body.decode('utf-8', 'replace')}"
            self._canary.saw("an error body", emitted)
        return reply

    async def get(self, path: str = MODELS, **given: Any) -> Reply:
        """GET a path and return the whole response."""
        return await self.send(path, method="GET", **given)

    @asynccontextmanager
    async def asking(
        self, path: str = RESPONSES, **given: Any
    ) -> AsyncIterator[asyncio.Task[Reply]]:
        """Send a request; give the task that gets its response, or leaves at the end."""
        task = asyncio.create_task(self.send(path, **given))
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def many(self, count: int, path: str = RESPONSES) -> list[Reply]:
        """Send *count* requests at once and return all responses."""
        return await asyncio.gather(*(self.send(path) for _ in range(count)))

    async def raw(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection whose bytes the test writes and reads itself.

        Nothing is buffered for a client that reads slowly, but what the kernel holds.
        """
        parts = urlsplit(self.base_url)
        return await asyncio.open_connection(parts.hostname, parts.port, limit=4096)
