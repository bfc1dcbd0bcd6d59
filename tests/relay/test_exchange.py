"""One request with all its attempts, between a raw upstream and a source by script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple, cast

import pytest

from bearerd.credential.source import CredentialSource
from bearerd.credential.token import Credential
from bearerd.errors import (
    AccountChanged,
    AuthorityUnavailable,
    BearerdError,
    LoginRequired,
    RefreshThrottled,
    StoreError,
)
from bearerd.events import Event, RecoveryFinished
from bearerd.relay.body import ReplayBody, ReplayMemory
from bearerd.relay.client.date import DateField
from bearerd.relay.client.response import Response
from bearerd.relay.exchange import Exchange, outcome_of
from bearerd.relay.flow_control import FlowControl
from bearerd.relay.upstream.attempt import UpstreamRequest
from bearerd.relay.upstream.connection import UpstreamConnection
from bearerd.relay.upstream.origin import Origin
from bearerd.relay.upstream.pool import UpstreamPool
from tests.wire.peers import Peer, RawUpstream, first_line, status, values

OLD = Credential("old-access", "old-refresh", generation=1)
NEW = Credential("new-access", "new-refresh", generation=2)
NEWER = Credential("newer-access", "newer-refresh", generation=3)

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
REFUSED = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 13\r\n\r\ntoken_expired"


@dataclass
class Source:
    """A source that answers by script, and keeps what it was asked."""

    reloads: list[Credential | BearerdError | None] = field(default_factory=list)
    refreshes: list[Credential | BearerdError] = field(default_factory=list)
    newer: Credential | None = None
    is_token: bool = True
    asked: list[str] = field(default_factory=list)

    def anew(self) -> Source:
        return replace(
            self, reloads=[*self.reloads], refreshes=[*self.refreshes], asked=[]
        )

    async def current(self, _path: str) -> Credential:
        return OLD

    async def reload(self, refused: Credential) -> Credential | None:
        self.asked.append(f"reload {refused.access_token}")
        found = self.reloads.pop(0)
        if isinstance(found, BearerdError):
            raise found
        return found

    async def refresh(self, refused: Credential, _trigger: str) -> Credential:
        self.asked.append(f"refresh {refused.access_token}")
        renewed = self.refreshes.pop(0)
        if isinstance(renewed, BearerdError):
            raise renewed
        return renewed

    def newer_than(self, _refused: Credential) -> Credential | None:
        return self.newer

    def record_success(self, _path: str, credential: Credential) -> None:
        self.asked.append(f"accepted {credential.access_token}")

    def record_rejection(
        self, _path: str, _credential: Credential, *, blames_token: bool, is_fresh: bool
    ) -> bool:
        del is_fresh
        return self.is_token and blames_token


class Body:
    """A reader whose bytes are all there, or come when a test lets them."""

    def __init__(self, whole: bytes) -> None:
        self.whole = whole

    async def readany(self) -> bytes:
        return self.read_nowait()

    def read_nowait(self, n: int = -1) -> bytes:
        assert n == -1
        whole, self.whole = self.whole, b""
        return whole

    def is_eof(self) -> bool:
        return True


class SourcesKept(FlowControl):
    """A client's flow control that keeps whether it had a source, at each change."""

    def __init__(self) -> None:
        super().__init__(NeverPaused())
        self.sources: list[bool] = []

    def set_source(self, source: FlowControl | None) -> None:
        self.sources.append(source is not None)
        super().set_source(source)


class NeverPaused:
    """A client whose requests are too small to be paused."""

    def pause_reading(self) -> None:
        raise AssertionError

    def resume_reading(self) -> None:
        raise AssertionError


