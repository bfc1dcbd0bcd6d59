"""The loopback listener that receives the redirect of a sign-in by browser.

RFC 8252 section 7.3. Only a redirect with the state of this sign-in is accepted. Any
other one gets a 400, and the listener continues to wait.
"""

from __future__ import annotations

import asyncio
import html
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self

from aiohttp import web

from bearerd.credential.authority.errors import SignInFailed
from bearerd.credential.authority.pkce import AuthorizationRequest, StateMismatch
from bearerd.errors import StartError

HOST: Final = "127.0.0.1"
PATH: Final = "/auth/callback"
CANCEL_PATH: Final = "/cancel"
PORTS: Final = (1455, 1457)
"""The ports registered for Codex's client; the authority accepts no others."""

SHUTDOWN_TIMEOUT_SECONDS: Final = 1.0
"""How long the page may take to reach the browser after the code has arrived."""

SECURITY_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'",
    "Referrer-Policy": "no-referrer",  # the URL of the page contains the code
}


class CallbackServer:
    """Listens within its `async with` block. Owns the authorization code.

    *ports* are tried in order; 0 means any free port.
    """

    def __init__(
        self, request: AuthorizationRequest, ports: Sequence[int] = PORTS
    ) -> None:
        self._request = request
        self._ports = ports
        self._code: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._runner = web.ServerRunner(
            web.Server(self._handle, access_log=None),
            shutdown_timeout=SHUTDOWN_TIMEOUT_SECONDS,
        )

    @property
    def redirect_uri(self) -> str:
        """The URL that the authority redirects the browser to.

        Its host is `localhost`, as registered, although the socket is bound to `HOST`.
        """
        return f"http://localhost:{self._runner.addresses[0][1]}{PATH}"

    async def wait_for_code(self) -> str:
        """Return the authorization code once it has arrived.

        Raises:
            SignInFailed: the authority refused the sign-in, or another sign-in has
                requested the port.
        """
        return await asyncio.shield(self._code)

    def receive(self, query: Mapping[str, str]) -> None:
        """Accept the query of a redirect, received by HTTP or pasted.

        Raises:
            StateMismatch: it belongs to another sign-in; the wait continues.
            SignInFailed: the authority refused the sign-in; `wait_for_code` raises it
                too.
        """
        try:
            code = self._request.code_from(query)
        except SignInFailed as failure:
            self._fail(failure)
            raise
        if not self._code.done():
            self._code.set_result(code)

    async def __aenter__(self) -> Self:
        """Listen on the first free port.

        Raises:
            StartError: no port is free.
        """
        await self._runner.setup()
        for port in self._ports:
            try:
                await web.TCPSite(self._runner, HOST, port).start()
            except OSError:
                continue
            return self
        await self._runner.cleanup()
        ports = " and ".join(map(str, self._ports))
        raise StartError(
            f"ports {ports} of {HOST} are in use, possibly by another sign-in; end that "
            "sign-in, or use `bearerd login --device`"
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
            return self._handle_redirect(request.query)
        if request.method == "GET" and request.path == CANCEL_PATH:
            # Codex requests this path when another program uses the port that its own
            # sign-in needs.
            self._fail(
                SignInFailed(
                    "another sign-in has requested the port; run `bearerd login` again"
                )
            )
            return _page(HTTPStatus.OK, "The sign-in was cancelled.")
        return _page(HTTPStatus.NOT_FOUND, "Not found.")

    def _handle_redirect(self, query: Mapping[str, str]) -> web.Response:
        try:
            self.receive(query)
        except StateMismatch as mismatch:
            return _page(HTTPStatus.BAD_REQUEST, f"State mismatch: {mismatch}.")
        except SignInFailed as failure:
            return _page(HTTPStatus.FORBIDDEN, failure.message)
        return _page(HTTPStatus.OK, "bearerd has the code. Continue in the terminal.")

    def _fail(self, failure: SignInFailed) -> None:
        if not self._code.done():
            self._code.set_exception(failure)
            # Retrieved here: asyncio logs it otherwise if no task awaits the code.
            self._code.exception()


def _page(status: HTTPStatus, text: str) -> web.Response:
    body = (
        "<!DOCTYPE html><html lang=en><meta charset=utf-8><title>bearerd</title>"
        f"<p>{html.escape(text)} You may close this page.</p></html>"
    )
    return web.Response(
        status=status, text=body, content_type="text/html", headers=SECURITY_HEADERS
    )
