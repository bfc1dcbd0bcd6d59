"""A request body is kept while it streams, so that a 401 can be recovered from.

Within the limits it is replayed byte for byte. Past them it still streams; only the
replay is given up, and the next request has the new credential.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
from collections.abc import AsyncIterator, Callable

import pytest

from bearerd.events import (
    CredentialRefreshed,
    RecoveryFinished,
    RecoveryOutcome,
    RecoveryPath,
    ReplayAbandoned,
)
from bearerd.sandbox import RequestRecord, Sandbox, UpstreamFault
from tests.support import Daemon, Reply, Start

ECHO = "/backend-api/echo"
MIB = 1 << 20
KIB = 1 << 10

EARLY_401 = UpstreamFault(
    "answer",
    status=401,
    body=json.dumps({"error": {"code": "token_expired", "message": "Expired."}}),
    before_body=True,
)


def unique_body(size: int) -> bytes:
    """Return a body of *size* bytes without repetitions."""
    blocks = (hashlib.sha512(b"%d" % n).digest() for n in range(-(-size // 64)))
    return b"".join(blocks)[:size]


async def chunks_of(body: bytes) -> AsyncIterator[bytes]:
    """Yield *body* in parts of unannounced length."""
    for start in range(0, len(body), 50_000):
        yield body[start : start + 50_000]


def seen(record: RequestRecord) -> tuple[int, str]:
    """Return length and hash of what the upstream received."""
    return record.body_length, record.body_sha256


def sent(body: bytes) -> tuple[int, str]:
    """Return length and hash of what the client sent."""
    return len(body), hashlib.sha256(body).hexdigest()


async def wait_until(daemon: Daemon, claim: Callable[[], bool]) -> None:
    """Return once *claim* holds; between two checks a request makes a round trip."""
    async with asyncio.timeout(10):
        while not claim():
            await daemon.client.get("/nowhere")


async def abandoned_total(daemon: Daemon) -> str:
    """Return the count in the metrics."""
    _, text = await daemon.admin("/metrics")
    (line,) = [
        line
        for line in text.splitlines()
        if line.startswith("bearerd_replay_abandoned_total ")
    ]
    return line.split()[1]


def is_given_up(reply: Reply) -> bool:
    """Return True if this is the upstream's own 401, marked."""
    own = reply.json()["error"]["type"] == "invalid_request_error"
    return own and (reply.status, reply.code) == (401, "replay_abandoned")


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize(
    "size", [1, 100 * KIB, MIB], ids=["1 byte", "100 KiB", "limit"]
)
async def test_a_kept_body_is_replayed_byte_for_byte(
    start: Start, sandbox: Sandbox, framing: str, size: int
) -> None:
    """With the same framing; up to the limit, inclusive."""
    daemon = await start(replay_limit_bytes=MIB)
    sandbox.revoke_access_tokens()
    body = unique_body(size)
    data = io.BytesIO(body) if framing == "length" else chunks_of(body)
    reply = await daemon.client.send(ECHO, data=data)
    assert (reply.status, reply.recovery) == (200, "refresh")
    refused, answered = sandbox.upstream.records
    assert seen(refused) == seen(answered) == sent(body)
    for record in (refused, answered):
        if framing == "length":
            assert record.header(b"content-length") == [b"%d" % size]
            assert record.header(b"transfer-encoding") == []
        else:
            assert record.header(b"content-length") == []
            assert record.header(b"transfer-encoding") == [b"chunked"]
    assert refused.access_fingerprint != answered.access_fingerprint
    assert daemon.announced(ReplayAbandoned) == []
    assert await abandoned_total(daemon) == "0.0"


