"""Points 5 and 7: files that are torn, unreadable, or no files at all."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.login.clocks import needs_compiler
from tests.login.faults import (
    AS_NOBODY,
    NOBODY,
    READS,
    STATS,
    injected,
    needs_root,
    needs_strace,
)
from tests.login.lab import Family, grants_after
from tests.login.processes import Daemon, Reply, passed, reached, until
from tests.login.world import World, write_whole

BROKEN = {
    "empty": b"",
    "half": b'{"auth_mode": "chatgpt", "tokens": {"access_to',
    "garbage": bytes(range(256)),
    "json_null": b"null",
    "zeros": b"\0" * 2048,
}
ERRORS = ("ESTALE", "EACCES", "EIO", "ETIMEDOUT")
BUDGET = {"refresh_burst": 50, "refresh_interval_seconds": 1}


def is_served(reply: Reply) -> bool:
    """Return True for a good response of the upstream."""
    return reply.status == 200


async def assert_alive(daemon: Daemon) -> None:
    """Assert that the daemon runs, and that its loop answers."""
    assert not daemon.has_ended, daemon.lines[-2:]
    reply = await daemon.admin("/livez", patience=4)
    assert reply.status == 200


async def stored(world: World, family: Family, what: str) -> None:
    """Return once the file holds the live token of *family*."""
    await until(lambda: world.stored_refresh_token() == family.live_token, what)


# Torn files.


@needs_compiler
async def test_a_torn_file_does_not_stop_a_daemon_with_a_good_login(
    world: World,
) -> None:
    """The file breaks, then the access token dies: refreshed from memory, written back."""
    world.live_by(10)
    family = world.log_in()
    daemon = await world.serve(authority_timeout_seconds=100, **BUDGET)
    assert (await daemon.ask()).status == 200
    for name, content in BROKEN.items():
        world.store.write_bytes(content)
        world.authority.revoke_access_tokens()
        await reached(daemon.ask, is_served, name)
        assert world.stored_refresh_token() == family.live_token, name
    world.assert_kept(family, calls=len(BROKEN))


@needs_compiler
async def test_a_torn_file_is_written_back_without_a_refresh(world: World) -> None:
    """By the running daemon after a while, and by one that is stopped at once."""
    world.live_by(30)
    family = world.log_in()
    daemon = await world.serve()
    for name, content in BROKEN.items():
        world.store.write_bytes(content)
        assert (await daemon.ask()).status == 200, name
        await stored(world, family, f"{name} is written back")
    world.store.write_bytes(BROKEN["half"])
    assert await daemon.stop() == 0
    assert world.stored_refresh_token() == family.live_token
    daemon = await world.serve()
    assert (await daemon.ask()).status == 200
    world.assert_kept(family, calls=0)


async def test_a_slow_writer_is_not_written_over(world: World) -> None:
    """Another program truncates the file and writes a new login half a second later."""
    world.log_in()
    daemon = await world.serve()
    assert (await daemon.ask()).status == 200
    newer = world.authority.sign_in()
    document = world.authority.document(newer)
    world.store.write_bytes(b"")
    await asyncio.gather(*(daemon.ask() for _ in range(5)))
    await passed(0.5)
    assert world.store.read_bytes() == b""
    with world.store.open("r+b") as file:
        file.write(json.dumps(document).encode())
    await reached(
        daemon.ask,
        lambda _: world.upstream.visits[-1].access_token in newer.access_tokens,
        "the new login is used",
        seconds=8,
    )
    assert world.stored_refresh_token() == newer.live_token


async def test_a_file_torn_during_a_call_gets_the_response(world: World) -> None:
    """The grant is stored over what is left of the file."""
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
    await stored(world, family, "stored")
    world.assert_kept(family, calls=1)


async def test_a_whole_file_without_tokens_is_a_sign_out(world: World) -> None:
    """It is not torn: another program wrote it on purpose, and nothing is written over."""
    family = world.log_in()
    daemon = await world.serve()
    assert (await daemon.ask()).status == 200
    document = {"auth_mode": "chatgpt", "OPENAI_API_KEY": None}
    write_whole(world.store, document)
    await reached(daemon.ask, lambda reply: reply.code == "login_required", "noticed")
    assert await daemon.stop() == 0
    assert world.stored() == document
    assert family.is_alive
    assert world.authority.calls == []


@needs_root
async def test_an_unreadable_file_is_no_reason_to_sign_in(world: World) -> None:
    """503 with the command that helps; the login is served as soon as it can be read.

    What is held is not refreshed meanwhile: the file may hold a newer login.
    """
    family = world.log_in()
    for path in [world.folder, *world.folder.rglob("*")]:
        os.chown(path, NOBODY, NOBODY)
    world.store.chmod(0o000)
    world.prefix = AS_NOBODY
    daemon = await world.serve()
    reply = await daemon.ask()
    assert (reply.status, reply.code) == (503, "store_unavailable"), reply
    assert "bearerd login" not in reply.message, reply
    world.store.chmod(0o600)
    await reached(daemon.ask, is_served, "readable", seconds=8)
    os.chown(world.store, 0, 0)
    for _ in range(3):
        assert (await daemon.ask()).status == 200
    world.authority.revoke_access_tokens()
    reply = await daemon.ask()
    assert (reply.status, reply.code) == (503, "store_unavailable"), reply
    assert f"chown {NOBODY} " in reply.message, reply
    await assert_alive(daemon)
    assert not daemon.logged("login.needed")
    os.chown(world.store, NOBODY, NOBODY)
    await reached(daemon.ask, is_served, "the owner's again", seconds=8)
    world.assert_kept(family, calls=1)


# What is no file.


def fifo(path: Path) -> None:
    """Put a FIFO into a file's place."""
    path.unlink()
    os.mkfifo(path, 0o600)