class Bench:
    """A client's connection, an upstream that answers by script, and an exchange."""

    def __init__(self, server: RawUpstream, transport: asyncio.Transport) -> None:
        self.server = server
        self.events: list[Event] = []
        self.client_flow = SourcesKept()
        self.sent: list[tuple[bytes, bytes]] = []
        self.upstream = UpstreamPool(
            Origin.from_url(f"http://127.0.0.1:{server.port}/base"),
            connect_timeout_seconds=5,
            idle_timeout_seconds=300,
            tls=None,
        )
        self.response = Response(
            transport,
            is_http_10=False,
            is_head_request=False,
            must_close=False,
            date=DateField(lambda: 0),
        )

    def exchange(self, source: Source, body: ReplayBody | None = None) -> Exchange:
        return Exchange(
            profile="default",
            path="/x",
            source=cast("CredentialSource", source),
            upstream=self.upstream,
            upstream_request=UpstreamRequest(
                method="POST",
                target=b"/x",
                fields=((b"X-A", b"1"),),
                body=body,
                length=3 if body is not None else 0,
                asks_upgrade=False,
                on_interim=self.response.send_interim,
            ),
            response=self.response,
            client_flow=self.client_flow,
            tunnel=self.no_tunnel,
            observe=self.events.append,
            monotonic=asyncio.get_running_loop().time,
        )

    @staticmethod
    async def no_tunnel(_wire: UpstreamConnection) -> None:
        raise AssertionError("nobody asked for one")

    async def serve(self, *responses: bytes, body: int = 0) -> None:
        """Answer one request after another, over whichever connection it comes."""
        script = list(responses)
        while script:
            peer = await self.server.accept()
            await self.serve_one(peer, script, body)

    async def serve_one(self, peer: Peer, script: list[bytes], body: int) -> None:
        while script:
            try:
                head = await peer.head()
            except (asyncio.IncompleteReadError, ConnectionResetError):
                return
            assert first_line(head) == b"POST /base/x HTTP/1.1"
            (bearer,) = values(head, b"authorization")
            self.sent.append(
                (bearer.removeprefix(b"Bearer "), await peer.exactly(body))
            )
            await peer.send(script.pop(0))


@pytest.fixture
async def ends() -> AsyncIterator[tuple[Bench, Peer]]:
    """A bench, and the client that gets the response."""
    async with RawUpstream() as front, RawUpstream() as server:
        client = await Peer.connect(front.port)
        transport = (await front.accept()).writer.transport
        bench = Bench(server, cast("asyncio.Transport", transport))
        yield bench, client
        bench.upstream.close_connections()
        await client.leave()


class Case(NamedTuple):
    """A script, and what is to come of it."""

    source: Source
    responses: list[bytes]
    sent: list[Credential]
    code: int
    steps: bytes = b""
    mark: bytes = b""


THROTTLED = RefreshThrottled("spent", retry_after_seconds=1)

TABLE = {
    "accepted": Case(Source(), [OK], [OLD], 200),
    "another's 401": Case(Source(is_token=False), [REFUSED], [OLD], 401),
    "newer": Case(Source(newer=NEW), [REFUSED, OK], [OLD, NEW], 200, b"reload"),
    "reloaded": Case(Source([NEW]), [REFUSED, OK], [OLD, NEW], 200, b"reload"),
    "refreshed": Case(
        Source([None], [NEW]), [REFUSED, OK], [OLD, NEW], 200, b"refresh"
    ),
    "both": Case(
        Source([NEW], [NEWER]),
        [REFUSED, REFUSED, OK],
        [OLD, NEW, NEWER],
        200,
        b"reload, refresh",
    ),
    "in vain": Case(
        Source([NEW], [NEWER]),
        [REFUSED, REFUSED, REFUSED],
        [OLD, NEW, NEWER],
        401,
        b"reload, refresh",
    ),
    "throttled": Case(
        Source([None], [THROTTLED]), [REFUSED], [OLD], 401, mark=b"refresh_throttled"
    ),
}


