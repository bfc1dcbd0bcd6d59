"""A disk that fails, is full, is read-only or goes away: no login is lost because of it.

The daemon is a real one. Errors come from strace, at its system calls, and from real
mounts where this machine allows them.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from bearerd.sandbox import Sandbox
from tests.chaos.daemons import daemon, failing
from tests.chaos.report import Report
from tests.support import Canary, ServeProcess, read_login, tokens_of, write_login

WRITES = ("write", "fsync", "rename")
WRITE_ERRORS = ("ENOSPC", "EIO", "EROFS")
READS = ("openat", "?stat,?newfstatat,?statx")
READ_ERRORS = ("EIO", "EACCES", "ESTALE", "ETIMEDOUT")
"""`stat` has several names; strace leaves out those that this machine does not have."""

AT_ONCE = 4

Outcome = Callable[[Path, Canary, str, str], Awaitable[list[object]]]


@asynccontextmanager
async def scene(
    folder: Path, store: Path, canary: Canary, **given: object
) -> AsyncIterator[tuple[Sandbox, ServeProcess]]:
    """Give an authority and a daemon that has refreshed once already."""
    async with Sandbox() as sandbox:
        canary.watches(sandbox)
        write_login(store, sandbox.auth_document())
        async with daemon(store, sandbox, canary, folder / "home", **given) as served:
            await refresh(sandbox, served)
            yield sandbox, served


async def refresh(sandbox: Sandbox, served: ServeProcess) -> None:
    """Let the token die: the next request is served all the same."""
    sandbox.revoke_access_tokens()
    reply = await served.client.get()
    assert (reply.status, reply.code) == (200, None)
    assert reply.recovery == "refresh"


async def profile(served: ServeProcess) -> dict[str, Any]:
    """Return what the status says of the one profile."""
    _, text = await served.admin("/api/status")
    (found,) = json.loads(text)["profiles"]
    assert isinstance(found, dict)
    return found


def assert_stored(sandbox: Sandbox, store: Path) -> None:
    """Fail unless the file has the newest login, and no token was spent twice."""
    tokens = tokens_of(read_login(store))
    assert sandbox.tokens.introspect(tokens["access_token"]).state == "live"
    assert sandbox.authority.reused == 0
    assert sandbox.authority.calls == sandbox.authority.refreshes


async def survives(folder: Path, canary: Canary, call: str, error: str) -> list[object]:
    """Let each write fail for two refreshes; return a row of what was seen."""
    store = folder / "auth.json"
    async with scene(folder, store, canary) as (sandbox, served):
        async with failing(served, call, error):
            for _ in range(2):
                await refresh(sandbox, served)
            found = await profile(served)
            health = json.loads((await served.admin("/healthz"))[1])
        assert (found["state"], found["code"]) == ("degraded", "unsaved")
        assert found["in_memory_only"]
        assert health["status"] == "degraded"
        held = await served.wait_for("credential.held_in_memory")
        await served.wait_for("credential.saved")
        assert not (await profile(served))["in_memory_only"]
        assert_stored(sandbox, store)
        served.terminate()
        assert await served.ended() == 0
        refreshes = sandbox.authority.refreshes
    word = held["reason"].split(": ")[2].split(";")[0]
    return [call, error, refreshes, 0, "saved when it could be", word]


async def waits(folder: Path, canary: Canary, call: str, error: str) -> list[object]:
    """Let each read, and so each write too, fail; return a row of what was seen."""
    store = folder / "auth.json"
    async with scene(folder, store, canary) as (sandbox, served):
        async with failing(served, call, error):
            assert (await served.client.get()).status == 200
            sandbox.revoke_access_tokens()
            for _ in range(3):
                reply = await served.client.get()
                assert (reply.status, reply.code) == (503, "store_unavailable")
                assert 1 <= int(reply.headers["Retry-After"]) <= 5
            assert (await served.admin("/livez"))[0] == 200
            found = await profile(served)
            assert (found["state"], found["code"]) == ("blocked", "store_unavailable")
            assert sandbox.authority.calls == 1, (
                "a token was presented without a record"
            )
        assert (await served.client.get()).status == 200
        assert sandbox.authority.refreshes == 2
        assert_stored(sandbox, store)
        assert not [it for it in served.lines if it["event"] == "login.needed"]
        troubled = await served.wait_for("store.troubled")
        served.terminate()
        assert await served.ended() == 0
        refreshes = sandbox.authority.refreshes
    name = "openat" if call == "openat" else "stat"
    word = troubled["reason"].split(": ")[-1].split(";")[0]
    return [name, error, refreshes, 0, "503 until it can be read", word]


async def test_no_error_of_a_disk_costs_the_login(
    tmp_path: Path, canary: Canary, report: Report
) -> None:
    """If it cannot be written, the new login is served from memory, announced, and saved
    when it can be. If it cannot be read either, no token is presented meanwhile.
    """
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(number: int, outcome: Outcome, call: str, error: str) -> list[object]:
        async with gate:
            return await outcome(tmp_path / str(number), canary, call, error)

    cases = [
        *((survives, *pair) for pair in itertools.product(WRITES, WRITE_ERRORS)),
        *((waits, *pair) for pair in itertools.product(READS, READ_ERRORS)),
    ]
    works = (one(number, *case) for number, case in enumerate(cases))
    rows = await asyncio.gather(*works)
    heads = ("call", "error", "refreshes", "reuses", "the login", "the log says")
    report.table("Errors of the disk, while two refreshes land", heads, rows)


def mount(*arguments: str | Path) -> None:
    """Mount something; skip where this machine does not allow it."""
    done = subprocess.run(
        ["mount", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")


def unmount(place: Path, *, is_sure: bool = True) -> None:
    """Unmount *place*, even while files there are open; it may not be mounted."""
    subprocess.run(
        ["umount", "--lazy", str(place)], check=is_sure, stderr=subprocess.DEVNULL
    )


@contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    """Give a file system of a few pages and a few files at *place*."""
    place.mkdir()
    mount("-t", "tmpfs", "-o", "size=64k,nr_inodes=32,mode=0700", "tmpfs", place)
    try:
        yield place
    finally:
        unmount(place)


def fill_bytes(place: Path) -> list[Path]:
    """Fill a file system to its last byte; return the file that does."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return [filler]


