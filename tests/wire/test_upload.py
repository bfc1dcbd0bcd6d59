"""A response that arrives while the request body is still being sent."""

from __future__ import annotations

import asyncio
import hashlib
import random
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bearerd.events import ReplayAbandoned
from bearerd.sandbox import Sandbox
from tests.wire.gateway import Gateway, get, ok, post, request
from tests.wire.peers import PATIENCE_SECONDS, Peer, first_line, names, status, values
from tests.wire.renewals import REFUSAL, REFUSED, refuse, renewing

CHUNKED = b"Transfer-Encoding: chunked"
TOO_LARGE = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"
BODY = random.Random(7).randbytes(3 << 20)  # noqa: S311 - a body, not a secret
HALF = len(BODY) // 2

both_framings = pytest.mark.parametrize("is_chunked", [False, True])


@pytest.fixture
async def authority() -> AsyncIterator[Sandbox]:
    """An authority that refreshes; its upstream stays unused."""
    async with Sandbox() as sandbox:
        yield sandbox


def head_of(length: int | None) -> bytes:
    """Return the head of a POST with a body of this length, or a chunked one."""
    framing = CHUNKED if length is None else b"Content-Length: %d" % length
    return request(b"POST", b"/v1/responses", framing)


def encode(body: bytes, *, is_chunked: bool, is_last: bool = True) -> bytes:
    """Return a body, or a part of one, in its framing."""
    if not is_chunked:
        return body
    step = 60_001
    parts = [body[at : at + step] for at in range(0, len(body), step)]
    end = b"0\r\n\r\n" if is_last else b""
    return b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in parts) + end


async def read_body(peer: Peer, *, is_chunked: bool, size: int) -> bytes:
    """Return *size* bytes of a body, whatever its framing."""
    if not is_chunked:
        return await peer.exactly(size)
    body = b""
    while len(body) < size:
        length = int(await peer.until(b"\r\n"), 16)
        assert length, f"it ended {size - len(body)} bytes too early"
        body += await peer.exactly(length)
        assert await peer.exactly(2) == b"\r\n"
    return body


async def start_sending(client: Peer, data: bytes) -> asyncio.Task[None]:
    """Send in the background; return the task."""

    async def send() -> None:
        client.writer.write(data)
        await client.writer.drain()

    return asyncio.create_task(send())


@both_framings
async def test_a_body_is_forwarded_as_it_arrives(
    gateway: Gateway, is_chunked: bool
) -> None:
    """It is not held back until it is complete, and it keeps its framing."""
    client, peer, head = await gateway.asked(head_of(None if is_chunked else len(BODY)))
    assert (b"transfer-encoding" in names(head)) is is_chunked
    assert (b"content-length" in names(head)) is not is_chunked
    sending = await start_sending(
        client, encode(BODY[:HALF], is_chunked=is_chunked, is_last=False)
    )
    assert await read_body(peer, is_chunked=is_chunked, size=HALF) == BODY[:HALF]
    await sending
    sending = await start_sending(client, encode(BODY[HALF:], is_chunked=is_chunked))
    rest = len(BODY) - HALF
    assert await read_body(peer, is_chunked=is_chunked, size=rest) == BODY[HALF:]
    await sending
    if is_chunked:
        assert await peer.exactly(5) == b"0\r\n\r\n"
    await peer.send(ok())
    assert (await client.response())[1] == b"ok"


async def test_chunks_keep_their_content_only(gateway: Gateway) -> None:
    """Item 62: extensions are for one hop; trailers are dropped, never made fields."""
    client, peer, head = await gateway.asked(
        head_of(None)
        + b"1;a=b\r\nx\r\n0A;c\r\n0123456789\r\n000\r\nX-T: 1\r\nHost: evil\r\n\r\n"
    )
    assert await read_body(peer, is_chunked=True, size=11) == b"x0123456789"
    assert await peer.exactly(5) == b"0\r\n\r\n"
    assert b"x-t" not in names(head)
    await peer.send(ok())
    assert (await client.response())[1] == b"ok"


@both_framings
async def test_an_early_response_is_forwarded_while_the_body_is_sent(
    gateway: Gateway, is_chunked: bool
) -> None:
    """An upstream may respond while it reads: neither side waits for the other."""
    client, peer, _ = await gateway.asked(head_of(None if is_chunked else 6))
    await client.send(encode(b"abc", is_chunked=is_chunked, is_last=False))
    assert await read_body(peer, is_chunked=is_chunked, size=3) == b"abc"
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nABC")
    assert status(await client.head()) == 200
    assert await client.exactly(3) == b"ABC"
    await client.send(encode(b"def", is_chunked=is_chunked))
    assert await read_body(peer, is_chunked=is_chunked, size=3) == b"def"
    if is_chunked:
        assert await peer.exactly(5) == b"0\r\n\r\n"
    await peer.send(b"DEF")
    assert await client.exactly(3) == b"DEF"
    await client.send(get(b"/v1/models"))
    assert first_line(await peer.head()).startswith(b"GET ")
    assert gateway.upstream.connections == 1


