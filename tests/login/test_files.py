"""Points 5 and 7: files that are torn, unreadable, or no files at all."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from pathlib import Path

import pytest

from tests.login.faults import (
    AS_NOBODY,
    NOBODY,
    READS,
    STATS,
    injected,
    needs_root,
    needs_strace,
)
from tests.login.lab import grants_after
from tests.login.processes import Daemon, Reply, passed, reached, until
from tests.login.world import World, write_whole

BROKEN = {
    "empty": b"",
    "half": b'{"auth_mode": "chatgpt", "tokens": {"access_to',
    "garbage": bytes(range(256)),
    "json_null": b"null",
    "no_tokens": b'{"auth_mode": "chatgpt", "OPENAI_API_KEY": null}',
    "zeros": b"\0" * 2048,
}


def is_served(reply: Reply) -> bool:
    """Return True for a good response of the upstream."""
    return reply.status == 200


async def is_alive(daemon: Daemon) -> None:
    """Assert that the daemon runs and its loop answers."""
    assert not daemon.has_ended, daemon.lines[-2:]
    reply = await daemon.admin("/livez", patience=2)
    assert reply.status == 200


# ---- Point 5


@pytest.mark.parametrize("name", BROKEN)
async def test_a_torn_file_does_not_stop_a_daemon_with_a_good_login(
    world: World, name: str
) -> None:
    """The file breaks, then the access token dies: refreshed from memory, written back."""
    family = world.log_in()
    daemon = await world.serve()
    assert (await daemon.ask()).status == 200
    world.store.write_bytes(BROKEN[name])
    world.authority.revoke_access_tokens()
    await reached(daemon.ask, is_served, "served", seconds=8)
    world.assert_kept(family, calls=1)
    assert world.stored_refresh_token() == family.live_token


@pytest.mark.parametrize("name", ["empty", "half", "zeros"])
async def test_a_torn_file_is_written_back_without_a_refresh(
    world: World, name: str
) -> None:
    """Nothing has to be refreshed: the file is mended by itself, at the latest at the end."""
    family = world.log_in()
    daemon = await world.serve()
    assert (await daemon.ask()).status == 200
    world.store.write_bytes(BROKEN[name])
    for _ in range(5):
        assert (await daemon.ask()).status == 200
    assert await daemon.stop() == 0
    assert world.stored_refresh_token() == family.live_token
    daemon = await world.serve()
    assert (await daemon.ask()).status == 200
    world.assert_kept(family, calls=0)


async def test_a_torn_file_is_written_back_after_a_while(world: World) -> None:
    """The running daemon mends the file; a kill -9 later loses nothing."""
    family = world.log_in()
    daemon = await world.serve()
    assert (await daemon.ask()).status == 200
    world.store.write_bytes(b"")
    await until(
        lambda: world.stored_refresh_token() == family.live_token,
        "written back",
        seconds=15,
    )
    await daemon.kill()
    world.assert_kept(family, calls=0)


async def test_a_slow_writer_is_not_written_over(world: World) -> None:
    """Another program truncates the file and writes a new login half a second later."""
    world.log_in()
    daemon = await world.serve()
    assert (await daemon.ask()).status == 200
    newer = world.authority.sign_in()
    data = world.authority.document(newer)
    world.store.write_bytes(b"")
    await asyncio.gather(*(daemon.ask() for _ in range(5)))
    await passed(0.5)
    with world.store.open("r+b") as file:
        file.truncate()
        file.write(json.dumps(data).encode())
    await reached(
        daemon.ask,
        lambda _: world.upstream.visits[-1].access_token in newer.access_tokens,
        "the new login is used",
        seconds=8,
    )
    assert world.stored_refresh_token() == newer.live_token


async def test_a_torn_file_with_a_response_in_flight(world: World) -> None:
    """The file is torn during the call; the grant is stored."""
    family, gate = world.log_in(), asyncio.Event()
    daemon = await world.serve()
    world.authority.revoke_access_tokens()
    world.authority.scenes.append(grants_after(gate))
    asking = asyncio.create_task(daemon.ask())
    await until(lambda: bool(world.authority.calls), "the call")
    world.store.write_bytes(b"")
    gate.set()
    reply = await asking
    assert reply.status == 200, reply
    await until(
        lambda: world.stored_refresh_token() == family.live_token, "stored", seconds=8
    )
    world.assert_kept(family, calls=1)


async def test_a_file_torn_again_and_again_by_a_restart_loop(world: World) -> None:
    """Torn, kill -9, start, three times, each after it was mended or is still torn."""
    family = world.log_in()
    for _ in range(3):
        daemon = await world.serve(refresh_interval_seconds=1)
        await reached(daemon.ask, is_served, "served", seconds=8)
        world.store.write_bytes(b"")
        world.authority.revoke_access_tokens()
        await reached(daemon.ask, is_served, "served after the tear", seconds=8)
        await daemon.kill()
    world.assert_kept(family, calls=3)


@needs_root
async def test_an_unreadable_file_is_store_unavailable(world: World) -> None:
    """As another user: mode 000 at the start is 503, not "sign in", and heals by itself."""
    family = world.log_in()
    give_to_nobody(world)
    world.store.chmod(0o000)
    world.prefix = AS_NOBODY
    daemon = await world.serve()
    reply = await daemon.ask()
    assert reply.status == 503, reply
    assert "bearerd login" not in reply.message, reply
    assert not daemon.logged("login.needed"), daemon.logged("login.needed")
    world.store.chmod(0o600)
    await reached(daemon.ask, is_served, "served", seconds=8)
    world.assert_kept(family, calls=0)


@needs_root
async def test_an_unreadable_file_does_not_stop_a_good_login(world: World) -> None:
    """The file becomes root's, mode 600; the login in memory goes on, and is refreshed."""
    family = world.log_in()
    give_to_nobody(world)
    world.prefix = AS_NOBODY
    daemon = await world.serve()
    assert (await daemon.ask()).status == 200
    os.chown(world.store, 0, 0)
    world.store.chmod(0o600)
    world.authority.revoke_access_tokens()
    await reached(daemon.ask, is_served, "served", seconds=8)
    world.assert_kept(family, calls=1)
    assert world.stored_refresh_token() == family.live_token
    await is_alive(daemon)


