"""One call to the authorization server: proxy, timeouts, and the mapping of its errors.

aiohttp raises many types of exception. Each is mapped to the stage at which the call
ended, on which callers decide, and to a text for a person.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import aiohttp

from bearerd.credential.authority.errors import CallFailed, CallStage


@dataclass(frozen=True, slots=True)
class Call:
    """One request, its proxy and its timeouts.

    `connect_seconds` covers the DNS lookup, the tunnel through the proxy and the TLS
    handshake. It is less than `total_seconds`. A call that ends with this timeout has
    sent nothing.
    """

    method: str
    url: str
    json: Mapping[str, str] | None = field(repr=False)
    form: Mapping[str, str] | None = field(repr=False)
    proxy_url: str | None = field(repr=False)
    connect_seconds: float
    total_seconds: float

    @property
    def proxy(self) -> str:
        """HOST:PORT of the proxy, without user and password; "" without a proxy."""
        if self.proxy_url is None:
            return ""
        parts = urlsplit(self.proxy_url)
        host = parts.hostname or ""
        host = f"[{host}]" if ":" in host else host
        return f"{host}:{parts.port or 80}"

    def failed(self, stage: CallStage, reason: str, detail: str) -> CallFailed:
        """Return the error for a call that ended at *stage*."""
        return CallFailed(self.url, stage, reason=reason, detail=detail)


def map_error(call: Call, error: Exception) -> CallFailed:
    """Return the failure for an exception of aiohttp: the stage and the reason.

    1. The proxy responded to CONNECT with an error status, or was not reached.
    2. The TLS handshake failed: the certificate is not trusted, or the server has no TLS.
    3. There is no connection: unknown name, refused, no route, timeout.
    4. Anything else may have happened after the request was sent. That includes a proxy
       that closes the connection during CONNECT: aiohttp raises the same exceptions for
       it as for a response that ends early.
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
            detail = "the URL is invalid"
        case _:  # 4
            stage = CallStage.SENT
            detail = f"the connection was closed early ({reason})"
    return CallFailed(call.url, stage, reason=reason, detail=detail)


def _is_about_proxy(call: Call, error: aiohttp.ClientConnectorError) -> bool:
    """Return True if *error* is a failure to connect to the proxy.

    If the proxy's name cannot be resolved, aiohttp raises the same type as for the
    server's name.
    """
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return True
    return bool(call.proxy) and call.proxy == f"{error.host}:{error.port}"


def _reason(error: Exception) -> str:
    """Return the type of a transport error; its text may contain a URL."""
    if isinstance(error, TimeoutError):
        return "TimeoutError"  # its cause is the cancellation by the timer
    cause = error.__cause__ or getattr(error, "os_error", None) or error
    return type(cause).__name__


def _os_detail(error: aiohttp.ClientConnectorError) -> str:
    """Return the system's text for an error, such as "Connection refused".

    asyncio replaces that text by "Connect call failed" and an address. The error numbers
    of getaddrinfo(3) are not those of `strerror`, so their text is used as it is.
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
    return f"the TLS handshake failed ({code or _reason(error)})"