@both_framings
async def test_an_early_error_response_stops_a_large_upload(
    gateway: Gateway, is_chunked: bool
) -> None:
    """Item 116: it is forwarded at once, and the rest of the body is not sent upstream."""
    size = 256 << 20
    client, peer, _ = await gateway.asked(head_of(None if is_chunked else size))
    await client.send(encode(BODY[:1000], is_chunked=is_chunked, is_last=False))
    assert await read_body(peer, is_chunked=is_chunked, size=1000) == BODY[:1000]
    await peer.send(TOO_LARGE)
    head, body = await client.response()
    assert (status(head), body) == (413, b"no")
    assert await peer.gone() == b""
    assert gateway.upstream.connections == 1


async def test_a_client_that_uploads_on_after_a_response_blocks_no_other(
    gateway: Gateway,
) -> None:
    """Items 115, 126: and its request no longer counts as open."""
    size = 1 << 40
    client, peer, _ = await gateway.asked(head_of(size))
    await peer.send(TOO_LARGE)
    assert (await client.response())[1] == b"no"
    await gateway.finished()
    other, second, _ = await gateway.asked(get(b"/v1/models"))
    await second.send(ok())
    assert (await other.response())[1] == b"ok"
    client.reset()


@both_framings
@pytest.mark.parametrize("part", [0, 1, HALF, len(BODY) - 1, len(BODY)])
async def test_a_401_in_mid_upload_is_recovered_with_the_whole_body(
    tmp_path: Path, authority: Sandbox, part: int, is_chunked: bool
) -> None:
    """Item 137: wherever it arrives, the replay has the same bytes as the client's
    request.
    """
    async with renewing(tmp_path, authority) as gateway:
        client, peer, first = await gateway.asked(
            head_of(None if is_chunked else len(BODY))
        )
        if part:
            beginning = encode(
                BODY[:part], is_chunked=is_chunked, is_last=part == len(BODY)
            )
            sending = await start_sending(client, beginning)
            assert (
                await read_body(peer, is_chunked=is_chunked, size=part) == BODY[:part]
            )
            await sending
        peer, second = await refuse(gateway, peer)
        assert values(first, b"authorization") != values(second, b"authorization")
        sending = await start_sending(
            client,
            encode(BODY[part:], is_chunked=is_chunked) if part < len(BODY) else b"",
        )
        got = await read_body(peer, is_chunked=is_chunked, size=len(BODY))
        assert hashlib.sha256(got).digest() == hashlib.sha256(BODY).digest()
        if is_chunked:
            assert await peer.exactly(5) == b"0\r\n\r\n"
        await sending
        await peer.send(ok())
        head, _ = await client.response()
        assert status(head) == 200
        assert values(head, b"x-bearerd-recovery") == [b"refresh"]
        assert authority.authority.refreshes == 1
        assert [told.attempts for told in await gateway.finished()] == [2]


@both_framings
async def test_a_body_past_its_limit_is_streamed_and_not_replayed(
    tmp_path: Path, authority: Sandbox, is_chunked: bool
) -> None:
    """Item 136: that is counted once, and the 401 still refreshes for the next request."""
    async with renewing(tmp_path, authority, replay_limit_bytes="65536") as gateway:
        client, peer, _ = await gateway.asked(
            head_of(None if is_chunked else len(BODY))
        )
        sending = await start_sending(client, encode(BODY, is_chunked=is_chunked))
        got = await read_body(peer, is_chunked=is_chunked, size=len(BODY))
        assert got == BODY
        await sending
        await peer.send(REFUSED)
        head, body = await client.response()
        assert (status(head), body) == (401, REFUSAL)
        assert values(head, b"x-bearerd-error") == [b"replay_abandoned"]
        assert abandoned_replays(gateway) == ["request_limit"]
        assert authority.authority.refreshes == 1
        assert [told.attempts for told in await gateway.finished()] == [1]


async def test_all_kept_bodies_share_one_limit(
    tmp_path: Path, authority: Sandbox
) -> None:
    """Item 136: only the request that exceeds it loses its replay; later there is room."""
    async with renewing(
        tmp_path, authority, replay_limit_bytes="1000", replay_total_bytes="1500"
    ) as gateway:
        body = b"x" * 900
        first, first_peer, _ = await gateway.asked(post(b"/v1/a", body))
        assert await first_peer.exactly(900) == body
        second, second_peer, _ = await gateway.asked(post(b"/v1/b", body))
        assert await second_peer.exactly(900) == body
        assert abandoned_replays(gateway) == ["total_limit"]
        for client, peer in ((first, first_peer), (second, second_peer)):
            await peer.send(ok())
            await client.response()
        await gateway.finished(2)
        await first.send(post(b"/v1/c", body))
        await second_peer.head()  # the newest idle connection is used first
        assert await second_peer.exactly(900) == body
        assert abandoned_replays(gateway) == ["total_limit"]


