"""Where the authority sends the browser back to: a listener on loopback, for one response.

Rules: the response counts only with the state of this sign-in; any other is turned away,
and the wait goes on.
"""

from __future__ import annotations

import asyncio
import html
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, Self

from aiohttp import web

from bearerd.credential.authority.pkce import (
    AuthorizationRequest,
    SignInFailed,
    StateMismatch,
)
from bearerd.errors import StartError

HOST: Final = "127.0.0.1"
PATH: Final = "/auth/callback"
PORTS: Final = (1455, 1457)
"""The two that Codex's client may be sent back to; the authority takes no other."""

LINGER_SECONDS: Final = 1.0

SECURITY: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'",
    "Referrer-Policy": "no-referrer",  # the address holds the code
}


class CallbackServer:
    """An async context manager that listens inside the block. Owns its one response."""

    def __init__(
        self, request: AuthorizationRequest, ports: Sequence[int] = PORTS
    ) -> None:
        self._request = request
        self._ports = ports
        self._code: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._runner = web.ServerRunner(
            web.Server(self._handle, access_log=None), shutdown_timeout=LINGER_SECONDS
        )

    @property
    def redirect_uri(self) -> str:
        """Return the address that the authority sends the browser to."""
        return f"http://localhost:{self._runner.addresses[0][1]}{PATH}"

    async def code(self) -> str:
        """Return the authorization code, once it is here.

        Raises:
            SignInFailed: the authority said no, or another sign-in took the place.
        """
        return await asyncio.shield(self._code)

    def offer(self, query: Mapping[str, str]) -> None:
        """Take the query of a redirect, however it came here.

        Raises:
            NotThisSignIn: it is not ours; the wait goes on.
            SignInFailed: the authority said no; the wait is over.
        """
        try:
            code = self._request.code_from(query)
        except SignInFailed as failure:
            self._fail(failure)
            raise
        if not self._code.done():
            self._code.set_result(code)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        for port in self._ports:
            try:
                await web.TCPSite(self._runner, HOST, port).start()
            except OSError:
                continue
            return self
        await self._runner.cleanup()
        taken = " and ".join(map(str, self._ports))
        raise StartError(
            f"ports {taken} of {HOST} are taken, perhaps by another sign-in; end it, or "
            "use `bearerd login --device`"
        )

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self._runner.cleanup()
        self._code.cancel()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "GET" and request.path == PATH:
            return self._take(request.query)
        if request.method == "GET" and request.path == "/cancel":
            # What Codex asks of whoever has the port that its own sign-in needs.
            self._fail(SignInFailed("another sign-in asked for the port; run it again"))
            return _page(200, "The sign-in was cancelled.")
        return _page(404, "There is nothing here.")

    def _take(self, query: Mapping[str, str]) -> web.Response:
        try:
            self.offer(query)
        except StateMismatch as reason:
            return _page(400, f"State mismatch: {reason}.")
        except SignInFailed as failure:
            return _page(403, failure.message)
        return _page(200, "bearerd has the answer. The terminal says how it goes on.")

    def _fail(self, failure: SignInFailed) -> None:
        if not self._code.done():
            self._code.set_exception(failure)
            self._code.exception()  # seen, whether somebody waits or not


def _page(status: int, text: str) -> web.Response:
    body = (
        "<!DOCTYPE html><html lang=en><meta charset=utf-8><title>bearerd</title>"
        f"<p>{html.escape(text)} You may close this page.</p></html>"
    )
    return web.Response(
        status=status, text=body, content_type="text/html", headers=SECURITY
    )
