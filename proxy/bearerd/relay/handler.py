"""What the relay does with one request: authorize it, route it, exchange it.

Every failure on the way ends here: as one response, or, if a response has started, as its
breaking off. Every request ends in one `RequestFinished`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from bearerd.clock import Clock
from bearerd.errors import (
    BearerdError,
    Draining,
    MethodNotAllowed,
    Overloaded,
    RequestMalformed,
)
from bearerd.events import AbandonReason, Observer, ReplayAbandoned
from bearerd.keys.ring import Client
from bearerd.relay.access import AccessPolicy, ListenerRules
from bearerd.relay.body import ReplayBody, ReplayMemory
from bearerd.relay.client.connection import AlreadySent, ClientConnection
from bearerd.relay.client.date import DateField
from bearerd.relay.client.request import ClientRequest, read_request
from bearerd.relay.client.response import Response
from bearerd.relay.context import (
    CLIENT_LEFT,
    RequestContext,
    RequestRecord,
    Route,
    find_route,
)
from bearerd.relay.exchange import Downstream, Exchange
from bearerd.relay.target import Target, resolve, to_origin_form
from bearerd.relay.tunnel import Tunnel

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _InFlight:
    """One request that is handled now. `eq` is off: each is itself in a set."""

    rules: ListenerRules
    connection: ClientConnection
    request: ClientRequest
    response: Response
    record: RequestRecord


class RelayHandler:
    """Handles requests. Owns those in flight, and whether it drains.

    *routes* are by profile. *request_limit* is the most requests that are handled at once.
    """

    def __init__(
        self,
        routes: Mapping[str, Route],
        access: AccessPolicy,
        *,
        memory: ReplayMemory,
        replay_limit_bytes: int,
        request_limit: int,
        clock: Clock,
        observe: Observer,
    ) -> None:
        self._routes = routes
        self._access = access
        self._memory = memory
        self._replay_limit_bytes = replay_limit_bytes
        self._request_limit = request_limit
        self._clock = clock
        self._observe = observe
        self._keep_alive = AlreadySent(keeps_alive=True)
        self._close = AlreadySent(keeps_alive=False)
        self._in_flight: set[_InFlight] = set()
        self._idle = asyncio.Event()
        self._is_draining = False
        self.date = DateField(clock.now)

    @property
    def requests_in_flight(self) -> int:
        """Return how many requests are handled now."""
        return len(self._in_flight)

    @property
    def streams_active(self) -> int:
        """Return how many responses have started and not ended."""
        return sum(one.response.has_started for one in self._in_flight)

    @property
    def is_draining(self) -> bool:
        """Return True if new requests are refused."""
        return self._is_draining

    def drain(self) -> None:
        """Refuse new requests from now on. Those in flight go on."""
        self._is_draining = True

    async def wait_idle(self) -> None:
        """Wait until no request is in flight."""
        while self._in_flight:
            self._idle.clear()
            await self._idle.wait()

    async def handle(
        self, rules: ListenerRules, http_request: web.BaseRequest
    ) -> web.StreamResponse:
        """Handle one request of a listener with *rules*.

        Return what tells aiohttp whether the connection goes on.
        """
        connection, transport = http_request.protocol, http_request.transport
        if transport is None or not isinstance(connection, ClientConnection):
            return self._close  # the client has left already
        record = RequestRecord(
            http_request.method,
            monotonic=self._clock.monotonic,
            observe=self._observe,
        )
        is_head_request = http_request.method == "HEAD"
        try:
            request = read_request(http_request)
        except RequestMalformed as error:
            connection.refuse(error, is_head_request=is_head_request)
            record.set_error(error)
            record.request_finished(error.status.value)
            return self._close
        response = Response(
            transport,
            is_http_10=request.is_http_10,
            is_head_request=is_head_request,
            must_close=self._is_draining or not request.keeps_alive,
            date=self.date,
        )
        await self._respond(_InFlight(rules, connection, request, response, record))
        return self._close if response.must_close else self._keep_alive

    async def _respond(self, one: _InFlight) -> None:
        """See the response to its end, and announce the end."""
        self._in_flight.add(one)
        one.connection.request_started()
        is_cancelled = False
        try:
            await self._exchange(one)
        except BearerdError as error:
            _fail(one, error)
        except asyncio.CancelledError:
            is_cancelled = True
            raise
        except Exception:
            # A defect. A response that has started must not be followed by another one.
            LOG.exception("a request failed")
            message = "bearerd failed to handle this request; its log has the reason"
            _fail(one, BearerdError(message))
        finally:
            one.connection.request_finished()
            self._in_flight.discard(one)
            if not self._in_flight:
                self._idle.set()
            status = CLIENT_LEFT if is_cancelled else one.response.status
            one.record.request_finished(status)

    async def _exchange(self, one: _InFlight) -> None:
        """Authorize the request, find its route, and run its exchange.

        Raises:
            BearerdError: the response is the relay's own, or has broken off.
        """
        self._check_capacity()
        request, response, connection = one.request, one.response, one.connection
        authority, target = to_origin_form(request.target)
        client = self._access.authorize(
            one.rules, request.method, request.fields, authority
        )
        one.record.set_client(client.name)
        if request.method == "OPTIONS" and (target == b"*" or request.is_last_hop):
            response.send_options()
            return
        context = self._context(one, client, resolve(target))
        has_body = context.body is not None
        # RFC 9110 section 7.8: a 100 that the client waits for comes before any 101.
        if request.expects_continue and (has_body or request.asks_upgrade):
            response.send_continue()
        downstream = Downstream(
            response,
            connection.flow,
            tunnel=lambda upstream: Tunnel(connection, upstream).relay_until_closed(),
        )
        try:
            await Exchange(context, downstream, one.record).run()
        finally:
            if context.body is not None:
                context.body.release()

    def _check_capacity(self) -> None:
        """Raise if no request is accepted now.

        Raises:
            Draining, Overloaded: with the time after which another try is worth it.
        """
        if self._is_draining:
            message = "bearerd is shutting down"
            raise Draining(message, retry_after_seconds=1)
        if len(self._in_flight) > self._request_limit:
            message = (
                "too many requests at once; wait for some, or raise `max_requests`"
            )
            raise Overloaded(message, retry_after_seconds=1)

    def _context(
        self, one: _InFlight, client: Client, target: Target
    ) -> RequestContext:
        """Return the context of an authorized request, and note its parts."""
        one.record.set_path(target.path)
        route = find_route(self._routes, client, target)
        one.record.set_profile(route.profile)
        body = self._replay_body(one.request, route.profile)
        return RequestContext(one.request, client, target, route, body)

    def _replay_body(self, request: ClientRequest, profile: str) -> ReplayBody | None:
        """Return the request's body, which can be sent again up to the limits."""
        if request.reader is None:
            return None

        def on_abandon(reason: AbandonReason) -> None:
            self._observe(ReplayAbandoned(profile, reason))

        return ReplayBody(
            request.reader,
            limit_bytes=self._replay_limit_bytes,
            memory=self._memory,
            on_abandon=on_abandon,
        )


def _fail(one: _InFlight, error: BearerdError) -> None:
    """Answer with *error*, or break off a response that has started."""
    one.record.set_error(error)
    if one.response.has_started:
        one.response.abort()
        return
    # A request that is read in another way than its sender meant may have more behind it.
    is_misread = isinstance(error, RequestMalformed | MethodNotAllowed)
    one.response.send_error(error, closes=is_misread)
