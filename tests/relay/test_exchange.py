"""One request with all its attempts, between a raw upstream and a scripted source."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple, cast

import pytest

from bearerd.credential.token import Credential
from bearerd.errors import (
    AccountChanged,
    AuthorityUnavailable,
    BearerdError,
    LoginRequired,
    RefreshThrottled,
    StoreError,
    StoreUnavailable,
    UpstreamUnreachable,
)
from bearerd.events import Event, RecoveryFinished, RequestFinished, Trigger
from bearerd.keys.ring import Client
from bearerd.relay.body import ReplayBody, ReplayMemory
from bearerd.relay.client.date import DateField
from bearerd.relay.client.request import ClientRequest
from bearerd.relay.client.response import Response
from bearerd.relay.context import RequestContext, RequestRecord, Route
from bearerd.relay.exchange import Downstream, Exchange
from bearerd.relay.flow_control import FlowControl
from bearerd.relay.rejections import PROBE_SECONDS, RejectionHistory, Verdict
from bearerd.relay.target import Target
from bearerd.relay.upstream.connection import UpstreamConnection
from bearerd.relay.upstream.origin import Origin
from bearerd.relay.upstream.pool import UpstreamPool
from tests.wire.peers import Peer, RawUpstream, first_line, status, values

OLD = Credential("old-access", "old-refresh", generation=1)
NEW = Credential("new-access", "new-refresh", generation=2)
NEWER = Credential("newer-access", "newer-refresh", generation=3)

CLIENT = Client("laptop", "default", frozenset({"relay"}))

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
REFUSED = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 13\r\n\r\ntoken_expired"
WORDLESS = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 7\r\n\r\nno seat"


@dataclass
class ScriptedSource:
    """A `TokenSource` that replies by script and records its calls."""

    reloads: list[Credential | BearerdError | None] = field(default_factory=list)
    refreshes: list[Credential | BearerdError] = field(default_factory=list)
    newer: Credential | None = None
    calls: list[str] = field(default_factory=list)

    def copy(self) -> ScriptedSource:
        return replace(
            self, reloads=[*self.reloads], refreshes=[*self.refreshes], calls=[]
        )

    async def current(self) -> Credential:
        return OLD

    async def reload(self, rejected: Credential) -> Credential | None:
        self.calls.append(f"reload {rejected.access_token}")
        found = self.reloads.pop(0)
        if isinstance(found, BearerdError):
            raise found
        return found

    async def refresh(self, rejected: Credential, trigger: Trigger) -> Credential:
        assert trigger == "refused"
        self.calls.append(f"refresh {rejected.access_token}")
        renewed = self.refreshes.pop(0)
        if isinstance(renewed, BearerdError):
            raise renewed
        return renewed

    def newer_than(self, rejected: Credential) -> Credential | None:
        assert rejected is not self.newer
        return self.newer

    def record_acceptance(self, credential: Credential) -> None:
        self.calls.append(f"accepted {credential.access_token}")

    def record_rejection(self, credential: Credential) -> None:
        self.calls.append(f"rejected {credential.access_token}")


class CompleteBody:
    """A reader whose bytes have all arrived."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def readany(self) -> bytes:
        return self.read_nowait()

    def read_nowait(self, n: int = -1) -> bytes:
        assert n == -1
        content, self._content = self._content, b""
        return content

    def is_eof(self) -> bool:
        return True


