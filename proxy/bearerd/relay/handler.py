"""What the relay does with one request: gate, target, exchange, answer.

Everything that can go wrong on the way ends here as one response, or, when a response has
begun, as its breaking off.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from aiohttp import web

from bearerd.clock import Clock
from bearerd.credential.source import CredentialSource
from bearerd.errors import (
    BearerdError,
    Draining,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    RequestMalformed,
    TargetForbidden,
)
from bearerd.events import Observer, ReplayAbandoned, RequestFinished
from bearerd.keys.ring import Client
from bearerd.relay.access import AccessPolicy, ListenerRules
from bearerd.relay.body import ReplayBody, ReplayMemory
from bearerd.relay.client.connection import AlreadySent, ClientConnection
from bearerd.relay.client.request import ClientRequest, read_request
from bearerd.relay.client.response import DateField, Response
from bearerd.relay.exchange import Exchange
from bearerd.relay.rejections import RejectionHistory
from bearerd.relay.target import Target, origin_form, resolve
from bearerd.relay.tunnel import Tunnel
from bearerd.relay.upstream.attempt import UpstreamRequest
from bearerd.relay.upstream.pool import UpstreamPool

LOG = logging.getLogger(__name__)

CLIENT_LEFT = 499
"""nginx's code for a client that closed before its response. Never sent to anybody."""


@dataclass(frozen=True, slots=True)
class Route:
    """Where a profile's requests go, and with whose credential."""

    source: CredentialSource
    upstream: UpstreamPool
    history: RejectionHistory = field(default_factory=RejectionHistory)


class RequestContext:
    """One request on its way through: what will be told of it. Owned by `Relay`."""

    def __init__(
        self, request: ClientRequest, response: Response, began: float
    ) -> None:
        self.request = request
        self.response = response
        self.began = began
        self.client = ""
        self.profile = ""
        self.path = ""
        self.code: str | None = None
        self.exchange: Exchange | None = None

    def fail(self, error: BearerdError) -> None:
        """Answer with *error*, or break off the response that has begun."""
        self.code = error.code
        if self.response.has_started:
            self.response.abort()
        else:
            # What follows a request that we do not read as its sender meant it.
            is_misread = isinstance(error, RequestMalformed | MethodNotAllowed)
            self.response.must_close |= is_misread
            self.response.send_error(error)
            if is_misread:
                self.response.close()

    def finished(self, now: float, *, is_abandoned: bool) -> RequestFinished:
        """Return what is to be announced at the end."""
        exchange = self.exchange
        head_out_at = exchange.head_out_at if exchange else None
        overhead = None
        if exchange is not None and head_out_at is not None:
            overhead = max(0.0, head_out_at - self.began - exchange.waited_seconds)
        return RequestFinished(
            client=self.client,
            profile=self.profile,
            method=self.request.method,
            path=self.path,
            status=CLIENT_LEFT if is_abandoned else self.response.status,
            attempts=exchange.attempts if exchange else 0,
            code=self.code,
            overhead_seconds=overhead,
            duration_seconds=now - self.began,
        )