def give_to_nobody(world: World) -> None:
    """Let all files of the world belong to another user."""
    for path in [world.folder, *world.folder.rglob("*")]:
        os.chown(path, NOBODY, NOBODY)


# ---- Point 7


def fifo(path: Path) -> None:
    """Put a FIFO into a file's place."""
    path.unlink()
    os.mkfifo(path, 0o600)


def directory(path: Path) -> None:
    """Put a directory into a file's place."""
    path.unlink()
    path.mkdir()


def link_to_itself(path: Path) -> None:
    """Put a symbolic link to itself into a file's place."""
    path.unlink()
    path.symlink_to(path.name)


def device(path: Path) -> None:
    """Put a link to an endless device into a file's place."""
    path.unlink()
    path.symlink_to("/dev/zero")


def socket_file(path: Path) -> None:
    """Put a socket into a file's place."""
    path.unlink()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


def huge(path: Path) -> None:
    """Make the file larger than memory, without blocks on the disk."""
    os.truncate(path, 1 << 40)


KINDS = {
    kind.__name__: kind
    for kind in (fifo, directory, link_to_itself, device, socket_file, huge)
}


@pytest.mark.parametrize("name", KINDS)
async def test_something_else_in_the_place_of_the_file(world: World, name: str) -> None:
    """The daemon lives, serves while the token does, refreshes, and keeps the login."""
    family = world.log_in()
    before = world.store.read_bytes()
    daemon = await world.serve(refresh_interval_seconds=1)
    assert (await daemon.ask()).status == 200
    KINDS[name](world.store)
    for _ in range(3):
        assert (await daemon.ask(patience=5)).status == 200
        await is_alive(daemon)
    world.authority.revoke_access_tokens()
    reply = await daemon.ask(patience=8)
    assert reply.status in {200, 503}, reply
    await is_alive(daemon)
    assert world.authority.reuses == 0
    if world.store.is_dir():
        world.store.rmdir()
    else:
        world.store.unlink()
    write_whole(world.store, before)
    await reached(daemon.ask, is_served, "served", seconds=10)
    await world.kept(family, calls=1)
    assert await daemon.stop() == 0
    world.assert_kept(family, calls=1)


@pytest.mark.parametrize("name", KINDS)
async def test_a_start_with_something_else_in_the_place_of_the_file(
    world: World, name: str
) -> None:
    """The daemon starts, answers, and takes the login up when it comes."""
    family = world.log_in()
    before = world.store.read_bytes()
    KINDS[name](world.store)
    daemon = await world.serve()
    reply = await daemon.ask(patience=8)
    assert reply.status in {401, 503}, reply
    await is_alive(daemon)
    if world.store.is_dir():
        world.store.rmdir()
    else:
        world.store.unlink()
    write_whole(world.store, before)
    await reached(daemon.ask, is_served, "served", seconds=10)
    world.assert_kept(family, calls=0)


