"""A server that gives scripted responses, and a client for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias

import aiohttp
from aiohttp import web

from bearerd.credential.authority.client import AuthorityClient

Response: TypeAlias = tuple[int, bytes] | None
"""Status and body; None closes the connection without a response."""


@asynccontextmanager
async def scripted_client(
    *responses: Response, timeout_seconds: float = 5.0
) -> AsyncIterator[AuthorityClient]:
    """Give a client whose calls get *responses*, in their order; the last one repeats."""
    due = list(responses)

    async def respond(request: web.BaseRequest) -> web.Response:
        response = due.pop(0) if len(due) > 1 else due[0]
        if response is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return web.Response(status=response[0], body=response[1])

    runner = web.ServerRunner(web.Server(respond))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(connector=connector) as session:
            yield AuthorityClient(
                session,
                issuer_url=url,
                token_url=f"{url}/oauth/token",
                client_id="app_scripted",
                timeout_seconds=timeout_seconds,
            )
    finally:
        await runner.cleanup()