class RecordedFlow(FlowControl):
    """A client's flow control that records, at each change, whether it has a source."""

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
    """A client's connection, an upstream that responds by script, and an exchange."""

    def __init__(self, server: RawUpstream, transport: asyncio.Transport) -> None:
        self.server = server
        self.events: list[Event] = []
        self.flow = RecordedFlow()
        self.sent: list[tuple[bytes, bytes]] = []
        self.history = RejectionHistory()
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
        self.record = RequestRecord(
            "POST",
            monotonic=asyncio.get_running_loop().time,
            observe=self.events.append,
        )

    def exchange(
        self, source: ScriptedSource, body: ReplayBody | None = None
    ) -> Exchange:
        request = ClientRequest(
            method="POST",
            target=b"/v1/x",
            fields=((b"X-A", b"1"),),
            is_http_10=False,
            keeps_alive=True,
            reader=None,
            length=3 if body is not None else 0,
            expects_continue=False,
            asks_upgrade=False,
            is_last_hop=False,
        )
        context = RequestContext(
            request,
            CLIENT,
            Target(None, b"/x", "/x"),
            Route("default", source, self.upstream, self.history),
            body,
        )
        downstream = Downstream(self.response, self.flow, self.no_tunnel)
        return Exchange(context, downstream, self.record)

    def recoveries(self) -> list[RecoveryFinished]:
        """Return the recoveries that were announced."""
        return [one for one in self.events if isinstance(one, RecoveryFinished)]

    def attempts(self) -> int:
        """End the request, and return the announced number of attempts."""
        self.record.request_finished(self.response.status)
        finished = self.events[-1]
        assert isinstance(finished, RequestFinished)
        return finished.attempts

    @staticmethod
    async def no_tunnel(_upstream: UpstreamConnection) -> None:
        raise AssertionError("no request asks for an upgrade")

    async def serve(self, *responses: bytes, body: int = 0) -> None:
        """Respond to one request after another, on any connection."""
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
    """A script, and what is expected of it."""

    source: ScriptedSource
    responses: list[bytes]
    sent: list[Credential]
    code: int
    steps: bytes = b""
    mark: bytes = b""


THROTTLED = RefreshThrottled("spent", retry_after_seconds=1)

TABLE = {
    "accepted": Case(ScriptedSource(), [OK], [OLD], 200),
    "a newer one was cached": Case(
        ScriptedSource(newer=NEW), [REFUSED, OK], [OLD, NEW], 200, b"reload"
    ),
    "reloaded": Case(ScriptedSource([NEW]), [REFUSED, OK], [OLD, NEW], 200, b"reload"),
    "refreshed": Case(
        ScriptedSource([None], [NEW]), [REFUSED, OK], [OLD, NEW], 200, b"refresh"
    ),
    "reloaded and refreshed": Case(
        ScriptedSource([NEW], [NEWER]),
        [REFUSED, REFUSED, OK],
        [OLD, NEW, NEWER],
        200,
        b"reload, refresh",
    ),
    "in vain": Case(
        ScriptedSource([NEW], [NEWER]),
        [REFUSED, REFUSED, REFUSED],
        [OLD, NEW, NEWER],
        401,
        b"reload, refresh",
    ),
    "throttled": Case(
        ScriptedSource([None], [THROTTLED]),
        [REFUSED],
        [OLD],
        401,
        mark=b"refresh_throttled",
    ),
}


@pytest.mark.parametrize("case", TABLE.values(), ids=TABLE)
async def test_an_exchange_follows_the_table(
    ends: tuple[Bench, Peer], case: Case
) -> None:
    """The credentials it sends, the response it delivers, and what it announces."""
    bench, client = ends
    serving = asyncio.create_task(bench.serve(*case.responses))
    await bench.exchange(case.source.copy()).run()
    await serving
    head, body = await client.response()
    assert status(head) == case.code
    assert body == (b"ok" if case.code == 200 else b"token_expired")
    assert [bearer.decode() for bearer, _ in bench.sent] == [
        credential.access_token for credential in case.sent
    ]
    assert values(head, b"x-bearerd-recovery") == ([case.steps] if case.steps else [])
    assert values(head, b"x-bearerd-error") == ([case.mark] if case.mark else [])
    assert [one.path.value.encode() for one in bench.recoveries()] == (
        [case.steps] if case.steps or case.mark else []
    )
    assert bench.attempts() == len(case.sent)
    assert bench.flow.sources == [True, False]


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (ScriptedSource([LoginRequired("gone", reason="missing")]), "login_required"),
        (ScriptedSource([AccountChanged("another")]), "account_changed"),
        (
            ScriptedSource([None], [LoginRequired("dead", reason="reused")]),
            "login_required",
        ),
        (
            ScriptedSource([None], [AuthorityUnavailable("away")]),
            "authority_unavailable",
        ),
        (ScriptedSource([None], [StoreError("full")]), "store_error"),
    ],
)
async def test_a_recovery_that_fails_raises_its_error(
    ends: tuple[Bench, Peer], source: ScriptedSource, error: str
) -> None:
    """After one send; nothing of the refused response has been delivered."""
    bench, _ = ends
    serving = asyncio.create_task(bench.serve(REFUSED))
    with pytest.raises(BearerdError) as raised:
        await bench.exchange(source.copy()).run()
    await serving
    assert raised.value.code == error
    assert not bench.response.has_started
    (recovery,) = bench.recoveries()
    assert recovery.outcome.value == error


