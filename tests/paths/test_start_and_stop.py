"""From the start to the last byte: listeners, readiness, signals, and a refresh under
way.

`tests/cli/test_serve.py` has what belongs to the command: the first key and its file,
keys that are added and revoked while it runs, the second and the third signal, and its
exit codes.
"""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path

import aiohttp
import pytest

from bearerd.address import parse_address
from bearerd.errors import StartError
from bearerd.events import ServiceStarted, ServiceStopped
from bearerd.sandbox import Sandbox
from tests.support import (
    Canary,
    Client,
    Daemon,
    Launch,
    ServeProcess,
    Start,
    read_login,
    tokens_of,
    write_login,
)

MODELS = "/backend-api/codex/models"


async def read_events(response: aiohttp.ClientResponse, count: int) -> bytes:
    """Return what was received until *count* events were complete."""
    got = b""
    async with asyncio.timeout(10):
        while got.count(b"\n\n") < count:
            got += await response.content.readany()
    return got


async def over_unix(path: Path, key: str) -> int:
    """Return the status of a request over a unix socket."""
    connector = aiohttp.UnixConnector(path=str(path))
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        aiohttp.ClientSession(connector=connector, headers=headers) as session,
        session.get(f"http://localhost{MODELS}") as response,
    ):
        await response.read()
        return response.status


def was_stored(sandbox: Sandbox, store: Path) -> bool:
    """Return True if the file holds the response of the authority to one refresh."""
    stored = tokens_of(read_login(store))["access_token"]
    is_live = sandbox.tokens.introspect(stored).state == "live"
    return is_live and sandbox.authority.refreshes == 1


@pytest.fixture
def store(tmp_path: Path, sandbox: Sandbox) -> Path:
    """A store with a login."""
    path = tmp_path / "auth.json"
    write_login(path, sandbox.auth_document())
    return path


async def streaming(
    daemon: ServeProcess, sandbox: Sandbox
) -> asyncio.Task[tuple[int, bytes]]:
    """Return the task that reads a response of which two events have arrived so far."""
    streams = sandbox.upstream.streams
    streams.gate_after_events = 2
    streams.gate.close()
    has_begun = asyncio.Event()

    async def read() -> tuple[int, bytes]:
        async with daemon.client.open() as response:
            got = await read_events(response, 2)
            has_begun.set()
            return response.status, got + await response.read()

    reading = asyncio.create_task(read())
    await has_begun.wait()
    return reading


async def test_without_a_login_it_lives_and_is_not_ready(start: Start) -> None:
    """The missing file is named with its path and the remedy, on every health page."""
    daemon = await start(login=None)
    assert await daemon.admin("/livez") == (200, '{\n  "status": "ok"\n}\n')
    status, text = await daemon.admin("/readyz")
    (missing,) = json.loads(text)["missing"]
    assert (status, json.loads(text)["why"]) == (503, "login_required")
    assert (missing["profile"], missing["reason"]) == ("default", "missing")
    assert missing["store"] == str(daemon.store)
    assert "bearerd login" in missing["remedy"]
    status, text = await daemon.admin("/healthz")
    assert (status, json.loads(text)["status"]) == (200, "degraded")
    reply = await daemon.client.send()
    assert (reply.status, reply.code) == (401, "login_required")
    assert "bearerd login" in reply.message


async def test_an_invalid_login_is_reported_until_it_is_valid(
    start: Start, sandbox: Sandbox
) -> None:
    """It starts all the same, reports the fault of the file, and does not change it."""
    daemon = await start(login={"tokens": "none"})
    content = daemon.store.read_bytes()
    status, text = await daemon.admin("/readyz")
    (missing,) = json.loads(text)["missing"]
    assert (status, missing["reason"]) == (503, "no_login")
    assert str(daemon.store) in missing["remedy"]
    assert (await daemon.client.send()).code == "login_required"
    assert daemon.store.read_bytes() == content
    write_login(daemon.store, sandbox.auth_document())
    assert (await daemon.client.send()).status == 200
    assert (await daemon.admin("/readyz"))[0] == 200


async def test_it_is_ready_as_soon_as_it_listens(start: Start) -> None:
    """With a login there is nothing to wait for after `service.started`."""
    daemon = await start()
    (started,) = daemon.announced(ServiceStarted)
    assert started.relay == (daemon.client.base_url.removeprefix("http://"),)
    assert started.admin == daemon.admin_url.removeprefix("http://")
    assert (await daemon.admin("/readyz"))[0] == 200
    assert (await daemon.client.get()).status == 200


@pytest.mark.usefixtures("store")
async def test_a_running_stream_is_completed(launch: Launch, sandbox: Sandbox) -> None:
    """SIGTERM in mid-stream: the rest arrives, no new connection is accepted, the exit
    code is 0.
    """
    daemon = await launch(drain_seconds=20)
    reading = await streaming(daemon, sandbox)
    daemon.terminate()
    await daemon.wait_for("service.stopping")
    assert (await daemon.admin("/readyz"))[0] == 503
    assert (await daemon.admin("/livez"))[0] == 200
    with pytest.raises(aiohttp.ClientConnectorError):
        await daemon.client.get()
    sandbox.upstream.streams.gate.open()
    status, body = await reading
    assert status == 200
    assert b"response.completed" in body
    assert await daemon.ended() == 0
    assert (await daemon.wait_for("service.stopped"))["aborted"] == 0


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("seconds", [0, 0.2])
async def test_a_stream_that_outlives_the_drain_is_aborted(
    launch: Launch, sandbox: Sandbox, seconds: float
) -> None:
    """It is never closed cleanly, however short the drain; the exit code is 0 all the
    same.
    """
    daemon = await launch(drain_seconds=seconds)
    reading = await streaming(daemon, sandbox)
    loop = asyncio.get_running_loop()
    began = loop.time()
    daemon.terminate()
    with pytest.raises(aiohttp.ClientError):
        await reading
    assert await daemon.ended() == 0
    assert loop.time() - began < 5
    assert (await daemon.wait_for("service.stopped"))["aborted"] == 1
    await sandbox.upstream.wait_for_abandoned(1)


