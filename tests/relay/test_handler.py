"""What the relay does with one request: who gets which response, and what is announced."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from bearerd.address import Address
from bearerd.clock import Clock
from bearerd.credential.token import Credential
from bearerd.errors import LoginRequired
from bearerd.events import Event, ReplayAbandoned, RequestFinished, Trigger
from bearerd.host_rule import ANY_HOST
from bearerd.keys.ring import Client
from bearerd.relay.access import AccessPolicy, ListenerRules
from bearerd.relay.body import ReplayMemory
from bearerd.relay.context import Route
from bearerd.relay.handler import RelayHandler
from bearerd.relay.listener import Listener
from bearerd.relay.upstream.origin import Origin
from bearerd.relay.upstream.pool import UpstreamPool
from tests.wire.peers import PATIENCE_SECONDS, Peer, RawUpstream, status, values

RULES = ListenerRules(require_key=False, hosts=ANY_HOST, origins=frozenset())
ANONYMOUS = Client("anonymous", "default", frozenset({"relay"}))
LAPTOP = Client("laptop", "work", frozenset({"relay"}))
CREDENTIAL = Credential("made-up-access", "made-up-refresh", generation=1)

REPLAY_LIMIT_BYTES = 10
REQUEST_LIMIT = 2

GET = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /v1/x HTTP/1.1\r\nHost: localhost\r\n"
ENDLESS = b"Content-Length: %d\r\n" % (1 << 63)
"""A length that aiohttp accepts and the relay does not."""

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Keys:
    """One key, of a client whose profile has no route."""

    def find(self, key: bytes) -> Client | None:
        return LAPTOP if key == b"laptop-key" else None


class FixedSource:
    """A `TokenSource` with one credential, or with one error."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    async def current(self) -> Credential:
        if self.error is not None:
            raise self.error
        return CREDENTIAL

    def newer_than(self, rejected: Credential) -> Credential | None:
        del rejected
        return None

    async def reload(self, rejected: Credential) -> Credential | None:
        raise NotImplementedError

    async def refresh(self, rejected: Credential, trigger: Trigger) -> Credential:
        raise NotImplementedError

    def record_acceptance(self, credential: Credential) -> None:
        """Nothing depends on it here."""

    def record_rejection(self, credential: Credential) -> None:
        raise NotImplementedError


class Relay:
    """A handler behind a listener, in front of a raw upstream."""

    def __init__(self, upstream: RawUpstream) -> None:
        self.upstream = upstream
        self.source = FixedSource()
        self.memory = ReplayMemory(1000)
        self.events: list[Event] = []
        self._has_event = asyncio.Event()
        self.pool = UpstreamPool(
            Origin.from_url(f"http://127.0.0.1:{upstream.port}/base"),
            connect_timeout_seconds=5,
            idle_timeout_seconds=300,
            tls=None,
        )
        self.handler = RelayHandler(
            {"default": Route("default", self.source, self.pool)},
            AccessPolicy(Keys(), ANONYMOUS),
            memory=self.memory,
            replay_limit_bytes=REPLAY_LIMIT_BYTES,
            request_limit=REQUEST_LIMIT,
            clock=Clock(),
            observe=self._observe,
        )
        self.listener = Listener(self.handler, connection_limit=10)
        self._clients: list[Peer] = []

    def _observe(self, event: Event) -> None:
        self.events.append(event)
        self._has_event.set()

    async def client(self) -> Peer:
        """Return a new client connection."""
        peer = await Peer.connect(self.listener.addresses[0].port)
        self._clients.append(peer)
        return peer

    async def response(self, request: bytes) -> tuple[bytes, bytes]:
        """Return what a new client gets for *request*: head and body."""
        client = await self.client()
        await client.send(request)
        return await client.response()

    async def sent(self, request: bytes = GET) -> tuple[Peer, Peer]:
        """Send a request, and return both ends once the upstream has its head."""
        client = await self.client()
        await client.send(request)
        peer = await self.upstream.accept()
        await peer.head()
        return client, peer

    async def finished(self) -> RequestFinished:
        """Return the end of the one request."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                for event in self.events:
                    if isinstance(event, RequestFinished):
                        return event
                self._has_event.clear()
                await self._has_event.wait()

    async def close(self) -> None:
        """Close all of it."""
        for client in self._clients:
            await client.leave()
        await self.listener.close(0, None)
        self.pool.close_connections()


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    """A relay that listens."""
    async with RawUpstream() as upstream:
        made = Relay(upstream)
        await made.listener.open([(Address("tcp", host="127.0.0.1", port=0), RULES)])
        yield made
        await made.close()


async def test_a_request_is_answered_by_the_upstream_and_reported(
    relay: Relay,
) -> None:
    """With client, profile, path, status, attempts, and the relay's own share of time."""
    client, peer = await relay.sent()
    assert relay.handler.requests_in_flight == 1
    assert relay.handler.streams_active == 0
    await peer.send(OK)
    head, body = await client.response()
    assert (status(head), body) == (200, b"ok")
    event = await relay.finished()
    assert (event.client, event.profile) == ("anonymous", "default")
    assert (event.method, event.path) == ("GET", "/codex/models")
    assert (event.status, event.attempts, event.code) == (200, 1, None)
    assert event.overhead_seconds is not None
    assert 0 <= event.overhead_seconds <= event.duration_seconds
    assert relay.handler.requests_in_flight == 0