def now() -> float:
    """Return the time of the exchange's clock."""
    return asyncio.get_running_loop().time()


async def test_a_401_of_the_resource_is_delivered(ends: tuple[Bench, Peer]) -> None:
    """Here the path rejects each fresh credential, and another path accepts this one."""
    bench, client = ends
    bench.history.record_rejection("/x", 1, now(), blames_token=True, is_fresh=True)
    bench.history.record_success("/other", 1, now())
    source = ScriptedSource()
    serving = asyncio.create_task(bench.serve(REFUSED))
    await bench.exchange(source).run()
    await serving
    head, _ = await client.response()
    assert status(head) == 401
    assert values(head, b"x-bearerd-error") == []
    assert source.calls == []


@pytest.mark.parametrize(
    ("response", "failure", "error"),
    [
        (WORDLESS, AuthorityUnavailable("away"), None),
        (WORDLESS, StoreUnavailable("no permission"), None),
        (WORDLESS, LoginRequired("dead", reason="reused"), "login_required"),
        (WORDLESS, AccountChanged("another"), "account_changed"),
        (REFUSED, AuthorityUnavailable("away"), "authority_unavailable"),
    ],
)
async def test_a_401_that_may_be_the_resources_is_delivered_if_no_refresh_can_be_had(
    ends: tuple[Bench, Peer], response: bytes, failure: BearerdError, error: str | None
) -> None:
    """The path is new, another one accepts the credential, and the body blames no token.
    So it is tried once, and a failure that passes is no reason to hide the challenge.
    """
    bench, client = ends
    bench.history.record_success("/other", OLD.generation, now())
    serving = asyncio.create_task(bench.serve(response))
    exchange = bench.exchange(ScriptedSource([None], [failure]))
    if error is not None:
        with pytest.raises(BearerdError) as raised:
            await exchange.run()
        assert raised.value.code == error
    else:
        await exchange.run()
        head, body = await client.response()
        assert (status(head), body) == (401, b"no seat")
        assert values(head, b"x-bearerd-error") == []
    await serving
    assert len(bench.sent) == 1


async def test_the_source_is_told_how_the_upstream_responded(
    ends: tuple[Bench, Peer],
) -> None:
    """Which credential was accepted, and which was rejected."""
    bench, _ = ends
    source = ScriptedSource([NEW], [NEWER])
    serving = asyncio.create_task(bench.serve(REFUSED, REFUSED, OK))
    await bench.exchange(source).run()
    await serving
    assert source.calls == [
        "rejected old-access",
        "reload old-access",
        "rejected new-access",
        "refresh new-access",
        "accepted newer-access",
    ]


async def test_the_history_is_told_which_rejected_credential_was_fresh(
    ends: tuple[Bench, Peer],
) -> None:
    """A path that rejects a fresh one does not condemn it for the others."""
    bench, _ = ends
    serving = asyncio.create_task(bench.serve(REFUSED, REFUSED))
    await bench.exchange(ScriptedSource([None], [NEW])).run()
    await serving
    assert bench.history.is_known_bad("/x", NEW.generation)
    bench.history.record_success("/other", NEW.generation, now())
    verdict = bench.history.record_rejection(
        "/x", NEW.generation, now(), blames_token=True
    )
    assert verdict is Verdict.RESOURCE


def record_old_rejection(bench: Bench) -> None:
    """Let the history know of a rejection that is so old that another try is allowed."""
    bench.history.record_rejection(
        "/x", OLD.generation, now() - PROBE_SECONDS, blames_token=True
    )


class KnownBad(NamedTuple):
    """What a refresh gives, and what is expected of the request."""

    refresh: Credential | BearerdError
    sent: list[str]
    error: str | None = None