async def test_a_401_in_mid_upload_replays_both_halves(
    start: Start, sandbox: Sandbox
) -> None:
    """An upstream may reject before it has read everything; the rest is not lost."""
    daemon = await start()
    sandbox.upstream.fault(EARLY_401, times=1)
    body = unique_body(4 * MIB)
    reply = await daemon.client.send(ECHO, data=io.BytesIO(body))
    assert (reply.status, reply.recovery) == (200, "refresh")
    assert seen(sandbox.upstream.records[-1]) == sent(body)
    assert sandbox.upstream.requests == 2


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_body_past_the_limit_is_not_replayed(
    start: Start, sandbox: Sandbox, framing: str
) -> None:
    """Its 401 is delivered, marked; the refresh happens for the requests after it."""
    daemon = await start(replay_limit_bytes=MIB)
    sandbox.revoke_access_tokens()
    body = unique_body(3 * MIB)
    data = io.BytesIO(body) if framing == "length" else chunks_of(body)
    reply = await daemon.client.send(ECHO, data=data)
    assert is_given_up(reply)
    assert seen(sandbox.upstream.records[0]) == sent(body)
    assert daemon.announced(ReplayAbandoned) == [
        ReplayAbandoned("default", "request_limit")
    ]
    (refreshed,) = daemon.announced(CredentialRefreshed)
    assert (refreshed.trigger, refreshed.outcome) == ("refused", "renewed")
    (recovery,) = daemon.announced(RecoveryFinished)
    assert recovery.path is RecoveryPath.REFRESH
    assert recovery.outcome is RecoveryOutcome.REPLAY_ABANDONED
    assert await abandoned_total(daemon) == "1.0"
    reply = await daemon.client.send(ECHO, data=io.BytesIO(body))
    assert (reply.status, reply.code, reply.recovery) == (200, None, None)
    assert seen(sandbox.upstream.records[1]) == sent(body)
    assert (sandbox.upstream.requests, sandbox.authority.refreshes) == (2, 1)


async def test_a_body_past_the_limit_is_streamed(
    start: Start, sandbox: Sandbox
) -> None:
    """Its first half is at the upstream before the client has sent the second."""
    daemon = await start(replay_limit_bytes=64 * KIB)
    body = unique_body(MIB)
    has_arrived = asyncio.Event()

    async def halves() -> AsyncIterator[bytes]:
        yield body[: MIB // 2]
        await has_arrived.wait()
        yield body[MIB // 2 :]

    pending = asyncio.create_task(daemon.client.send(ECHO, data=halves()))
    await sandbox.upstream.wait_for_requests(1)
    (record,) = sandbox.upstream.records
    await wait_until(daemon, lambda: record.body_length == MIB // 2)
    await daemon.wait_for(ReplayAbandoned)
    has_arrived.set()
    assert (await pending).status == 200
    assert seen(record) == sent(body)


async def test_all_bodies_share_one_limit(start: Start, sandbox: Sandbox) -> None:
    """A body for which there is no room loses its replay; at the end there is room
    again.
    """
    daemon = await start(replay_total_bytes=MIB)
    bodies = [unique_body(600 * KIB), unique_body(700 * KIB)]
    sandbox.upstream.gate.close()
    kept = asyncio.create_task(daemon.client.send(ECHO, data=bodies[0]))
    await sandbox.upstream.wait_for_waiting(1)
    over = asyncio.create_task(daemon.client.send(ECHO, data=bodies[1]))
    await sandbox.upstream.wait_for_waiting(2)
    assert daemon.announced(ReplayAbandoned) == [
        ReplayAbandoned("default", "total_limit")
    ]
    sandbox.revoke_access_tokens()
    sandbox.upstream.gate.open()
    reply = await kept
    assert reply.status == 200
    assert (reply.json()["body_length"], reply.json()["body_sha256"]) == sent(bodies[0])
    assert is_given_up(await over)
    assert sandbox.authority.refreshes == 1
    sandbox.revoke_access_tokens()
    reply = await daemon.client.send(ECHO, data=bodies[1])
    assert (reply.status, reply.recovery) == (200, "refresh")
    assert await abandoned_total(daemon) == "1.0"


async def test_a_limit_of_zero_keeps_no_body(start: Start, sandbox: Sandbox) -> None:
    """Every body loses its replay; a request without a body loses nothing."""
    daemon = await start(replay_limit_bytes=0)
    sandbox.revoke_access_tokens()
    assert is_given_up(await daemon.client.send(ECHO, data=b"x"))
    sandbox.revoke_access_tokens()
    reply = await daemon.client.get()
    assert (reply.status, reply.recovery) == (200, "refresh")
