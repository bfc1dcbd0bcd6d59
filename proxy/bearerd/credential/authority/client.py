"""The one HTTP client for the authorization server.

The daemon and each command call the authority by it, so that all of them take the same
way out (proxy, certificates), obey the same limits and read responses alike. It knows no
grant: those are in `refresh_grant`, `code_grant`, `device_code` and `revocation`.

Nothing is sent twice here, and no redirect is followed: a call may spend a token that is
good once, and a token goes to the authority alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import aiohttp

from bearerd.credential.authority.call import Call, map_error
from bearerd.credential.authority.errors import CallStage
from bearerd.credential.authority.response import AuthorityResponse, is_success
from bearerd.credential.authority.single_use import SendCheck, bind_check

RESPONSE_LIMIT_BYTES: Final = 1 << 20
"""A real response has about 6 KiB. OpenClaw caps at 1 MiB too."""

CONNECT_TIMEOUT_SECONDS: Final = 10.0

LATE_TIMER_SECONDS: Final = 0.25
"""A process that was stopped for a while finds the timer over and the response there,
both at once. The timer alone must not decide that the response is lost."""


def _ignore(_part: bytes) -> None:
    """Keep nothing."""


def _retrieve(task: asyncio.Task[AuthorityResponse]) -> None:
    """Mark the exception as seen, for a caller that was cancelled before it saw it."""
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
        received: Callable[[bytes], None] = _ignore,
    ) -> AuthorityResponse:
        """Send one request and return its whole response, whatever its status.

        *json* or *form* is the body. *timeout_seconds* takes the place of the client's
        own limit. *may_send* is asked when the connection and TLS stand, just before the
        one write. *received* gets each part of the body of a 2xx response as it arrives,
        before anything else is done with it.

        Raises:
            CallFailed: there is no whole response within the time.
        """
        seconds = timeout_seconds or self.timeout_seconds
        call = Call(
            method,
            url,
            json,
            form,
            # Loopback, which alone may be http://, is reached directly, as on the
            # upstream leg.
            self._proxy_url if url.startswith("https:") else None,
            connect_seconds=min(
                CONNECT_TIMEOUT_SECONDS, min(seconds, self.timeout_seconds) / 2
            ),
            whole_seconds=seconds,
        )
        check = SendCheck(may_send)
        sending = asyncio.create_task(self._send(call, check, received))
        sending.add_done_callback(_retrieve)
        try:
            for timeout in (call.whole_seconds, LATE_TIMER_SECONDS):
                await asyncio.wait({sending}, timeout=timeout)
        finally:
            if not sending.done():
                sending.cancel()
                await asyncio.wait({sending})
        if sending.cancelled():
            detail = f"the time of {seconds:g} s is over"
            raise call.failed(CallStage.SENT, "TimeoutError", detail)
        return sending.result()

    async def _send(
        self, call: Call, check: SendCheck, received: Callable[[bytes], None]
    ) -> AuthorityResponse:
        bind_check(check)  # in the context of this task alone
        try:
            async with self._session.request(
                call.method,
                call.url,
                json=call.json,
                data=call.form,
                # `request` keeps the limit of the whole.
                timeout=aiohttp.ClientTimeout(total=None, connect=call.connect_seconds),
                allow_redirects=False,
                proxy=call.proxy_url,
            ) as response:
                keep = received if is_success(response.status) else _ignore
                content = await _read(call, response.content, keep)
                return AuthorityResponse(response.status, response.headers, content)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # Not chained: aiohttp's errors quote the proxy's URL with its password, and
            # a traceback would print it.
            if check.was_refused:
                detail = "it took too long to connect, so nothing was sent"
                raise call.failed(CallStage.CONNECTING, "too_late", detail) from None
            raise map_error(call, error) from None


async def _read(
    call: Call, content: aiohttp.StreamReader, received: Callable[[bytes], None]
) -> bytes:
    """Return the body, if it is not larger than the limit."""
    body = bytearray()
    async for part in content.iter_any():
        received(part)
        body += part
        if len(body) > RESPONSE_LIMIT_BYTES:
            detail = f"it is larger than {RESPONSE_LIMIT_BYTES} bytes"
            raise call.failed(CallStage.SENT, "answer_too_large", detail)
    return bytes(body)