@pytest.mark.parametrize(
    "case",
    [
        KnownBad(NEW, ["new-access"]),
        KnownBad(AuthorityUnavailable("away"), ["old-access"]),
        KnownBad(StoreUnavailable("no permission"), ["old-access"]),
        KnownBad(THROTTLED, ["old-access"]),
        KnownBad(LoginRequired("dead", reason="reused"), ["old-access"]),
        KnownBad(AccountChanged("another"), ["old-access"]),
        KnownBad(StoreError("full"), [], "store_error"),
    ],
    ids=lambda case: getattr(case.refresh, "code", "refreshed"),
)
async def test_a_credential_known_to_be_rejected_is_refreshed_first(
    ends: tuple[Bench, Peer], case: KnownBad
) -> None:
    """If that fails it is sent all the same: the upstream may have been wrong."""
    bench, _ = ends
    record_old_rejection(bench)
    source = ScriptedSource(refreshes=[case.refresh])
    serving = asyncio.create_task(bench.serve(*[OK] * len(case.sent)))
    if case.error is None:
        await bench.exchange(source).run()
    else:
        with pytest.raises(BearerdError) as raised:
            await bench.exchange(source).run()
        assert raised.value.code == case.error
    await serving
    assert [bearer.decode() for bearer, _ in bench.sent] == case.sent


async def test_a_login_that_ended_is_tried_once_in_a_while(
    ends: tuple[Bench, Peer],
) -> None:
    """One request in 30 s goes out; the others get the remedy at once."""
    bench, _ = ends
    record_old_rejection(bench)
    dead = LoginRequired("dead", reason="reused")
    serving = asyncio.create_task(bench.serve(REFUSED))
    with pytest.raises(LoginRequired):
        await bench.exchange(ScriptedSource([None], [dead, dead])).run()
    await serving
    with pytest.raises(LoginRequired):
        await bench.exchange(ScriptedSource([None], [dead])).run()
    assert len(bench.sent) == 1


@pytest.mark.parametrize("code", [400, 403, 429, 500, 503])
async def test_an_error_that_is_no_401_says_nothing_of_the_credential(
    ends: tuple[Bench, Peer], code: int
) -> None:
    """It may be from a server that never saw the token."""
    bench, _ = ends
    source = ScriptedSource()
    serving = asyncio.create_task(
        bench.serve(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % code)
    )
    await bench.exchange(source).run()
    await serving
    assert source.calls == []


async def test_an_upstream_that_is_lost_on_the_replay_is_an_error(
    ends: tuple[Bench, Peer],
) -> None:
    """The refused response is gone by then, and is not delivered."""
    bench, _ = ends
    running = asyncio.create_task(bench.exchange(ScriptedSource([NEW])).run())
    peer = await bench.server.accept()
    await peer.head()
    await peer.send(REFUSED)
    await peer.head()
    peer.reset()
    with pytest.raises(UpstreamUnreachable):
        await running
    assert not bench.response.has_started
    assert bench.upstream.connection_count == 0


def kept(content: bytes, limit: int) -> ReplayBody:
    """Return a body of which *limit* bytes may be kept."""
    return ReplayBody(
        CompleteBody(content),
        limit_bytes=limit,
        memory=ReplayMemory(1000),
        on_abandon=lambda _reason: None,
    )


async def test_every_attempt_carries_the_whole_body(ends: tuple[Bench, Peer]) -> None:
    """The replay has the same bytes."""
    bench, _ = ends
    serving = asyncio.create_task(bench.serve(REFUSED, REFUSED, OK, body=3))
    await bench.exchange(ScriptedSource([NEW], [NEWER]), kept(b"abc", 3)).run()
    await serving
    assert [body for _, body in bench.sent] == [b"abc"] * 3


async def test_a_body_past_its_limit_is_not_replayed_and_the_credential_is_renewed(
    ends: tuple[Bench, Peer],
) -> None:
    """The 401 is delivered, marked; the next request has the new credential."""
    bench, client = ends
    serving = asyncio.create_task(bench.serve(REFUSED, body=3))
    source = ScriptedSource([None], [NEW])
    await bench.exchange(source, kept(b"abc", 2)).run()
    await serving
    head, _ = await client.response()
    assert values(head, b"x-bearerd-error") == [b"replay_abandoned"]
    assert source.calls[1:] == ["reload old-access", "refresh old-access"]
    assert len(bench.sent) == 1


async def test_an_exchange_that_is_cancelled_closes_its_connection(
    ends: tuple[Bench, Peer],
) -> None:
    """The client has left, so the upstream can stop."""
    bench, _ = ends
    running = asyncio.create_task(bench.exchange(ScriptedSource()).run())
    peer = await bench.server.accept()
    await peer.head()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await peer.gone() == b""
    assert bench.upstream.connection_count == 0
    assert bench.flow.sources == [False]