@pytest.mark.parametrize("rotates_first", [False, True])
async def test_a_refresh_under_way_is_stored_and_its_request_served(
    launch: Launch, sandbox: Sandbox, store: Path, rotates_first: bool
) -> None:
    """SIGTERM between call and response: file, client and exit code are all good."""
    daemon = await launch(drain_seconds=20)
    authority = sandbox.authority
    gate = authority.response_gate if rotates_first else authority.gate
    gate.close()
    sandbox.revoke_access_tokens()
    pending = asyncio.create_task(daemon.client.send())
    await gate.wait_for_waiting(1)
    daemon.terminate()
    await daemon.wait_for("service.stopping")
    gate.open()
    reply = await pending
    assert (reply.status, reply.recovery) == (200, "refresh")
    assert await daemon.ended() == 0
    assert was_stored(sandbox, store)


async def test_a_refresh_under_way_is_stored_after_the_drain(
    launch: Launch, sandbox: Sandbox, store: Path
) -> None:
    """The drain limits requests. The response to a spent token is waited for and
    stored.
    """
    daemon = await launch(drain_seconds=0)
    sandbox.authority.response_gate.close()
    sandbox.revoke_access_tokens()
    pending = asyncio.create_task(daemon.client.send())
    await sandbox.authority.response_gate.wait_for_waiting(1)
    daemon.terminate()
    with pytest.raises(aiohttp.ClientError):
        await pending
    assert daemon.process.returncode is None
    sandbox.authority.response_gate.open()
    assert await daemon.ended() == 0
    assert was_stored(sandbox, store)


@pytest.mark.usefixtures("store")
async def test_a_second_signal_aborts_a_stream(
    launch: Launch, sandbox: Sandbox
) -> None:
    """In mid-response, and the exit code is 0."""
    daemon = await launch(drain_seconds=3600)
    reading = await streaming(daemon, sandbox)
    daemon.terminate()
    await daemon.wait_for("service.stopping")
    daemon.terminate()
    with pytest.raises(aiohttp.ClientError):
        await reading
    assert await daemon.ended() == 0


async def test_a_unix_socket_serves_and_is_removed_at_the_end(
    start: Start, tmp_path: Path
) -> None:
    """Its mode is for the owner only; a socket left by a crash does not prevent the
    start.
    """
    path = tmp_path / "relay.sock"
    for _ in range(2):
        daemon = await start(listen=f"127.0.0.1:0,unix:{path}")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert await over_unix(path, daemon.client.key) == 200
        assert await over_unix(path, "not-a-key") == 401
        await daemon.stop()
        assert not path.exists()


async def test_a_dead_socket_is_replaced_and_a_live_one_is_not(
    start: Start, tmp_path: Path
) -> None:
    """A connection attempt shows which it is; a file that is no socket is never
    removed.
    """
    path = tmp_path / "relay.sock"
    dead = await asyncio.start_unix_server(lambda _, w: w.close(), path)
    left = path.with_name("left.sock")
    path.rename(left)  # closing it would remove the path
    dead.close()
    await dead.wait_closed()
    left.rename(path)
    daemon = await start(listen=f"127.0.0.1:0,unix:{path}")
    assert await over_unix(path, daemon.client.key) == 200
    with pytest.raises(StartError, match=r"relay\.sock: address already in use"):
        await start(listen=f"unix:{path}", folder=tmp_path / "second")
    assert await over_unix(path, daemon.client.key) == 200
    file = tmp_path / "notes.txt"
    file.write_text("kept")
    with pytest.raises(StartError, match=r"notes\.txt"):
        await start(listen=f"unix:{file}", folder=tmp_path / "third")
    assert file.read_text() == "kept"


async def test_several_listeners_serve_at_once(
    start: Start, canary: Canary, tmp_path: Path
) -> None:
    """IPv4, IPv6, a name and a unix socket; all of them close together."""
    path = tmp_path / "relay.sock"
    daemon = await start(listen=f"127.0.0.1:0,[::1]:0,localhost:0,unix:{path}")
    assert daemon.status is not None
    addresses = [parse_address(text) for text in daemon.status.relay]
    assert [address.host for address in addresses] == [
        "127.0.0.1",
        "::1",
        "localhost",
        "",
    ]
    urls = [address.base_url for address in addresses if address.base_url]
    for url in urls:
        async with Client(url, daemon.client.key, canary) as client:
            assert (await client.get()).status == 200
            assert (await client.get("/v1/models")).status == 200
    assert await over_unix(path, daemon.client.key) == 200
    await daemon.stop()
    for url in urls:
        async with Client(url, daemon.client.key, canary) as client:
            with pytest.raises(aiohttp.ClientConnectorError):
                await client.get()


async def test_one_address_that_is_taken_opens_none(
    start: Start, tmp_path: Path
) -> None:
    """All or none: a daemon with half of its listeners would be hard to diagnose."""
    first: Daemon = await start()
    taken = first.client.base_url.removeprefix("http://")
    path = tmp_path / "other.sock"
    with pytest.raises(StartError, match="already in use"):
        await start(folder=tmp_path / "second", listen=f"unix:{path},{taken}")
    assert not path.exists()
    assert (await first.client.get()).status == 200
    assert first.announced(ServiceStopped) == []