class RelayHandler:
    """Serves requests. Owns the set of those under way, and whether it drains."""

    def __init__(
        self,
        routes: Mapping[str, Route],
        gate: AccessPolicy,
        *,
        memory: ReplayMemory,
        replay_limit_bytes: int,
        request_limit: int,
        clock: Clock,
        observe: Observer,
    ) -> None:
        self._routes = routes
        self._access = gate
        self._memory = memory
        self._replay_limit_bytes = replay_limit_bytes
        self._request_limit = request_limit
        self._clock = clock
        self._observe = observe
        self._keep = AlreadySent(keeps_alive=True)
        self._close = AlreadySent(keeps_alive=False)
        self._under_way: set[RequestContext] = set()
        self._is_idle = asyncio.Event()
        self.date = DateField(clock.now)
        self.is_draining = False

    @property
    def requests_in_flight(self) -> int:
        """Count the requests that are not at their end."""
        return len(self._under_way)

    @property
    def streams_active(self) -> int:
        """Count the responses that have begun and not ended."""
        return sum(context.response.has_started for context in self._under_way)

    async def drained(self) -> None:
        """Wait until no request is under way."""
        while self._under_way:
            self._is_idle.clear()
            await self._is_idle.wait()

    async def handle(
        self, rules: ListenerRules, http_request: web.BaseRequest
    ) -> web.StreamResponse:
        """Serve one request that came in by a listener with *policy*."""
        connection, transport = http_request.protocol, http_request.transport
        if transport is None or not isinstance(connection, ClientConnection):
            return self._close  # it has left already
        try:
            request = read_request(http_request)
        except RequestMalformed as error:
            return self._unread(transport, http_request.method, error)
        response = Response(
            transport,
            is_http_10=request.is_http_10,
            is_head_request=request.method == "HEAD",
            must_close=self.is_draining or not request.keeps_alive,
            date=self.date,
        )
        context = RequestContext(request, response, self._clock.monotonic())
        self._under_way.add(context)
        connection.is_busy = True
        is_abandoned = False
        try:
            await self._serve(rules, connection, context)
        except BearerdError as error:
            context.fail(error)
        except asyncio.CancelledError:
            is_abandoned = True
            raise
        except Exception:
            # A defect of ours. What has begun must not get a second answer.
            LOG.exception("a request failed")
            message = "bearerd failed at this request; its log says more"
            context.fail(BearerdError(message))
        finally:
            connection.is_busy = False
            self._under_way.discard(context)
            if not self._under_way:
                self._is_idle.set()
            now = self._clock.monotonic()
            self._observe(context.finished(now, is_abandoned=is_abandoned))
        return self._close if response.must_close else self._keep

    def _unread(
        self, transport: asyncio.Transport, method: str, error: RequestMalformed
    ) -> web.StreamResponse:
        """Refuse a request that cannot be taken for what it says."""
        response = Response(
            transport,
            is_http_10=False,
            is_head_request=method == "HEAD",
            must_close=True,
            date=self.date,
        )
        response.send_error(error)
        self._observe(
            RequestFinished(
                client="",
                profile="",
                method=method,
                path="",
                status=response.status,
                attempts=0,
                code=error.code,
                overhead_seconds=None,
                duration_seconds=0.0,
            )
        )
        return self._close

    async def _serve(
        self,
        rules: ListenerRules,
        connection: ClientConnection,
        context: RequestContext,
    ) -> None:
        request = context.request
        if self.is_draining:
            message = "bearerd is shutting down"
            raise Draining(message, retry_after_seconds=1)
        if len(self._under_way) > self._request_limit:
            message = (
                "too many requests at once; wait for some, or raise `max_requests`"
            )
            raise Overloaded(message, retry_after_seconds=1)
        authority, raw = origin_form(request.target)
        client = self._access.authorize(
            rules, request.method, request.fields, authority
        )
        context.client = client.name
        if request.method == "OPTIONS" and (raw == b"*" or request.is_last_hop):
            context.response.send_options()
            return
        target = resolve(raw)
        context.path = target.path
        context.profile, route = self._route(client, target)
        body = self._kept_body(request, context.profile)
        # RFC 9110 section 7.8: a 100 that was asked for comes before any 101.
        if request.expects_continue and (body is not None or request.asks_upgrade):
            context.response.send_continue()
        context.exchange = Exchange(
            profile=context.profile,
            path=target.path,
            source=route.source,
            history=route.history,
            upstream=route.upstream,
            upstream_request=UpstreamRequest(
                method=request.method,
                below=target.below,
                fields=request.fields,
                body=body,
                length=request.length,
                asks_upgrade=request.asks_upgrade,
                interim=context.response.interim,
            ),
            response=context.response,
            couple=connection.couple,
            tunnel=lambda upstream: Tunnel(connection, upstream).run(),
            observe=self._observe,
            monotonic=self._clock.monotonic,
        )
        try:
            await context.exchange.run()
        finally:
            if body is not None:
                body.release()

    def _route(self, client: Client, target: Target) -> tuple[str, Route]:
        """Return the profile that the request is for, and where that goes."""
        profile = target.profile or client.profile
        if profile != client.profile:
            message = f"this key is for profile {client.profile}, not for {profile}"
            raise TargetForbidden(message)
        route = self._routes.get(profile)
        if route is None:
            known = ", ".join(sorted(self._routes))
            message = f"there is no profile {profile} here; there are: {known}"
            raise NotFound(message)
        return profile, route

    def _kept_body(self, request: ClientRequest, profile: str) -> ReplayBody | None:
        """Return the request's body, made repeatable up to the limits."""
        if request.reader is None:
            return None

        def abandoned(reason: Literal["request_limit", "total_limit"]) -> None:
            self._observe(ReplayAbandoned(profile, reason))

        return ReplayBody(
            request.reader,
            limit_bytes=self._replay_limit_bytes,
            memory=self._memory,
            abandoned=abandoned,
        )