@pytest.mark.parametrize(
    "beside", ["bearerd-state", "bearerd-journal", "bearerd-journal-receipt"]
)
@pytest.mark.parametrize("name", ["fifo", "directory", "device"])
async def test_something_else_in_the_place_of_a_file_beside(
    world: World, name: str, beside: str
) -> None:
    """The state or the journal is no file: requests are answered, the login is kept."""
    family = world.log_in()
    path = world.store.with_name(f"{world.store.name}.{beside}")
    path.touch()
    KINDS[name](path)
    daemon = await world.serve(refresh_interval_seconds=1)
    reply = await daemon.ask(patience=8)
    assert reply.status == 200, reply
    world.authority.revoke_access_tokens()
    reply = await daemon.ask(patience=8)
    assert reply.status in {200, 503}, reply
    await is_alive(daemon)
    world.assert_kept(family)


@needs_strace
@pytest.mark.parametrize("calls", ["stats", "reads"])
@pytest.mark.parametrize("name", ["ESTALE", "EACCES", "EIO", "ETIMEDOUT"])
async def test_an_error_of_the_store_ends_nothing(
    world: World, name: str, calls: str
) -> None:
    """Each look at the file fails for a while; then all is well without a restart."""
    family = world.log_in()
    daemon = await world.serve(refresh_interval_seconds=1, authority_timeout_seconds=3)
    assert (await daemon.ask()).status == 200
    chosen = {"stats": STATS, "reads": READS}[calls]
    async with injected(
        daemon.pid, chosen, f"error={name}", world.store, world.store.parent
    ):
        for _ in range(3):
            reply = await daemon.ask(patience=8)
            assert reply.status == 200, reply
        world.authority.revoke_access_tokens()
        for _ in range(3):
            reply = await daemon.ask(patience=8)
            assert reply.status in {200, 503}, reply
            assert reply.code != "login_required"
        await asyncio.gather(*(is_alive(daemon) for _ in range(3)))
    await reached(daemon.ask, is_served, "served", seconds=10)
    assert not daemon.has_ended
    world.assert_kept(family, calls=1)
    assert await daemon.stop() == 0
    assert world.stored_refresh_token() == family.live_token


@needs_strace
@pytest.mark.chaos
@pytest.mark.parametrize("name", ["ESTALE", "EACCES", "EIO", "ETIMEDOUT"])
async def test_an_error_of_the_store_while_a_grant_is_unsaved(
    world: World, name: str
) -> None:
    """Every file operation in the folder fails for ten seconds, with a new grant in memory."""
    family = world.log_in()
    daemon = await world.serve(refresh_interval_seconds=1)
    assert (await daemon.ask()).status == 200
    world.authority.revoke_access_tokens()
    writes = "rename,renameat,renameat2,fsync,fdatasync"
    beside = list(world.store.parent.iterdir())
    async with injected(
        daemon.pid,
        f"{READS},{writes}",
        f"error={name}",
        world.store.parent,
        *beside,
    ):
        reply = await daemon.ask(patience=10)
        assert reply.status in {200, 503}, reply
        began = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() - began < 10:
            reply = await daemon.ask(patience=10)
            assert reply.status in {200, 503}, reply
            assert not daemon.has_ended, daemon.lines[-3:]
            await asyncio.sleep(0.5)
    await reached(daemon.ask, is_served, "served", seconds=15)
    await until(
        lambda: world.stored_refresh_token() == family.live_token, "saved", seconds=10
    )
    world.assert_kept(family, calls=1)


@needs_strace
async def test_a_hung_mount_does_not_stop_requests(world: World) -> None:
    """Each look at the file hangs: requests with a live token are served, `/livez` answers."""
    family = world.log_in()
    daemon = await world.serve(authority_timeout_seconds=2)
    assert (await daemon.ask()).status == 200
    hang = "delay_enter=8000000"
    async with injected(daemon.pid, READS + "," + STATS, hang, world.store):
        for _ in range(6):
            reply = await daemon.ask(patience=3)
            assert reply.status == 200, reply
            await is_alive(daemon)
            await asyncio.sleep(0.3)
        world.authority.revoke_access_tokens()
        replies = await asyncio.gather(*(daemon.ask(patience=14) for _ in range(3)))
        for reply in replies:
            assert reply.status in {200, 503}, reply
        await is_alive(daemon)
    await reached(daemon.ask, is_served, "served", seconds=20)
    world.assert_kept(family, calls=1)
