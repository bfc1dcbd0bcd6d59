"""The HTTP client for the authorization server.

The daemon and all commands use it, so they share proxy, certificates, timeouts and the
parsing of responses. The grants are in `refresh_grant`, `code_grant`, `device_code` and
`revocation`.

No request is sent twice, because a call can spend a single-use token. No redirect is
followed, because a token is sent to the authority only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import aiohttp

from bearerd.credential.authority.call import Call, map_error
from bearerd.credential.authority.errors import TOO_LARGE, TOO_LATE, CallStage
from bearerd.credential.authority.response import AuthorityResponse, is_success
from bearerd.credential.authority.single_use import SendCheck, bind_check

RESPONSE_LIMIT_BYTES: Final = 1 << 20
"""A real response has about 6 KiB. OpenClaw's limit is 1 MiB too."""

CONNECT_TIMEOUT_SECONDS: Final = 10.0

LATE_TIMER_SECONDS: Final = 0.25
"""When a stopped process continues, its timer has expired and the response may already
be in the socket. A timeout counts only after this additional time to read it."""


def _ignore(_part: bytes) -> None:
    """Discard a part of the body."""


def _retrieve(task: asyncio.Task[AuthorityResponse]) -> None:
    """Retrieve the exception, which asyncio logs if the caller was cancelled before."""
    if not task.cancelled():
        task.exception()


class AuthorityClient:
    """The authorization server of one profile. The session belongs to the caller."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        issuer_url: str,
        token_url: str,
        client_id: str,
        timeout_seconds: float,
        proxy_url: str | None = None,
    ) -> None:
        self.issuer_url = issuer_url
        self.token_url = token_url
        self.client_id = client_id
        self.timeout_seconds = timeout_seconds
        self._session = session
        self._proxy_url = proxy_url

    async def request(
        self,
        method: str,
        url: str,
        *,
        json: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
        may_send: Callable[[], bool] = lambda: True,
        on_body: Callable[[bytes], None] = _ignore,
    ) -> AuthorityResponse:
        """Send one request and return its complete response, with any status.

        *json* or *form* is the body. *timeout_seconds* replaces the timeout of the
        client. *may_send* is called after the TLS handshake, directly before the single
        write. *on_body* is called with each part of the body of a 2xx response as it
        arrives, before it is processed.

        Raises:
            CallFailed: no complete response arrived in time.
        """
        seconds = timeout_seconds or self.timeout_seconds
        call = Call(
            method,
            url,
            json,
            form,
            # http:// is allowed for loopback only, which needs no proxy. The relay
            # treats its upstream in the same way.
            self._proxy_url if url.startswith("https:") else None,
            connect_seconds=min(
                CONNECT_TIMEOUT_SECONDS, min(seconds, self.timeout_seconds) / 2
            ),
            total_seconds=seconds,
        )
        check = SendCheck(may_send)
        sending = asyncio.create_task(self._send(call, check, on_body))
        sending.add_done_callback(_retrieve)
        try:
            for timeout in (call.total_seconds, LATE_TIMER_SECONDS):
                await asyncio.wait({sending}, timeout=timeout)
        finally:
            if not sending.done():
                sending.cancel()
                await asyncio.wait({sending})
        if sending.cancelled():
            detail = f"the timeout of {seconds:g} s has passed"
            raise call.failed(CallStage.SENT, "TimeoutError", detail)
        return sending.result()

    async def _send(
        self, call: Call, check: SendCheck, on_body: Callable[[bytes], None]
    ) -> AuthorityResponse:
        bind_check(check)  # in the context of this task only
        try:
            async with self._session.request(
                call.method,
                call.url,
                json=call.json,
                data=call.form,
                # `request` enforces the total timeout.
                timeout=aiohttp.ClientTimeout(total=None, connect=call.connect_seconds),
                allow_redirects=False,
                proxy=call.proxy_url,
            ) as response:
                callback = on_body if is_success(response.status) else _ignore
                content = await _read_body(call, response.content, callback)
                return AuthorityResponse(response.status, response.headers, content)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # Not chained: aiohttp's exceptions contain the proxy's URL with its
            # password, and a traceback would print it.
            if check.is_cancelled:
                detail = "it took too long to connect, so nothing was sent"
                raise call.failed(CallStage.CONNECTING, TOO_LATE, detail) from None
            raise map_error(call, error) from None


async def _read_body(
    call: Call, content: aiohttp.StreamReader, on_body: Callable[[bytes], None]
) -> bytes:
    """Return the body.

    Raises:
        CallFailed: it is larger than `RESPONSE_LIMIT_BYTES`.
    """
    body = bytearray()
    async for part in content.iter_any():
        on_body(part)
        body += part
        if len(body) > RESPONSE_LIMIT_BYTES:
            detail = f"the response is larger than {RESPONSE_LIMIT_BYTES} bytes"
            raise call.failed(CallStage.SENT, TOO_LARGE, detail)
    return bytes(body)
