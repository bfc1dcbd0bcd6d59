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

import pytest

from proxy.credential import durable
from proxy.credential.journal import Entry, Journal, Spender
from tests.credential.stand_ins import START, Home, held, login, names_in, soon

SPENDER = Spender.this_process(START)
ANSWER = Entry("a" * 16, None, START, SPENDER, renewed=held("second"))


async def test_an_answer_that_had_not_got_its_name_is_found(tmp_path: Path) -> None:
    """Its writer was killed before the rename; clearing takes it away too."""
    journal = Journal([tmp_path / "journal", tmp_path / "absent" / "rescue"])
    (tmp_path / ".journal.k3_x9qzz").write_bytes(ANSWER.to_json())
    (tmp_path / ".journal.k4_x9qzz").write_bytes(ANSWER.to_json()[:-9])
    assert journal.read() == [ANSWER]
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

    task = asyncio.create_task(durable.in_thread(write, tmp_path, b""))
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
        "import sys; from pathlib import Path; from proxy.credential import durable; "
        "durable.write_in_place(Path(sys.argv[1]), b'{}' * 2000)"
    )
    killed = ("-e", "trace=write", "-e", "inject=write:signal=SIGKILL", "-P", path)
    done = subprocess.run(
        ["strace", "-f", "-o", "/dev/null", *killed, sys.executable, "-c", code, path],
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert b"first" not in path.read_bytes()
