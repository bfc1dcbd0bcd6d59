"""Token responses that do not arrive whole, and connections that are reset."""

import asyncio
import json

import aiohttp
import pytest

from bearerd.sandbox import AuthorityFault, Sandbox
from bearerd.sandbox.authority.faults import AuthorityFaultKind
from tests.sandbox.conftest import Clock, Refresh, login, refresh_grant


async def connect(
    sandbox: Sandbox,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the authority with a bare socket."""
    host, port = sandbox.issuer_url.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port))


def request_bytes(refresh_token: str) -> bytes:
    """Return a refresh as it goes over the wire."""
    body = json.dumps(refresh_grant(refresh_token)).encode()
    head = (
        "POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def received(sandbox: Sandbox) -> bytes:
    """Refresh once, and return all that arrives before the connection ends."""
    reader, writer = await connect(sandbox)
    writer.write(request_bytes(login(sandbox)["refresh_token"]))
    async with asyncio.timeout(10):
        message = await reader.read()
    writer.close()
    return message


@pytest.mark.parametrize(
    ("kind", "spent"),
    [
        ("reset_before_reading", False),
        ("drop_before_rotation", False),
        ("drop_after_rotation", True),
    ],
)
async def test_a_connection_can_be_reset_instead_of_a_response(
    sandbox: Sandbox, refresh: Refresh, kind: AuthorityFaultKind, spent: bool
) -> None:
    """Before or after the token is spent, which the client cannot see."""
    refresh_token = login(sandbox)["refresh_token"]
    sandbox.authority.fault(AuthorityFault(kind), times=1)
    with pytest.raises(aiohttp.ClientConnectionError):
        await refresh(refresh_token)
    assert sandbox.authority.refreshes == int(spent)
    (call,) = sandbox.authority.records
    assert (call.status, call.rotated) == (None, spent)
    assert (await refresh(refresh_token))[0] == (401 if spent else 200)


async def test_a_reset_before_reading_leaves_the_body_unread(sandbox: Sandbox) -> None:
    """The body is still on its way when the connection is reset."""
    sandbox.authority.fault(AuthorityFault("reset_before_reading"))
    reader, writer = await connect(sandbox)
    writer.write(
        b"POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf"
    )
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()
    (call,) = sandbox.authority.records
    assert (call.body_keys, call.refresh_fingerprint) == ((), None)


async def test_a_drop_is_a_reset_and_no_orderly_end(sandbox: Sandbox) -> None:
    """A bare socket raises for RST, where it would read an empty end for FIN."""
    sandbox.authority.fault(AuthorityFault("drop_before_rotation"))
    reader, writer = await connect(sandbox)
    writer.write(request_bytes("any"))
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()


async def test_there_is_nothing_to_drop_once_the_client_has_left(
    sandbox: Sandbox, refresh: Refresh
) -> None:
    """The token is spent all the same."""
    sandbox.authority.fault(AuthorityFault("drop_after_rotation"))
    sandbox.authority.gate.close()
    call = asyncio.create_task(refresh(login(sandbox)["refresh_token"]))
    await sandbox.authority.wait_for_waiting(1)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    for _ in range(3):  # until the server has seen the end of the socket
        async with (
            aiohttp.ClientSession() as http,
            http.get(sandbox.issuer_url) as other,
        ):
            assert other.status == 404
    sandbox.authority.gate.open()
    await sandbox.authority.wait_for_outcomes(1)
    assert sandbox.authority.refreshes == 1


@pytest.mark.parametrize("after_bytes", [0, 1, 40, 100, 600])
async def test_a_response_can_be_cut_at_any_byte(
    sandbox: Sandbox, after_bytes: int
) -> None:
    """In the status line, in the fields or in the body; the token is spent."""
    sandbox.authority.fault(AuthorityFault("cut", after_bytes=after_bytes))
    message = await received(sandbox)
    assert len(message) == after_bytes
    assert b"HTTP/1.1 200 OK\r\n".startswith(message[:17])
    assert (b"\r\n\r\n" in message) is (after_bytes == 600)
    assert sandbox.authority.refreshes == 1


async def test_a_cut_response_promises_its_whole_length(
    sandbox: Sandbox, refresh: Refresh
) -> None:
    """An HTTP client sees that something is missing."""
    sandbox.authority.fault(AuthorityFault("cut", after_bytes=600))
    with pytest.raises(aiohttp.ClientPayloadError):
        await refresh(login(sandbox)["refresh_token"])


async def test_a_cut_response_can_end_with_a_reset(sandbox: Sandbox) -> None:
    """RST instead of FIN."""
    sandbox.authority.fault(AuthorityFault("cut", after_bytes=600, resets=True))
    with pytest.raises(ConnectionResetError):
        await received(sandbox)


async def test_a_response_can_trickle(clock: Clock) -> None:
    """Byte by byte, with a pause before each but the first; it is whole in the end."""
    slept = list[float]()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await asyncio.sleep(0)

    async with Sandbox(now=clock, sleep=sleep) as sandbox:
        sandbox.authority.fault(AuthorityFault("trickle", interval_seconds=0.5))
        message = await received(sandbox)
    head, _, body = message.partition(b"\r\n\r\n")
    assert "access_token" in json.loads(body)
    assert f"Content-Length: {len(body)}".encode() in head
    assert f"Date: {sandbox.authority.clock.http_date()}".encode() in head
    assert slept == [0.5] * (len(message) - 1)


async def test_a_client_that_leaves_ends_a_trickle(sandbox: Sandbox) -> None:
    """Nothing is written to a connection that is closed."""
    sandbox.authority.fault(AuthorityFault("trickle", interval_seconds=0.001))
    reader, writer = await connect(sandbox)
    writer.write(request_bytes(login(sandbox)["refresh_token"]))
    await reader.readexactly(5)
    writer.transport.abort()
    await sandbox.authority.wait_for_outcomes(1)
    assert sandbox.authority.outcomes == {"fault:trickle": 1}


async def test_a_response_can_have_no_end(sandbox: Sandbox) -> None:
    """All of the JSON is there, but not the last chunk (RFC 9112 section 7.1)."""
    sandbox.authority.fault(AuthorityFault("unended"))
    reader, writer = await connect(sandbox)
    writer.write(request_bytes(login(sandbox)["refresh_token"]))
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in head
    assert b"Content-Length" not in head
    size = int(await reader.readline(), 16)
    assert "refresh_token" in json.loads(await reader.readexactly(size))
    assert await reader.readexactly(2) == b"\r\n"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await reader.read(1)
    writer.close()