def fill_files(place: Path) -> list[Path]:
    """Make files until no other can be made; return them."""
    fillers: list[Path] = []
    try:
        while True:
            filler = place / f"filler-{len(fillers)}"
            filler.touch()
            fillers.append(filler)
    except OSError:
        return fillers


@pytest.mark.parametrize("fill", [fill_bytes, fill_files])
async def test_a_disk_that_is_really_full_and_a_death_on_top(
    tmp_path: Path, canary: Canary, fill: Callable[[Path], list[Path]]
) -> None:
    """The response is in the rescue place: the next start serves it, and saves it."""
    with small_disk(tmp_path / "disk") as disk:
        store = disk / "auth.json"
        async with scene(tmp_path, store, canary) as (sandbox, served):
            fillers = fill(disk)
            await refresh(sandbox, served)
            assert (await profile(served))["in_memory_only"]
            served.kill()
            await served.ended()
            home = tmp_path / "home"
            async with daemon(store, sandbox, canary, home) as again:
                assert (await again.client.get()).status == 200
                assert (await profile(again))["in_memory_only"]
                for filler in fillers:
                    filler.unlink()
                await again.wait_for("credential.saved")
                assert (await again.client.get()).status == 200
            assert_stored(sandbox, store)
            assert sandbox.authority.refreshes == 2


async def test_a_disk_that_becomes_read_only(tmp_path: Path, canary: Canary) -> None:
    """As file systems do after an error; then it is repaired, without a sign-in."""
    with small_disk(tmp_path / "disk") as disk:
        store = disk / "auth.json"
        async with scene(tmp_path, store, canary) as (sandbox, served):
            await refresh(sandbox, served)
            mount("-o", "remount,ro", disk)
            assert (await served.client.get()).status == 200
            sandbox.revoke_access_tokens()
            # Not even the lock can be taken there, so no token is presented.
            for _ in range(2):
                reply = await served.client.get()
                assert (reply.status, reply.code) == (503, "store_unavailable")
            assert sandbox.authority.refreshes == 2
            mount("-o", "remount,rw", disk)
            assert (await served.client.get()).status == 200
            assert sandbox.authority.refreshes == 3
            assert_stored(sandbox, store)


@pytest.mark.parametrize("way", ["renamed", "unmounted"])
async def test_a_folder_that_vanishes_and_returns(
    tmp_path: Path, canary: Canary, way: str
) -> None:
    """Between requests and in the middle of a refresh: it is no sign-out."""
    real, folder = tmp_path / "real", tmp_path / "folder"
    for place in (real, folder):
        place.mkdir()
    away, back = (
        (lambda: unmount(folder), lambda: mount("--bind", real, folder))
        if way == "unmounted"
        else (lambda: folder.rename(real / "x"), lambda: (real / "x").rename(folder))
    )
    if way == "unmounted":
        back()
    store = folder / "auth.json"
    try:
        async with scene(tmp_path, store, canary) as (sandbox, served):
            away()
            assert (await served.client.get()).status == 200
            troubled = await served.wait_for("store.troubled")
            assert "its folder is missing" in troubled["reason"]
            assert "mount it again" in (await profile(served))["message"]
            sandbox.revoke_access_tokens()
            reply = await served.client.get()
            assert (reply.status, reply.code) == (503, "store_unavailable")
            back()
            assert (await served.client.get()).status == 200

            sandbox.revoke_access_tokens()
            sandbox.authority.gate.close()
            asking = asyncio.create_task(served.client.get())
            await sandbox.authority.wait_for_waiting(1)
            away()
            sandbox.authority.gate.open()
            assert (await asking).status == 200
            assert (await profile(served))["in_memory_only"]
            back()
            await served.wait_for("credential.saved")
            assert_stored(sandbox, store)
            assert sandbox.authority.refreshes == 3
            assert not [it for it in served.lines if it["event"] == "login.needed"]
    finally:
        if way == "unmounted":
            unmount(folder, is_sure=False)


async def test_a_file_that_is_torn_again_and_again(
    tmp_path: Path, canary: Canary
) -> None:
    """Another program truncates it and writes in place, slowly; no client notices."""
    store = tmp_path / "auth.json"
    async with scene(tmp_path, store, canary) as (sandbox, served):
        content = store.read_bytes()
        for cut in range(0, len(content), len(content) // 12):
            store.write_bytes(content[:cut])
            assert (await served.client.get()).status == 200
            await asyncio.sleep(0.05)
            store.write_bytes(content)
        await refresh(sandbox, served)
        assert_stored(sandbox, store)
        assert not [it for it in served.lines if it["event"] == "login.needed"]
