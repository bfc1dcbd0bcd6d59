"""Writes that a death, a cancellation or a vanished folder interrupts."""

from __future__ import annotations

import asyncio
import errno
import json
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from bearerd.credential.authority.client import AuthorityClient
from bearerd.credential.authority.errors import AuthorityFailure
from bearerd.credential.authority.refresh_grant import RefreshGrant
from bearerd.credential.store.auth_file import AuthFile
from bearerd.credential.store.auth_json import Document
from bearerd.credential.store.journal import Journal, this_process
from bearerd.credential.store.journal_entry import JournalEntry
from bearerd.errors import LoginRequired, StoreError, StoreUnavailable
from bearerd.files import atomic
from tests.credential.processes import ROOT
from tests.credential.stand_ins import (
    PATIENCE_SECONDS,
    START,
    Home,
    credential_for,
    login,
    names_in,
    refresh_token_of,
    soon,
)

PRESENTER = this_process()
RESPONSE = JournalEntry(
    "a" * 16, None, START, PRESENTER, renewed=credential_for("second")
)


async def test_a_response_that_had_not_got_its_name_is_found(tmp_path: Path) -> None:
    """Its writer was killed before the rename. Clearing removes it too."""
    journal = Journal([tmp_path / "journal", tmp_path / "absent" / "rescue"])
    (tmp_path / ".journal.k3_x9qzz").write_bytes(RESPONSE.to_json())
    (tmp_path / ".journal.k4_x9qzz").write_bytes(RESPONSE.to_json()[:-9])
    assert await journal.read() == [RESPONSE]
    await journal.clear()
    assert names_in(tmp_path) == []


async def test_what_a_killed_writer_left_is_removed_by_the_next(home: Home) -> None:
    """Temporary files contain tokens; those of other programs are not removed."""
    home.write(login())
    for name in (".auth.json.k3_x9qzz", ".auth-k3x9qz", ".auth.json.notes.1234567"):
        (home.path.parent / name).write_text("{}")
    store = home.store()
    assert await store.replace(await store.load(), credential_for("second")) is None
    left = names_in(home.path.parent)
    assert ".auth.json.k3_x9qzz" not in left
    assert {".auth-k3x9qz", ".auth.json.notes.1234567"} <= set(left)


class SlowFile(AuthFile):
    """A file whose writes take until they are released."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.began, self.release = threading.Event(), threading.Event()
        self.fails = False

    def write(self, document: Document) -> atomic.FileStamp:
        """Wait for the release; then write, or fail as a full disk does."""
        self.began.set()
        assert self.release.wait(2 * PATIENCE_SECONDS)
        if self.fails:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(document)


@pytest.mark.parametrize("fails", [False, True], ids=["written", "full-disk"])
async def test_a_cancelled_writer_keeps_the_lock_until_its_write_has_ended(
    home: Home, fails: bool
) -> None:
    """Or another process would read a file that is still being replaced."""
    home.write(login())
    store = home.store()
    store._file = file = SlowFile(home.path)
    file.fails = fails
    expected = refresh_token_of("first" if fails else "second")

    async def replace() -> None:
        async with store.lock(0):
            await store.replace(await store.load(), credential_for("second"))

    task = asyncio.create_task(replace())
    assert await asyncio.to_thread(file.began.wait, PATIENCE_SECONDS)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            async with home.store().lock(0):
                raise AssertionError("the write is not over")
    assert not task.done()
    file.release.set()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)
    async with home.store().lock(0):
        assert home.stored_refresh_token() == expected


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_half_a_write_in_place_is_never_a_mixture(tmp_path: Path) -> None:
    """A writer that is killed at its write leaves the beginning of one document."""
    path = tmp_path / "auth.json"
    path.write_bytes(json.dumps(login("first")).encode())
    code = (
        "import sys; from pathlib import Path; from bearerd.files import atomic; "
        "atomic.write_in_place(Path(sys.argv[1]), b'{}' * 2000)"
    )
    killed = ("-e", "trace=write", "-e", "inject=write:signal=SIGKILL", "-P", path)
    done = subprocess.run(
        ["strace", "-f", "-o", "/dev/null", *killed, sys.executable, "-c", code, path],
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert b"first" not in path.read_bytes()


async def test_an_unmounted_volume_is_no_sign_out(home: Home) -> None:
    """The mount point stays, empty: nothing is created there, and nothing is dropped."""
    home.write(login())
    folder, away = home.path.parent, home.path.parent.with_name("away")
    store = home.store()
    async with store.lock(0):
        base = await store.load()
        folder.rename(away)
        folder.mkdir()
        with pytest.raises(StoreUnavailable, match="mount it again"):
            await store.load()
        with pytest.raises(StoreError, match="mount it again"):
            await store.replace(base, credential_for("second"))
        with pytest.raises(StoreError, match="its folder is missing"):
            await store.journal.write(RESPONSE)
    with pytest.raises(StoreUnavailable, match="mount it again"):
        async with store.lock(0):
            raise AssertionError("no other process sees this lock")
    assert names_in(folder) == []
    folder.rmdir()
    away.rename(folder)
    async with store.lock(0):
        assert await store.replace(await store.load(), credential_for("second")) is None


async def test_a_removed_lock_file_is_created_again(home: Home) -> None:
    """While the credential file is there, its folder is."""
    home.write(login())
    store, lock = home.store(), home.path.with_name("auth.json.bearerd-lock")
    await store.load()
    for _ in range(2):
        async with store.lock(0):
            lock.unlink()
    home.path.unlink()
    lock.touch()
    with pytest.raises(LoginRequired) as why:
        await store.load()
    assert why.value.reason == "missing"


class SilentResolver(AbstractResolver):
    """A resolver that never responds."""

    async def resolve(
        self, host: str, port: int = 0, family: object = 0
    ) -> list[ResolveResult]:
        raise AssertionError(await asyncio.Event().wait(), host, port, family)

    async def close(self) -> None:
        """Nothing is open."""


async def test_a_name_that_is_looked_up_for_too_long_leaves_the_token_unspent() -> None:
    """Nothing was sent, and that is known."""
    connector = aiohttp.TCPConnector(resolver=SilentResolver())
    async with aiohttp.ClientSession(connector=connector) as session:
        client = AuthorityClient(
            session,
            issuer_url="http://authority.invalid",
            token_url="http://authority.invalid/oauth/token",
            client_id="made-up",
            timeout_seconds=0.2,
        )
        with pytest.raises(AuthorityFailure) as why:
            await soon(RefreshGrant(client).refresh("made-up"))
    assert why.value.outcome == "undelivered"
