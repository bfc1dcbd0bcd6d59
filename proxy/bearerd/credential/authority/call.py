"""One call to the authorization server: its way, its limits, and how it can fail.

aiohttp raises many types of error. Here each gets the stage at which the call
ended, which is what callers act on, and a text for a person.
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


def map_error(call: Call, error: Exception) -> CallFailed:
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


def _is_about_proxy(call: Call, error: aiohttp.ClientConnectorError) -> bool:
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
