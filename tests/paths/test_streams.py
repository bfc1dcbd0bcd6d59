"""A response on its way back, at the pace of the slower side.

Events are forwarded as they arrive, bodies unchanged, and the end of either side is the
end.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest

from bearerd.sandbox import Sandbox, UpstreamFault
from tests.support import Client, Daemon, Start

ECHO = "/backend-api/echo"
TURN_STATE = "x-codex-turn-state"
MIB = 1 << 20
SETTLED_ROUNDS = 25
"""A transfer that moves no byte during this many round trips is paused."""

ZSTD = b"\x28\xb5\x2f\xfd\x20\x07\x39\x00\x00bearerd"
"""RFC 8878 section 3.1.1: one frame with one raw block."""


class RawUpstream:
    """An upstream of a few lines. Owns its counts of connections and of body bytes.

    It reads a body only once `may_read` is set.
    """

    def __init__(self) -> None:
        self.accepted = 0
        self.taken_bytes = 0
        self.digest = hashlib.sha256()
        self.may_read = asyncio.Event()
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answer `ok` to every request of one connection."""
        self.accepted += 1
        self.writers.append(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                _, _, after = head.partition(b"content-length: ")
                await self._take(reader, int(after.split(b"\r\n")[0] or b"0"))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except (asyncio.IncompleteReadError, ConnectionError):
            return

    async def _take(self, reader: asyncio.StreamReader, length: int) -> None:
        if length:
            await self.may_read.wait()
        for start in range(0, length, 1 << 16):
            part = await reader.readexactly(min(1 << 16, length - start))
            self.taken_bytes += len(part)
            self.digest.update(part)


@asynccontextmanager
async def raw_upstream() -> AsyncIterator[tuple[RawUpstream, str]]:
    """Yield a raw upstream and its URL."""
    by_hand = RawUpstream()
    server = await asyncio.start_server(by_hand.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield by_hand, f"http://127.0.0.1:{port}/backend-api"
    for writer in by_hand.writers:
        writer.close()
    server.close()
    await server.wait_closed()


async def settled(daemon: Daemon, moved: Callable[[], int]) -> int:
    """Return the value of *moved*, once it has been constant for many round trips."""
    rounds, before = 0, -1
    async with asyncio.timeout(10):
        while rounds < SETTLED_ROUNDS:
            await daemon.client.get("/nowhere")
            rounds = rounds + 1 if moved() == before else 0
            before = moved()
    return before


async def read_events(response: aiohttp.ClientResponse, count: int) -> bytes:
    """Return what was received until *count* events were complete."""
    got = b""
    async with asyncio.timeout(10):
        while got.count(b"\n\n") < count:
            got += await response.content.readany()
    return got


async def raw_request(
    client: Client, head: bytes, *, receive_bytes: int | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send a head with the key over a connection of its own."""
    port = int(client.base_url.rpartition(":")[2])
    sock = socket.socket()
    if receive_bytes is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=4096)
    key = b"Authorization: Bearer %b\r\n\r\n" % client.key.encode()
    writer.write(head + b"Host: localhost\r\n" + key)
    return reader, writer


async def test_an_event_arrives_while_the_upstream_holds_the_rest(
    start: Start, sandbox: Sandbox
) -> None:
    """Head and events are forwarded at once; nothing waits for a buffer to fill."""
    daemon = await start()
    streams = sandbox.upstream.streams
    streams.gate.close()
    async with daemon.client.open() as response:  # the head arrives before any event
        assert response.headers["content-type"] == "text/event-stream"
        await streams.gate.wait_for_waiting(1)
    for count in (1, 2, 3):
        streams.gate_after_events = count
        streams.gate.close()
        async with daemon.client.open() as response:
            got = await read_events(response, count)
            assert (got.count(b"\n\n"), streams.gate.waiting) == (count, 1)
            streams.gate.open()
            assert b"response.completed" in await response.read()


@pytest.mark.parametrize("when", ["before the head", "in mid-stream"])
async def test_a_client_disconnect_cancels_the_upstream_request(
    start: Start, sandbox: Sandbox, when: str
) -> None:
    """Within a second, and the event says that the client disconnected."""
    daemon = await start()
    upstream = sandbox.upstream
    gate = upstream.gate if when == "before the head" else upstream.streams.gate
    upstream.streams.gate_after_events = 2
    gate.close()
    pending = asyncio.create_task(daemon.client.send())
    await gate.wait_for_waiting(1)
    began = asyncio.get_running_loop().time()
    pending.cancel()
    await upstream.wait_for_abandoned(1)
    assert asyncio.get_running_loop().time() - began < 1
    (finished,) = await daemon.wait_for_finished(1)
    assert (finished.status, finished.attempts) == (499, 1)
    assert upstream.streams.open == 0
    gate.open()
    assert (await daemon.client.send()).status == 200


async def test_a_slow_reader_slows_the_upstream_down(
    start: Start, sandbox: Sandbox
) -> None:
    """Unread bytes stay with the upstream; once the client reads, all of them arrive."""
    daemon = await start()
    size = 96 * MIB
    reader, writer = await raw_request(
        daemon.client,
        b"GET /backend-api/bytes/%d HTTP/1.1\r\n" % size,
        receive_bytes=1 << 16,
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"Content-Length: %d\r\n" % size in head
    (record,) = sandbox.upstream.records
    sent_bytes = await settled(daemon, lambda: record.sent_bytes)
    assert 0 < sent_bytes < size / 3
    taken_bytes = 0
    async with asyncio.timeout(20):
        while taken_bytes < size:
            part = await reader.read(MIB)
            assert part
            taken_bytes += len(part)
    assert (taken_bytes, record.sent_bytes) == (size, size)
    writer.close()


async def test_a_slow_upstream_slows_an_upload_down(start: Start) -> None:
    """The client is paused while the upstream does not read; no byte is lost."""
    block = bytes(range(256)) * 1024
    size = 96 * MIB
    sent_bytes = 0
    async with raw_upstream() as (upstream, url):
        daemon = await start(upstream_url=url, replay_limit_bytes=MIB)
        reader, writer = await raw_request(
            daemon.client,
            b"POST /backend-api/upload HTTP/1.1\r\nContent-Length: %d\r\n" % size,
        )

        async def upload() -> None:
            nonlocal sent_bytes
            while sent_bytes < size:
                writer.write(block)
                await writer.drain()
                sent_bytes += len(block)

        uploading = asyncio.create_task(upload())
        stuck_at = await settled(daemon, lambda: sent_bytes)
        assert 0 < stuck_at < size / 3
        assert upstream.taken_bytes == 0
        upstream.may_read.set()
        async with asyncio.timeout(20):
            await uploading
            assert b" 200 OK\r\n" in await reader.readuntil(b"\r\n\r\n")
        sent = hashlib.sha256(block * (size // len(block)))
        assert upstream.digest.digest() == sent.digest()
        writer.close()


@pytest.mark.parametrize(
    ("coding", "body"),
    [("zstd", ZSTD), ("gzip", gzip.compress(b"bearerd" * 999, mtime=0))],
    ids=["zstd", "gzip"],
)
async def test_an_encoded_body_is_forwarded_unchanged(
    start: Start, coding: str, body: bytes
) -> None:
    """Neither decoded nor relabelled: Codex compresses what it sends."""
    daemon = await start()
    reply = await daemon.client.send(
        ECHO, data=body, headers={"Content-Encoding": coding}
    )
    seen = reply.json()
    assert seen["body_sha256"] == hashlib.sha256(body).hexdigest()
    assert seen["body_length"] == len(body)
    names = {name.lower(): value for name, value in seen["headers"]}
    assert names["content-encoding"] == coding
    assert names["content-length"] == str(len(body))


async def test_the_turn_state_is_forwarded_in_both_directions(
    start: Start, sandbox: Sandbox
) -> None:
    """The value of one response is in the next request."""
    daemon = await start()
    given = (await daemon.client.send()).headers[TURN_STATE]
    assert given == "sandbox-turn"
    reply = await daemon.client.send(headers={TURN_STATE: "turn-7"})
    assert reply.headers.getall(TURN_STATE) == ["turn-7"]  # type: ignore[attr-defined]
    first, second = sandbox.upstream.records
    assert first.header(TURN_STATE.encode()) == []
    assert second.header(TURN_STATE.encode()) == [b"turn-7"]


@pytest.mark.parametrize(
    "fault",
    [UpstreamFault("reset_mid_stream", after_events=3), UpstreamFault("short_body")],
    ids=lambda fault: fault.kind,
)
async def test_a_truncated_response_never_ends_cleanly(
    start: Start, sandbox: Sandbox, fault: UpstreamFault
) -> None:
    """No client takes a part for the whole, and none waits for the rest."""
    daemon = await start()
    sandbox.upstream.fault(fault, times=1)
    reader, writer = await raw_request(
        daemon.client, b"POST /backend-api/codex/responses HTTP/1.1\r\n"
    )
    head = await reader.readuntil(b"\r\n\r\n")
    async with asyncio.timeout(5):
        rest = await reader.read(-1)
    assert b" 200 OK\r\n" in head
    assert not rest.endswith(b"0\r\n\r\n")
    assert b"response.completed" not in rest
    assert b"HTTP/1.1" not in rest  # no second response in place of the first
    writer.close()
    (finished,) = await daemon.wait_for_finished(1)
    assert finished.code in {"upstream_unreachable", "upstream_protocol_error"}
    sandbox.upstream.fault(fault, times=1)
    with pytest.raises(aiohttp.ClientError):
        await daemon.client.send()
    assert (await daemon.client.send()).status == 200


async def test_consecutive_requests_share_a_connection(start: Start) -> None:
    """Kept alive and reused; as many as there are concurrent requests, and no more."""
    async with raw_upstream() as (upstream, url):
        daemon = await start(upstream_url=url)
        for _ in range(20):
            assert (await daemon.client.get()).body == b"ok"
        assert upstream.accepted == 1
        pending = asyncio.create_task(daemon.client.many(5))
        upstream.may_read.set()
        assert {reply.status for reply in await pending} == {200}
        assert upstream.accepted <= 5
        for _ in range(20):
            assert (await daemon.client.get()).status == 200
        assert upstream.accepted <= 5


async def test_a_response_to_head_has_no_body(start: Start) -> None:
    """The connection goes on with the next response."""
    daemon = await start()
    request = b"%b /backend-api/echo HTTP/1.1\r\n"
    reader, writer = await raw_request(daemon.client, request % b"HEAD")
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Length: " in head
    key = b"x-bearerd-key: %b\r\n\r\n" % daemon.client.key.encode()
    writer.write(request % b"GET" + b"Host: localhost\r\n" + key)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    length = int(head.partition(b"Content-Length: ")[2].split(b"\r\n")[0])
    assert json.loads(await reader.readexactly(length))["method"] == "GET"
    writer.close()


@pytest.mark.parametrize("status", [404, 429, 500])
async def test_an_error_of_the_upstream_is_forwarded_unchanged(
    start: Start, sandbox: Sandbox, status: int
) -> None:
    """Status, fields and bytes; the request is sent once, and nothing is marked as
    ours.
    """
    daemon = await start()
    body = f'{{"error": "the upstream\'s own {status}"}}'
    fault = UpstreamFault("answer", status=status, body=body, retry_after="17")
    sandbox.upstream.fault(fault, times=1)
    sandbox.upstream.extra_headers["x-ratelimit-left"] = "3"
    reply = await daemon.client.send()
    assert (reply.status, reply.body) == (status, body.encode())
    assert reply.headers["Retry-After"] == "17"
    assert reply.headers["x-ratelimit-left"] == "3"
    assert (reply.code, reply.recovery) == (None, None)
    assert (sandbox.upstream.requests, sandbox.authority.calls) == (1, 0)


async def test_fields_keep_their_order_and_their_repeats(
    start: Start, sandbox: Sandbox
) -> None:
    """In both directions, with the spelling that they had."""
    daemon = await start()
    for name, value in (("X-Down", "1"), ("x-other", "2"), ("x-DOWN", "3")):
        sandbox.upstream.extra_headers.add(name, value)
    reader, writer = await raw_request(
        daemon.client,
        b"GET /backend-api/echo HTTP/1.1\r\n"
        b"x-Up: 1\r\nX-between: a, b\r\nX-UP: 2\r\nx-up: 1\r\n",
    )
    head = await reader.readuntil(b"\r\n\r\n")
    down = [line for line in head.split(b"\r\n") if line.lower().startswith(b"x-")]
    assert down == [b"X-Down: 1", b"x-other: 2", b"x-DOWN: 3"]
    (record,) = sandbox.upstream.records
    up = [field for field in record.raw_headers if field[0].lower().startswith(b"x-")]
    assert up == [
        (b"x-Up", b"1"),
        (b"X-between", b"a, b"),
        (b"X-UP", b"2"),
        (b"x-up", b"1"),
    ]
    writer.close()
