"""One send of one request: the request out, the answer's head in.

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
from bearerd.relay.message import Fields, Head
from bearerd.relay.upstream.connection import Wire
from bearerd.relay.upstream.pool import Upstream

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""RFC 9110 section 9.2.2; TRACE never gets here."""


@dataclass(frozen=True, slots=True)
class Outbound:
    """What is the same in every attempt of one exchange.

    `length` is the body's, or None for a chunked one. Without a body, `length` 0 says
    that the client declared an empty one, which goes on being declared.
    """

    method: str
    below: bytes
    fields: Fields
    body: ReplayBody | None
    length: int | None
    asks_upgrade: bool
    interim: Callable[[Head], None]

    @property
    def may_be_repeated(self) -> bool:
        """Say whether it may go out again over another connection, unasked."""
        is_intact = self.body is None or self.body.is_replayable
        return self.method in IDEMPOTENT and is_intact


class Attempt:
    """Owns one wire for one send, and the task that uploads to it; `close` both."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.is_stale = wire.was_used or not wire.is_untouched
        self._upload: asyncio.Task[None] | None = None
        self._fault: BearerdError | None = None

    def start(self, upstream: Upstream, outbound: Outbound, signature: bytes) -> None:
        """Send the head, with the body if it is in already; else begin the upload."""
        body = outbound.body
        whole = b"" if body is None else body.whole()
        request = headers.request_head(
            method=outbound.method.encode(),
            target=upstream.origin.base_path + outbound.below,
            host=upstream.origin.authority,
            signature=signature + upstream.cookie_line(),
            fields=outbound.fields,
            framing=_framing(outbound) + upstream.via_line,
        )
        if whole and outbound.length is None:
            whole = b"%x\r\n%b\r\n" % (len(whole), whole)
        if whole is not None and body is not None and outbound.length is None:
            whole += b"0\r\n\r\n"
        self.wire.start(
            request + whole if whole else request,
            is_head_request=outbound.method == "HEAD",
            asks_upgrade=outbound.asks_upgrade,
            is_whole=whole is not None,
            interim=outbound.interim,
        )
        if whole is None and body is not None:
            self._upload = asyncio.create_task(self._send(body, outbound.length))

    async def head(self) -> Head:
        """Return the answer's head. One that refuses stops the upload.

        Raises:
            UpstreamError: none came.
            RequestMalformed: the client's body is none, so the request was given up.
        """
        try:
            head = await self.wire.head()
        except UpstreamError:
            if self._fault is not None:
                raise self._fault from None
            raise
        if head.status >= 400 and self._upload is not None:  # noqa: PLR2004
            self._upload.cancel()
        return head

    def close(self) -> None:
        """Stop the upload, and be done with the answer."""
        if self._upload is not None:
            self._upload.cancel()
        self.wire.discard()

    async def _send(self, body: ReplayBody, length: int | None) -> None:
        try:
            async for part in body.parts():
                framed = part if length is not None else _chunk(part)
                await self.wire.send(framed)
            if length is None:
                await self.wire.send(b"0\r\n\r\n")
            self.wire.sent()
        except UpstreamError:
            return  # whoever waits for the head learns more
        except (RequestPayloadError, HttpProcessingError):
            # Never to be completed: the upstream must not take a part for the whole.
            self._fault = RequestMalformed("the request's body breaks its own framing")
            self.wire.abort()


async def send(
    upstream: Upstream, outbound: Outbound, signature: bytes
) -> tuple[Attempt, Head]:
    """Send the request and return its answer's head, with the attempt that holds it.

    A pooled connection may have died unseen. RFC 9112 section 9.3.1 lets an idempotent
    request go out once more then, if no byte of an answer has come.

    Raises:
        UpstreamError, RequestMalformed: there is no answer, and nothing is left open.
    """
    for is_fresh in (False, True):
        attempt = Attempt(await upstream.wire(is_fresh=is_fresh))
        try:
            attempt.start(upstream, outbound, signature)
            return attempt, await attempt.head()
        except UpstreamUnreachable:
            was_silent = attempt.is_stale and attempt.wire.is_untouched
            attempt.close()
            if is_fresh or not (was_silent and outbound.may_be_repeated):
                raise
        except BaseException:
            attempt.close()
            raise
    raise AssertionError  # the second round returns or raises


def _framing(outbound: Outbound) -> bytes:
    """Return the field lines that frame the body (RFC 9112 section 6), or upgrade."""
    if outbound.asks_upgrade:
        return b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    if outbound.length is not None:
        return b"Content-Length: %d\r\n" % outbound.length
    return b"" if outbound.body is None else b"Transfer-Encoding: chunked\r\n"


def _chunk(part: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(part), part)