@pytest.mark.parametrize("case", TABLE.values(), ids=TABLE)
async def test_what_follows_each_response(ends: tuple[Bench, Peer], case: Case) -> None:
    """With which credentials it goes out, what the client gets, and what is said."""
    bench, client = ends
    serving = asyncio.create_task(bench.serve(*case.responses))
    exchange = bench.exchange(case.source.anew())
    await exchange.run()
    await serving
    head, body = await client.response()
    assert status(head) == case.code
    assert body == (b"ok" if case.code == 200 else b"token_expired")
    assert [bearer.decode() for bearer, _ in bench.sent] == [
        credential.access_token for credential in case.sent
    ]
    assert exchange.attempts == len(case.sent)
    assert values(head, b"x-bearerd-recovery") == ([case.steps] if case.steps else [])
    assert values(head, b"x-bearerd-error") == ([case.mark] if case.mark else [])
    told = [event for event in bench.events if isinstance(event, RecoveryFinished)]
    assert [event.path.value.encode() for event in told] == (
        [case.steps] if case.steps or case.mark else []
    )
    assert bench.client_flow.sources == [True, False]


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (Source([LoginRequired("gone", reason="missing")]), "login_required"),
        (Source([AccountChanged("another")]), "account_changed"),
        (Source([None], [LoginRequired("dead", reason="reused")]), "login_required"),
        (Source([None], [AuthorityUnavailable("away")]), "authority_unavailable"),
        (Source([None], [StoreError("full")]), "store_error"),
    ],
)
async def test_a_recovery_that_fails_is_told_in_our_own_words(
    ends: tuple[Bench, Peer], source: Source, error: str
) -> None:
    """After one send, and with nothing of the refused response on its way."""
    bench, _ = ends
    serving = asyncio.create_task(bench.serve(REFUSED))
    with pytest.raises(BearerdError) as raised:
        await bench.exchange(source.anew()).run()
    await serving
    assert raised.value.code == error
    assert not bench.response.has_started
    (told,) = bench.events
    assert isinstance(told, RecoveryFinished)
    assert told.outcome.value == error


def kept(whole: bytes, limit: int) -> ReplayBody:
    """Return a body of which *limit* bytes may be kept."""
    return ReplayBody(
        Body(whole),
        limit_bytes=limit,
        memory=ReplayMemory(1000),
        on_abandon=lambda _reason: None,
    )


async def test_every_attempt_carries_the_whole_body(ends: tuple[Bench, Peer]) -> None:
    """The same bytes each time."""
    bench, _ = ends
    serving = asyncio.create_task(bench.serve(REFUSED, REFUSED, OK, body=3))
    await bench.exchange(Source([NEW], [NEWER]), kept(b"abc", 3)).run()
    await serving
    assert [body for _, body in bench.sent] == [b"abc"] * 3


async def test_a_body_that_is_gone_is_not_replayed_but_the_next_has_a_credential(
    ends: tuple[Bench, Peer],
) -> None:
    """The 401 is delivered, marked; the refresh runs all the same."""
    bench, client = ends
    serving = asyncio.create_task(bench.serve(REFUSED, body=3))
    source = Source([None], [NEW])
    await bench.exchange(source, kept(b"abc", 2)).run()
    await serving
    head, _ = await client.response()
    assert values(head, b"x-bearerd-error") == [b"replay_abandoned"]
    assert source.asked == ["reload old-access", "refresh old-access"]
    assert len(bench.sent) == 1


async def test_an_exchange_that_is_cancelled_closes_its_connection(
    ends: tuple[Bench, Peer],
) -> None:
    """The client has left; the upstream need not go on."""
    bench, _ = ends
    running = asyncio.create_task(bench.exchange(Source()).run())
    peer = await bench.server.accept()
    await peer.head()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await peer.gone() == b""
    assert bench.upstream.connection_count == 0
    assert bench.client_flow.sources == [False]


@pytest.mark.parametrize(
    "error",
    [
        LoginRequired("", reason="missing"),
        AccountChanged(""),
        AuthorityUnavailable(""),
        StoreError(""),
        BearerdError(""),
    ],
    ids=lambda error: error.code,
)
def test_the_outcome_of_a_failed_recovery_has_the_error_s_code(
    error: BearerdError,
) -> None:
    """Log, metric and response name one failure with one word."""
    assert outcome_of(error).value == error.code
