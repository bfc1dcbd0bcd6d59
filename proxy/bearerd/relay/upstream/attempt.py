"""One send of one request: the request out, the response's head in.

Upload and answer run side by side, because an upstream may answer before it has read
everything (RFC 9112 section 9.5).
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

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""RFC 9110 section 9.2.2; TRACE never gets here."""


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """What is the same in every attempt of one exchange.

    `length` is the body's, or None for a chunked one. Without a body, `length` 0 says
    that the client declared an empty one, which goes on being declared.
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
        """Say whether it may go out again over another connection, unasked."""
        is_intact = self.body is None or self.body.is_replayable
        return self.method in IDEMPOTENT and is_intact


class Attempt:
    """Owns one wire for one send, and the task that uploads to it; `close` both."""

    def __init__(self, connection: UpstreamConnection) -> None:
        self.connection = connection
        self._upload: asyncio.Task[None] | None = None
        self._fault: BearerdError | None = None

    def start(
        self,
        upstream: UpstreamPool,
        upstream_request: UpstreamRequest,
        auth_fields: bytes,
    ) -> None:
        """Send the head, with the body if it is in already; else begin the upload."""
        body = upstream_request.body
        whole = b"" if body is None else body.whole()
        request = headers.request_head(
            method=upstream_request.method.encode(),
            target=upstream.origin.base_path + upstream_request.target,
            host=upstream.origin.authority,
            auth_fields=auth_fields + upstream.cookie_line(),
            fields=upstream_request.fields,
            framing=_framing(upstream_request) + upstream.via_line,
        )
        if whole and upstream_request.length is None:
            whole = b"%x\r\n%b\r\n" % (len(whole), whole)
        if whole is not None and body is not None and upstream_request.length is None:
            whole += b"0\r\n\r\n"
        self.connection.start_request(
            request + whole if whole else request,
            is_head_request=upstream_request.method == "HEAD",
            asks_upgrade=upstream_request.asks_upgrade,
            is_complete=whole is not None,
            on_interim=upstream_request.on_interim,
        )
        if whole is None and body is not None:
            self._upload = asyncio.create_task(
                self._send(body, upstream_request.length)
            )

    async def receive_head(self) -> ResponseHead:
        """Return the response's head. One that refuses stops the upload.

        Raises:
            UpstreamError: none came.
            RequestMalformed: the client's body is none, so the request was given up.
        """
        try:
            head = await self.connection.response.receive_head()
        except UpstreamError:
            if self._fault is not None:
                raise self._fault from None
            raise
        if head.status >= 400 and self._upload is not None:  # noqa: PLR2004
            self._upload.cancel()
        return head

    def close(self) -> None:
        """Stop the upload, and be done with the response."""
        if self._upload is not None:
            self._upload.cancel()
        self.connection.release()

    async def _send(self, body: ReplayBody, length: int | None) -> None:
        try:
            async for part in body.chunks():
                framed = part if length is not None else _chunk(part)
                await self.connection.send_body(framed)
            if length is None:
                await self.connection.send_body(b"0\r\n\r\n")
            self.connection.mark_request_sent()
        except UpstreamError:
            return  # whoever waits for the head learns more
        except (RequestPayloadError, HttpProcessingError):
            # Never to be completed: the upstream must not take a part for the whole.
            self._fault = RequestMalformed("the request's body breaks its own framing")
            self.connection.abort()


async def send_request(
    upstream: UpstreamPool, upstream_request: UpstreamRequest, auth_fields: bytes
) -> tuple[Attempt, ResponseHead]:
    """Send the request and return its response's head, with the attempt that holds it.

    A pooled connection may have died unseen. RFC 9112 section 9.3.1 lets an idempotent
    request go out once more then, if no byte of a response has come.

    Raises:
        UpstreamError, RequestMalformed: there is no response, and nothing is left open.
    """
    for must_be_new in (False, True):
        attempt = Attempt(await upstream.acquire(must_be_new=must_be_new))
        try:
            attempt.start(upstream, upstream_request, auth_fields)
            return attempt, await attempt.receive_head()
        except UpstreamUnreachable:
            connection = attempt.connection
            was_stale = connection.is_reused and not connection.response.has_begun
            attempt.close()
            if must_be_new or not (was_stale and upstream_request.is_replayable):
                raise
        except BaseException:
            attempt.close()
            raise
    raise AssertionError  # the second round returns or raises


def _framing(upstream_request: UpstreamRequest) -> bytes:
    """Return the field lines that frame the body (RFC 9112 section 6), or upgrade."""
    if upstream_request.asks_upgrade:
        return b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    if upstream_request.length is not None:
        return b"Content-Length: %d\r\n" % upstream_request.length
    return b"" if upstream_request.body is None else b"Transfer-Encoding: chunked\r\n"


def _chunk(part: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(part), part)
