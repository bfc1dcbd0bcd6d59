"""Writes that were broken off: by a death, by a cancellation, in the middle of a file."""

from __future__ import annotations

import asyncio
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

from bearerd.credential.authority.errors import AuthorityFailure
from bearerd.credential.authority.refresh_grant import HttpAuthority
from bearerd.credential.store.journal import Journal, JournalEntry, Presenter
from bearerd.errors import LoginRequired, StoreError
from bearerd.files import atomic
from tests.credential.stand_ins import START, Home, held, login, names_in, soon

PRESENTER = Presenter.this_process()
RESPONSE = JournalEntry("a" * 16, None, START, PRESENTER, renewed=held("second"))


async def test_a_response_that_had_not_got_its_name_is_found(tmp_path: Path) -> None:
    """Its writer was killed before the rename; clearing takes it away too."""
    journal = Journal([tmp_path / "journal", tmp_path / "absent" / "rescue"])
    (tmp_path / ".journal.k3_x9qzz").write_bytes(RESPONSE.to_json())
    (tmp_path / ".journal.k4_x9qzz").write_bytes(RESPONSE.to_json()[:-9])
    assert await journal.read() == [RESPONSE]
    await journal.clear()
    assert names_in(tmp_path) == []


async def test_what_a_killed_writer_left_is_removed_by_the_next(home: Home) -> None:
    """Temporary files hold tokens; those of other programs are left alone."""
    home.write(login())
    for name in (".auth.json.k3_x9qzz", ".auth-k3x9qz", ".auth.json.notes.1234567"):
        (home.path.parent / name).write_text("{}")
    store = home.store()
    assert await store.replace(await store.load(), held("second")) is None
    left = names_in(home.path.parent)
    assert ".auth.json.k3_x9qzz" not in left
    assert {".auth-k3x9qz", ".auth.json.notes.1234567"} <= set(left)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancelled_writer_waits_for_what_its_thread_does(
    tmp_path: Path, fails: bool
) -> None:
    """Or the lock would be let go while the file is still being replaced."""
    begun, may_end = threading.Event(), threading.Event()
    done: list[Path] = []

    def write(path: Path, _content: bytes) -> None:
        begun.set()
        may_end.wait(5)
        done.append(path)
        if fails:
            raise OSError(28, "No space left on device")

    task = asyncio.create_task(atomic.in_thread(write, tmp_path, b""))
    await soon(asyncio.to_thread(begun.wait, 5))
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)
    assert done == [tmp_path]


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_half_a_write_in_place_is_never_a_mixture(tmp_path: Path) -> None:
    """Killed at its write, it leaves nothing that could pass for a login of nobody."""
    path = tmp_path / "auth.json"
    path.write_bytes(json.dumps(login("first")).encode())
    code = (
        "import sys; from pathlib import Path; from bearerd.files import atomic; "
        "atomic.write_in_place(Path(sys.argv[1]), b'{}' * 2000)"
    )
    killed = ("-e", "trace=write", "-e", "inject=write:signal=SIGKILL", "-P", path)
    done = subprocess.run(
        ["strace", "-f", "-o", "/dev/null", *killed, sys.executable, "-c", code, path],
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert b"first" not in path.read_bytes()


async def test_an_unmounted_volume_is_no_sign_out(home: Home) -> None:
    """The mount point is left, empty: nothing is made there, and nothing forgotten."""
    home.write(login())
    folder, away = home.path.parent, home.path.parent.with_name("away")
    store = home.store()
    async with store.lock(0):
        began_from = await store.load()
        folder.rename(away)
        folder.mkdir()
        with pytest.raises(LoginRequired) as why:
            await store.load()
        assert why.value.reason == "unreadable"
        with pytest.raises(StoreError, match="mount it again"):
            await store.replace(began_from, held("second"))
        with pytest.raises(StoreError, match="its folder is gone"):
            await store.journal.write(RESPONSE)
    with pytest.raises(StoreError, match="mount it again"):
        async with store.lock(0):
            raise AssertionError("a lock that nobody else sees")
    assert names_in(folder) == []
    folder.rmdir()
    away.rename(folder)
    async with store.lock(0):
        assert await store.replace(await store.load(), held("second")) is None


async def test_a_lock_that_somebody_removed_is_made_anew(home: Home) -> None:
    """While the file is there, the place is."""
    home.write(login())
    store = home.store()
    await store.load()
    for _ in range(2):
        async with store.lock(0):
            home.path.with_name("auth.json.bearerd-lock").unlink()
    home.path.unlink()
    home.path.with_name("auth.json.bearerd-lock").touch()
    with pytest.raises(LoginRequired) as why:
        await store.load()
    assert why.value.reason == "missing"


class Nowhere(AbstractResolver):
    """A resolver that never answers."""

    async def resolve(
        self, host: str, port: int = 0, family: object = 0
    ) -> list[ResolveResult]:
        raise AssertionError(await asyncio.Event().wait(), host, port, family)

    async def close(self) -> None:
        """Nothing is open."""


async def test_a_name_that_is_looked_up_for_too_long_leaves_the_token_unspent() -> None:
    """Nothing was sent, and that is known."""
    connector = aiohttp.TCPConnector(resolver=Nowhere())
    async with aiohttp.ClientSession(connector=connector) as session:
        authority = HttpAuthority(
            session,
            token_url="http://authority.invalid/oauth/token",
            client_id="made-up",
            timeout_seconds=0.2,
        )
        with pytest.raises(AuthorityFailure) as why:
            await soon(authority.refresh("made-up"))
    assert why.value.outcome == "undelivered"