def directory(path: Path) -> None:
    """Put a folder into a file's place."""
    path.unlink()
    path.mkdir()


def link_to_itself(path: Path) -> None:
    """Put a symbolic link to itself into a file's place."""
    path.unlink()
    path.symlink_to(path.name)


def endless_device(path: Path) -> None:
    """Put a link to a device of its own into a file's place, as /dev/zero is one."""
    path.unlink()
    device = path.with_name("zero")
    if not device.exists():
        os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    path.symlink_to(device)


def socket_file(path: Path) -> None:
    """Put a socket into a file's place."""
    path.unlink()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


def huge(path: Path) -> None:
    """Make the file larger than memory, without blocks on the disk."""
    os.truncate(path, 1 << 40)


KINDS: list[Callable[[Path], None]] = [
    fifo,
    directory,
    link_to_itself,
    socket_file,
    huge,
]
if os.geteuid() == 0:
    KINDS.append(endless_device)


def clear(path: Path) -> None:
    """Remove what is in a file's place."""
    if path.is_dir():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


@needs_compiler
async def test_something_else_in_the_place_of_the_file(world: World) -> None:
    """The daemon lives, serves while the token does, and keeps the login."""
    world.live_by(5)
    family = world.log_in()
    daemon = await world.serve(authority_timeout_seconds=100, **BUDGET)
    for number, put in enumerate(KINDS, start=1):
        await reached(daemon.ask, is_served, f"before {put.__name__}")
        before = world.store.read_bytes()
        put(world.store)
        for _ in range(3):
            assert (await daemon.ask(patience=10)).status == 200, put
            await assert_alive(daemon)
        world.authority.revoke_access_tokens()
        reply = await daemon.ask(patience=15)
        assert reply.status in {200, 503}, (put, reply)
        assert reply.code != "internal_error", (put, reply)
        await assert_alive(daemon)
        if reply.status == 503:
            clear(world.store)
            write_whole(world.store, before)
        await reached(daemon.ask, is_served, f"after {put.__name__}")
        await world.kept(family, calls=number)
    assert await daemon.stop() == 0
    await stored(world, family, "stored")


@pytest.mark.parametrize("put", [fifo, directory, link_to_itself])
async def test_a_start_with_something_else_in_the_place_of_the_file(
    world: World, put: Callable[[Path], None]
) -> None:
    """The daemon starts, answers, and takes the login up when it comes."""
    family = world.log_in()
    before = world.store.read_bytes()
    put(world.store)
    daemon = await world.serve()
    reply = await daemon.ask(patience=8)
    assert (reply.status, reply.code) == (503, "store_unavailable"), reply
    await assert_alive(daemon)
    clear(world.store)
    write_whole(world.store, before)
    await reached(daemon.ask, is_served, "served", seconds=10)
    world.assert_kept(family, calls=0)


@needs_compiler
@pytest.mark.parametrize("beside", ["bearerd-journal", "bearerd-journal-receipt"])
async def test_something_else_in_the_place_of_the_journal(
    world: World, beside: str
) -> None:
    """It holds up nothing: another place takes the record."""
    world.live_by(5)
    family = world.log_in()
    path = world.store.with_name(f"{world.store.name}.{beside}")
    path.touch()
    fifo(path)
    daemon = await world.serve(authority_timeout_seconds=100, **BUDGET)
    for put in KINDS:
        clear(path)
        path.touch()
        put(path)
        world.authority.revoke_access_tokens()
        await reached(daemon.ask, is_served, put.__name__)
        await assert_alive(daemon)
    world.assert_kept(family, calls=len(KINDS))