async def test_a_response_that_has_started_counts_as_a_stream(relay: Relay) -> None:
    """Until it ends."""
    client, peer = await relay.sent()
    await peer.send(OK[:-1])
    await client.head()
    assert relay.handler.streams_active == 1
    await peer.send(OK[-1:])
    await client.exactly(2)
    await relay.handler.wait_idle()
    assert relay.handler.streams_active == 0


@pytest.mark.parametrize(
    ("request_bytes", "code", "name", "closes"),
    [
        (GET.replace(b"/v1/", b"/nowhere/"), 404, "not_found", False),
        (GET.replace(b"/v1/", b"/v1/../"), 403, "target_forbidden", False),
        (GET.replace(b"models", b"models#x"), 400, "request_malformed", True),
        (GET.replace(b"GET", b"TRACE"), 405, "method_not_allowed", True),
        (POST + ENDLESS + b"\r\n", 400, "request_malformed", True),
    ],
    ids=["no alias", "ambiguous", "fragment", "method", "length"],
)
async def test_a_request_that_may_not_pass_gets_an_error(
    relay: Relay, request_bytes: bytes, code: int, name: str, closes: bool
) -> None:
    """The connection ends if more of a misread request may follow."""
    head, _ = await relay.response(request_bytes)
    assert (status(head), values(head, b"x-bearerd-error")) == (code, [name.encode()])
    assert values(head, b"connection") == ([b"close"] if closes else [])
    event = await relay.finished()
    assert (event.status, event.code, event.attempts) == (code, name, 0)
    assert event.overhead_seconds is None
    assert relay.upstream.connections == 0


async def test_an_error_to_head_has_no_body(relay: Relay) -> None:
    """Where the request could not be read, too."""
    for request in (
        b"HEAD /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"HEAD / HTTP/1.1\r\nHost: localhost\r\n" + ENDLESS + b"\r\n",
    ):
        client = await relay.client()
        await client.send(request)
        assert int(values(await client.head(), b"content-length")[0]) > 0
        client.half_close()
        assert await client.rest() == b""


@pytest.mark.parametrize(
    ("lines", "target", "code", "message"),
    [
        (b"x-bearerd-key: laptop-key\r\n", b"/v1/x", 404, "no profile work here"),
        (b"", b"/profiles/work/v1/x", 403, "for profile default, not for work"),
    ],
)
async def test_a_profile_must_exist_and_be_the_key_s(
    relay: Relay, lines: bytes, target: bytes, code: int, message: str
) -> None:
    """The report has the path and the client, and no profile."""
    head, body = await relay.response(
        b"GET %b HTTP/1.1\r\nHost: localhost\r\n%b\r\n" % (target, lines)
    )
    assert status(head) == code
    assert message in json.loads(body)["error"]["message"]
    event = await relay.finished()
    assert (event.path, event.profile) == ("/codex/x", "")
    assert event.client == ("laptop" if lines else "anonymous")