def abandoned_replays(gateway: Gateway) -> list[str]:
    """Return the reasons why replays were abandoned, one for each."""
    told = [event for event in gateway.events if isinstance(event, ReplayAbandoned)]
    return [event.reason for event in told]


@both_framings
@pytest.mark.parametrize("ending", ["close", "half_close", "reset"])
async def test_a_client_disconnect_in_mid_body_completes_no_request(
    gateway: Gateway, ending: str, is_chunked: bool
) -> None:
    """Item 68: the upstream sees an aborted request; it is not sent again."""
    client, peer, _ = await gateway.asked(head_of(None if is_chunked else 1000))
    await client.send(encode(b"abc", is_chunked=is_chunked, is_last=False))
    assert await read_body(peer, is_chunked=is_chunked, size=3) == b"abc"
    getattr(client, ending)()
    assert await peer.gone() == b""
    assert [told.status for told in await gateway.finished()] == [499]
    assert gateway.upstream.connections == 1


async def test_a_body_with_invalid_framing_completes_no_request(
    gateway: Gateway,
) -> None:
    """Item 60: the upstream sees an aborted request, and the client gets an error."""
    client, peer, _ = await gateway.asked(head_of(None) + b"3\r\nabc\r\n")
    assert await read_body(peer, is_chunked=True, size=3) == b"abc"
    await client.send(b"zz\r\n")
    assert status(await client.head()) == 400
    assert await peer.gone() == b""


async def curl(gateway: Gateway, *options: str, body: bytes = b"") -> tuple[int, str]:
    """Run curl on /v1/responses; return its exit code and its output."""
    process = await asyncio.create_subprocess_exec(
        "curl",
        *(
            "--silent",
            "--show-error",
            "--verbose",
            "--noproxy",
            "*",
            "--max-time",
            "20",
        ),
        *options,
        f"http://127.0.0.1:{gateway.port}/v1/responses",
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
    )
    async with asyncio.timeout(4 * PATIENCE_SECONDS):
        out, err = await process.communicate(body)
    return process.returncode or 0, out.decode() + err.decode()


PATIENT_CURL = ("--expect100-timeout", "600", "--header", "Expect: 100-continue")
"""curl would wait ten minutes for its 100; the test ends it long before."""


@pytest.mark.parametrize("how", ["length", "chunked"])
async def test_curl_gets_its_100_and_the_upstream_its_body(
    gateway: Gateway, tmp_path: Path, how: str
) -> None:
    """Item 88: end to end, with a client that waits for the 100."""
    (tmp_path / "body").write_bytes(BODY)
    options = ["--data-binary", f"@{tmp_path / 'body'}"]
    if how == "chunked":
        options += ["--header", "Transfer-Encoding: chunked"]
    running_curl = asyncio.create_task(curl(gateway, *PATIENT_CURL, *options))
    peer = await gateway.upstream.accept()
    head = await peer.head()
    assert b"expect" not in names(head)
    is_chunked = how == "chunked"
    assert await read_body(peer, is_chunked=is_chunked, size=len(BODY)) == BODY
    await peer.send(ok(b"done"))
    code, said = await running_curl
    assert code == 0
    assert "< HTTP/1.1 100 Continue" in said
    assert said.startswith("done")


async def test_curl_sees_nothing_of_a_401_in_mid_upload(
    tmp_path: Path, authority: Sandbox
) -> None:
    """Item 137: nor that its body was sent twice."""
    (tmp_path / "body").write_bytes(BODY)
    async with renewing(tmp_path, authority) as gateway:
        data = f"@{tmp_path / 'body'}"
        running_curl = asyncio.create_task(
            curl(gateway, *PATIENT_CURL, "--data-binary", data)
        )
        peer = await gateway.upstream.accept()
        await peer.head()
        assert await peer.exactly(1000) == BODY[:1000]
        peer, _ = await refuse(gateway, peer)
        assert await peer.exactly(len(BODY)) == BODY
        await peer.send(ok(b"done"))
        code, said = await running_curl
        assert (code, said.count("< HTTP/1.1 200")) == (0, 1)
        assert "401" not in said


async def test_curl_accepts_an_early_error_response(
    gateway: Gateway, tmp_path: Path
) -> None:
    """Item 116: it stops sending, and shows the response."""
    (tmp_path / "body").write_bytes(BODY * 10)
    data = f"@{tmp_path / 'body'}"
    running_curl = asyncio.create_task(curl(gateway, "--data-binary", data))
    peer = await gateway.upstream.accept()
    await peer.head()
    await peer.send(TOO_LARGE)
    code, said = await running_curl
    assert code == 0
    assert "< HTTP/1.1 413" in said