async def test_something_else_in_the_place_of_the_state(world: World) -> None:
    """The account may be in it, so nothing is served that is not known to be ours."""
    family = world.log_in()
    path = world.store.with_name("auth.json.bearerd-state")
    path.touch()
    fifo(path)
    daemon = await world.serve()
    reply = await daemon.ask(patience=8)
    assert (reply.status, reply.code) == (503, "store_unavailable"), reply
    assert str(path) in reply.message
    await assert_alive(daemon)
    path.unlink()
    await reached(daemon.ask, is_served, "served", seconds=10)
    world.assert_kept(family, calls=0)


# Errors of the system.


@needs_strace
@needs_compiler
@pytest.mark.parametrize("calls", [STATS, READS], ids=["stats", "reads"])
async def test_an_error_of_the_store_ends_nothing(world: World, calls: str) -> None:
    """Each look at the file fails for a while; then all is well without a restart."""
    world.live_by(5)
    family = world.log_in()
    daemon = await world.serve(authority_timeout_seconds=15, **BUDGET)
    for number, name in enumerate(ERRORS, start=1):
        await reached(daemon.ask, is_served, f"before {name}")
        paths = (world.store, world.store.parent)
        async with injected(daemon.pid, calls, f"error={name}", *paths):
            for _ in range(2):
                reply = await daemon.ask(patience=10)
                assert reply.status == 200, (name, reply)
            world.authority.revoke_access_tokens()
            for _ in range(2):
                reply = await daemon.ask(patience=15)
                assert reply.status in {200, 503}, (name, reply)
                assert reply.code != "login_required", (name, reply)
            await assert_alive(daemon)
        await reached(daemon.ask, is_served, f"after {name}")
        await world.kept(family, calls=number)
    assert await daemon.stop() == 0
    assert world.stored_refresh_token() == family.live_token


@needs_strace
@needs_compiler
async def test_an_error_of_the_store_while_a_grant_is_unsaved(world: World) -> None:
    """Every file operation in the folder fails for several tries to save."""
    clock = world.live_by(8)
    family = world.log_in()
    daemon = await world.serve(authority_timeout_seconds=15, **BUDGET)
    writes = "rename,renameat,renameat2,fsync,fdatasync"
    for number, name in enumerate(ERRORS, start=1):
        await reached(daemon.ask, is_served, f"before {name}")
        world.authority.revoke_access_tokens()
        beside = (world.store.parent, *world.store.parent.iterdir())
        fault = f"error={name}"
        async with injected(daemon.pid, f"{READS},{writes}", fault, *beside):
            end = clock.now() + 8
            while clock.now() < end:
                reply = await daemon.ask(patience=15)
                assert reply.status in {200, 503}, (name, reply)
                assert not daemon.has_ended, daemon.lines[-3:]
        await reached(daemon.ask, is_served, f"after {name}")
        await stored(world, family, f"saved after {name}")
        world.assert_kept(family, calls=number)


@needs_strace
@needs_compiler
async def test_a_hung_mount_does_not_stop_requests(world: World) -> None:
    """Each look at the file hangs: a live token is served, and `/livez` answers."""
    world.live_by(5)
    family = world.log_in()
    daemon = await world.serve(authority_timeout_seconds=10)
    assert (await daemon.ask()).status == 200
    hang = "delay_enter=2500000"
    async with injected(daemon.pid, f"{READS},{STATS}", hang, world.store):
        for _ in range(4):
            reply = await daemon.ask(patience=10)
            assert reply.status == 200, reply
            await assert_alive(daemon)
        world.authority.revoke_access_tokens()
        replies = await asyncio.gather(*(daemon.ask(patience=20) for _ in range(3)))
        assert {reply.status for reply in replies} <= {200, 503}, replies
        await assert_alive(daemon)
    await reached(daemon.ask, is_served, "served", seconds=25)
    world.assert_kept(family, calls=1)


@needs_compiler
async def test_a_round_without_a_file_descriptor_is_not_the_last_one(
    world: World,
) -> None:
    """Each round of the background work fails for a while, and it goes on."""
    clock = world.live_by(10)
    world.log_in()
    daemon = await world.serve()
    assert (await daemon.ask()).status == 200
    before = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (3, before[1]))
    end = clock.now() + 20
    await until(lambda: clock.now() > end, "twenty rounds")
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, before)
    assert not daemon.has_ended, daemon.lines[-3:]
    newer = world.log_in()
    await reached(
        daemon.ask,
        lambda _: world.upstream.visits[-1].access_token in newer.access_tokens,
        "the changed file is noticed",
    )