async def test_options_of_the_server_are_answered_here(relay: Relay) -> None:
    """RFC 9110 section 9.3.7: `*` is the server itself."""
    head, _ = await relay.response(b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert status(head) == 204
    assert relay.upstream.connections == 0


async def test_the_error_of_the_source_is_the_response(relay: Relay) -> None:
    """Before anything is sent."""
    relay.source.error = LoginRequired("run `bearerd login`", reason="missing")
    head, _ = await relay.response(GET)
    assert values(head, b"x-bearerd-error") == [b"login_required"]
    assert (await relay.finished()).attempts == 0


async def test_a_defect_is_logged_and_answered_with_500(
    relay: Relay, caplog: pytest.LogCaptureFixture
) -> None:
    """The client learns nothing of it, and the next request is served."""
    relay.source.error = RuntimeError("a defect")
    client = await relay.client()
    await client.send(GET)
    head, body = await client.response()
    assert (status(head), values(head, b"x-bearerd-error")) == (
        500,
        [b"internal_error"],
    )
    assert b"a defect" not in body
    assert "a defect" in caplog.text
    relay.source.error = None
    await client.send(GET)
    peer = await relay.upstream.accept()
    await peer.head()
    await peer.send(OK)
    assert (await client.response())[1] == b"ok"


async def test_a_response_that_breaks_off_gets_no_second_one(relay: Relay) -> None:
    """The client's connection ends; the report has the status and the error."""
    client, peer = await relay.sent()
    await peer.send(OK[:-1])
    await client.head()
    peer.reset()
    assert await client.gone() in (b"", b"o")
    event = await relay.finished()
    assert (event.status, event.code) == (200, "upstream_unreachable")


async def test_a_client_that_leaves_is_reported_with_499(relay: Relay) -> None:
    """The upstream's connection ends with it."""
    client, peer = await relay.sent()
    client.reset()
    assert await peer.gone() == b""
    event = await relay.finished()
    assert (event.status, event.code) == (499, None)
    await relay.handler.wait_idle()


async def test_more_requests_than_the_limit_are_refused(relay: Relay) -> None:
    """503 with Retry-After, until one has ended."""
    client, peer = await relay.sent()
    await relay.sent()
    head, _ = await relay.response(GET)
    assert values(head, b"x-bearerd-error") == [b"overloaded"]
    assert values(head, b"retry-after") == [b"1"]
    await peer.send(OK)
    await client.response()
    await client.send(GET)
    assert b"/codex/models" in await peer.head()


async def test_a_draining_relay_refuses_new_requests_and_ends_the_others(
    relay: Relay,
) -> None:
    """`wait_idle` returns when the last one has ended."""
    client, peer = await relay.sent()
    waiting = await relay.client()
    relay.handler.drain()
    assert relay.handler.is_draining
    await waiting.send(GET)
    head, _ = await waiting.response()
    assert values(head, b"x-bearerd-error") == [b"draining"]
    assert values(head, b"connection") == [b"close"]
    idle = asyncio.create_task(relay.handler.wait_idle())
    await asyncio.sleep(0)
    assert not idle.done()
    await peer.send(OK)
    assert (await client.response())[1] == b"ok"
    async with asyncio.timeout(PATIENCE_SECONDS):
        await idle


@pytest.mark.parametrize(
    ("lines", "is_continued"),
    [(b"Content-Length: 2\r\n", True), (b"", False)],
    ids=["body", "no body"],
)
async def test_a_body_that_waits_for_it_gets_a_100(
    relay: Relay, lines: bytes, is_continued: bool
) -> None:
    """RFC 9110 section 10.1.1: at once; the upstream does not decide."""
    client = await relay.client()
    await client.send(POST + b"Expect: 100-continue\r\n" + lines + b"\r\n")
    if is_continued:
        assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"ab")
    peer = await relay.upstream.accept()
    await peer.head()
    await peer.send(OK)
    assert status(await client.head()) == 200


@pytest.mark.parametrize(
    ("length", "is_abandoned"),
    [(REPLAY_LIMIT_BYTES, False), (REPLAY_LIMIT_BYTES + 1, True)],
)
async def test_a_body_is_kept_up_to_its_limit_and_released_at_the_end(
    relay: Relay, length: int, is_abandoned: bool
) -> None:
    """Past the limit that is announced, with the profile."""
    body = b"x" * length
    client, peer = await relay.sent(
        POST + b"Content-Length: %d\r\n\r\n" % length + body
    )
    assert await peer.exactly(length) == body
    assert relay.memory.used_bytes == (0 if is_abandoned else length)
    await peer.send(OK)
    await client.response()
    await relay.finished()
    assert relay.memory.used_bytes == 0
    abandoned = [one for one in relay.events if isinstance(one, ReplayAbandoned)]
    expected = [ReplayAbandoned("default", "request_limit")] if is_abandoned else []
    assert abandoned == expected


@pytest.mark.parametrize("is_forced", [False, True], ids=["timeout", "forced"])
async def test_requests_that_do_not_end_are_aborted_with_the_listener(
    relay: Relay, is_forced: bool
) -> None:
    """After `drain_seconds`, or once it is forced; both connections end."""
    client, peer = await relay.sent()
    force = asyncio.Event()
    if is_forced:
        force.set()
    assert await relay.listener.close(60 if is_forced else 0, force) == 1
    assert await client.gone() == b""
    assert await peer.gone() == b""
    assert (await relay.finished()).status == 499
