"""The one HTTP client for the authorization server.

The daemon and each command call the authority by it, so that all of them take the same
way out (proxy, certificates), obey the same limits and read responses alike. It knows no
grant: those are in `refresh_grant`, `code_grant`, `device_code` and `revocation`.

Nothing is sent twice here, and no redirect is followed: a call may spend a token that is
good once, and a token goes to the authority alone.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from bearerd.credential.authority.errors import CallFailed, CallStage
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


@dataclass(frozen=True, slots=True)
class _Call:
    """One request, the way it takes, and how long it may take.

    `connect_seconds` is less than `whole_seconds`, and a call that ends by it has sent
    nothing: until then the name is looked up, the proxy asked for a tunnel and TLS agreed
    on.
    """

    method: str
    url: str
    json: Mapping[str, str] | None = field(repr=False)
    form: Mapping[str, str] | None = field(repr=False)
    proxy_url: str | None = field(repr=False)
    connect_seconds: float
    whole_seconds: float

    @property
    def proxy(self) -> str:
        """Return HOST:PORT of the proxy, without user and password; "" if it has none."""
        if self.proxy_url is None:
            return ""
        parts = urlsplit(self.proxy_url)
        host = parts.hostname or ""
        host = f"[{host}]" if ":" in host else host
        return f"{host}:{parts.port or 80}"

    def failed(self, stage: CallStage, reason: str, detail: str) -> CallFailed:
        """Return the error for a call that ended at *stage*."""
        return CallFailed(self.url, stage, reason=reason, detail=detail)


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
        call = _Call(
            method,
            url,
            json,
            form,
            # Loopback, which alone may be http://, is reached directly, as on the
            # upstream leg.
            self._proxy_url if url.startswith("https:") else None,
            connect_seconds=min(CONNECT_TIMEOUT_SECONDS, self.timeout_seconds / 2),
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
        self, call: _Call, check: SendCheck, received: Callable[[bytes], None]
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
            raise _failure(call, error) from None


async def _read(
    call: _Call, content: aiohttp.StreamReader, received: Callable[[bytes], None]
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


def _failure(call: _Call, error: Exception) -> CallFailed:
    """Return what an error of aiohttp means: at which stage the call ended, and why.

    1. The proxy answered CONNECT with a status of its own, or was not reached.
    2. TLS was not agreed on: the certificate is not trusted, or the server has no TLS.
    3. There is no connection: no such name, refused, no route, no answer in time.
    4. Anything else may have happened after the request was sent. A proxy that breaks
       off in the middle of CONNECT counts here too, since aiohttp raises the same errors
       for it as for a response that breaks off.
    """
    reason = _reason(error)
    match error:
        case aiohttp.ClientHttpProxyError():  # 1
            stage = CallStage.PROXY
            reason = f"proxy_http_{error.status}"
            detail = f"the proxy {call.proxy} answered CONNECT with {error.status}"
        case aiohttp.ClientSSLError():  # 2
            stage, detail = CallStage.TLS, _tls_detail(error)
        case aiohttp.ClientConnectorError():  # 1, 3
            stage = CallStage.CONNECTING
            detail = _os_detail(error)
            if _is_about_proxy(call, error):
                stage = CallStage.PROXY
                detail = f"the proxy {call.proxy} is unreachable ({detail})"
        case aiohttp.ConnectionTimeoutError():  # 3
            through = f" through the proxy {call.proxy}" if call.proxy else ""
            stage = CallStage.CONNECTING
            detail = f"no connection{through} within {call.connect_seconds:g} s"
        case aiohttp.InvalidURL():  # 3
            stage = CallStage.CONNECTING
            detail = "this is no URL that can be called"
        case _:  # 4
            stage = CallStage.SENT
            detail = f"the connection broke off ({reason})"
    return CallFailed(call.url, stage, reason=reason, detail=detail)


def _is_about_proxy(call: _Call, error: aiohttp.ClientConnectorError) -> bool:
    """Return True if *error* is a failure to connect to the proxy.

    Where its name is not known, aiohttp raises the same type as for the server's name.
    """
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return True
    return bool(call.proxy) and call.proxy == f"{error.host}:{error.port}"


def _reason(error: Exception) -> str:
    """Return the type of a transport error, not its text, which may quote a URL."""
    if isinstance(error, TimeoutError):
        return "TimeoutError"  # its cause is how the timer stopped us
    cause = error.__cause__ or getattr(error, "os_error", None) or error
    return type(cause).__name__


def _os_detail(error: aiohttp.ClientConnectorError) -> str:
    """Return the system's text for an error, such as "Connection refused".

    asyncio puts a text of its own in its place: "Connect call failed" and an address.
    The numbers of a name service's errors are not those of `strerror`.
    """
    cause = error.os_error
    is_dns = isinstance(error, aiohttp.ClientConnectorDNSError)
    if cause.errno is not None and not is_dns:
        return os.strerror(cause.errno)
    return cause.strerror or str(cause)


def _tls_detail(error: aiohttp.ClientSSLError) -> str:
    cause = error.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {cause.verify_message.rstrip('.')}"
    code = cause.reason if isinstance(cause, ssl.SSLError) else None
    return f"TLS cannot be agreed on ({code or _reason(error)})"
