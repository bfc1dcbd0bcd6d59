"""One send of one request: the request out, the response's head in.

Upload and response run side by side, because an upstream may respond before it has read
everything (RFC 9112 section 9.5).

When a request is sent a second time: a pooled connection may have been closed by the
upstream while the request was on its way. RFC 9112 section 9.3.1 allows a client to retry
then. `send_request` does so once, on a new connection, if all of these hold:

1. The connection was lost. A timeout, or a response that breaks the rules, is final.
2. It had carried a request before. If a new connection is lost, the upstream is down.
3. No byte of a response had come.
4. The method is idempotent (RFC 9110 section 9.2.2): a second request does no harm if
   the upstream has acted on the first.
5. The body can be sent again from its start, or there is none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web import RequestPayloadError

from bearerd.errors import (
    BearerdError,
    RequestMalformed,
    UpstreamError,
    UpstreamUnreachable,
)
from bearerd.relay import headers
from bearerd.relay.body import ReplayBody
from bearerd.relay.message import Fields, ResponseHead
from bearerd.relay.upstream.connection import UpstreamConnection
from bearerd.relay.upstream.pool import UpstreamPool
from bearerd.relay.upstream.response_reader import ResponseReader

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""RFC 9110 section 9.2.2. TRACE, the sixth, is not served."""

LOWEST_ERROR_STATUS = 400

LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """What is the same in every attempt of one exchange.

    `target` is below the origin's base path. `length` is the body's, or None for a chunked
    one. Without a body, `length` 0 means that the client declared an empty one, which is
    declared again; None means that it declared none.
    """

    method: str
    target: bytes
    fields: Fields
    body: ReplayBody | None
    length: int | None
    asks_upgrade: bool
    on_interim: Callable[[ResponseHead], None]

    @property
    def is_replayable(self) -> bool:
        """Return True if it may be sent again after a lost connection (4, 5)."""
        is_intact = self.body is None or self.body.is_replayable
        return self.method in IDEMPOTENT and is_intact


class Attempt:
    """Owns one connection for one send, and the task that uploads to it; `close` both."""

    def __init__(self, connection: UpstreamConnection) -> None:
        self.connection = connection
        self._upload: asyncio.Task[None] | None = None
        self._client_error: BearerdError | None = None

    @property
    def response(self) -> ResponseReader:
        """Return the response on the attempt's connection."""
        return self.connection.response

    @property
    def has_met_stale_connection(self) -> bool:
        """Return True if the connection, now lost, may have been dead before (2, 3)."""
        return self.connection.is_reused and not self.response.has_begun

    def start(
        self, upstream: UpstreamPool, request: UpstreamRequest, auth_fields: bytes
    ) -> None:
        """Send the head, with the body if that has come already; else begin the upload."""
        body, length = request.body, request.length
        head = _request_head(upstream, request, auth_fields)
        whole = b"" if body is None else body.read_if_complete()
        if body is not None and whole is not None and length is None:
            whole = (_chunk(whole) if whole else b"") + LAST_CHUNK
        self.connection.start_request(
            head + whole if whole else head,
            is_head_request=request.method == "HEAD",
            asks_upgrade=request.asks_upgrade,
            is_complete=whole is not None,
            on_interim=request.on_interim,
        )
        if body is not None and whole is None:
            upload = self._send_body(body, is_chunked=length is None)
            self._upload = asyncio.create_task(upload)

    async def receive_head(self) -> ResponseHead:
        """Return the response's head. An error status stops the upload.

        Raises:
            UpstreamError: no head came.
            RequestMalformed: the client's body broke its framing, so the request was
                aborted.
        """
        try:
            head = await self.response.receive_head()
        except UpstreamError:
            if self._client_error is not None:
                raise self._client_error from None
            raise
        if head.status >= LOWEST_ERROR_STATUS and self._upload is not None:
            self._upload.cancel()
        return head

    def close(self) -> None:
        """Stop the upload, and release the connection."""
        if self._upload is not None:
            self._upload.cancel()
        self.connection.release()

    async def _send_body(self, body: ReplayBody, *, is_chunked: bool) -> None:
        try:
            async for part in body.chunks():
                await self.connection.send_body(_chunk(part) if is_chunked else part)
            if is_chunked:
                await self.connection.send_body(LAST_CHUNK)
            self.connection.mark_request_sent()
        except UpstreamError:
            return  # `receive_head` raises the same error
        except (RequestPayloadError, HttpProcessingError):
            # The upstream must not take a part of the body for the whole.
            self._client_error = RequestMalformed(
                "the request's body breaks its own framing"
            )
            self.connection.abort()


async def send_request(
    upstream: UpstreamPool, request: UpstreamRequest, auth_fields: bytes
) -> tuple[Attempt, ResponseHead]:
    """Send the request; return its response's head, and the attempt that has the rest.

    Raises:
        UpstreamError, RequestMalformed: there is no response, and nothing is left open.
    """
    for is_last in (False, True):
        attempt = Attempt(await upstream.acquire(must_be_new=is_last))
        try:
            attempt.start(upstream, request, auth_fields)
            return attempt, await attempt.receive_head()
        except UpstreamUnreachable:  # 1
            was_stale = attempt.has_met_stale_connection
            attempt.close()
            if is_last or not (was_stale and request.is_replayable):
                raise
        except BaseException:
            attempt.close()
            raise
    raise AssertionError  # the last round returns or raises


def _request_head(
    upstream: UpstreamPool, request: UpstreamRequest, auth_fields: bytes
) -> bytes:
    return headers.request_head(
        method=request.method.encode(),
        target=upstream.origin.base_path + request.target,
        host=upstream.origin.authority,
        auth_fields=auth_fields + upstream.cookie_line(),
        fields=request.fields,
        framing=_framing(request) + upstream.via_line,
    )


def _framing(request: UpstreamRequest) -> bytes:
    """Return the field lines that frame the body (RFC 9112 section 6), or upgrade."""
    if request.asks_upgrade:
        return b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    if request.length is not None:
        return b"Content-Length: %d\r\n" % request.length
    return b"" if request.body is None else b"Transfer-Encoding: chunked\r\n"


def _chunk(part: bytes) -> bytes:
    """Return *part* as one chunk (RFC 9112 section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(part), part)
