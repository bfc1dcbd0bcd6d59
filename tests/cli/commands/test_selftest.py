"""`bearerd selftest`: its output, its exit code, and what it leaves behind."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from tests.support import call_command
from tests.support.process import COMMAND, ROOT, environment


def test_two_processes_on_one_store_refresh_once(tmp_path: Path) -> None:
    """Under load; nothing is left in the folder that was tested."""
    folder = tmp_path / "store"
    folder.mkdir()
    args = ("--processes", "2", "--seconds", "0.5", "--store-dir", str(folder))
    done = call_command(tmp_path, "selftest", *args, "--json")
    assert done.code == 0
    document = json.loads(done.stdout)
    assert document["ok"] is True
    assert document["refreshes"] == document["revocations"] >= 1
    assert document["answered"] > 0
    assert document["reused"] == document["overlapping"] == 0
    assert "2 processes on" in done.stderr
    assert list(folder.iterdir()) == []


def test_the_verdict_is_the_last_line(tmp_path: Path) -> None:
    """There is at least one revocation, however short the time is."""
    done = call_command(tmp_path, "selftest", "--processes", "1", "--seconds", "0")
    assert done.code == 0
    lines = done.stdout.splitlines()
    assert lines[-1] == "single-flight holds"
    assert "refreshes                 1" in lines


def test_a_missing_folder_is_one_line(tmp_path: Path) -> None:
    """With the folder and the remedy."""
    missing = str(tmp_path / "missing")
    done = call_command(tmp_path, "selftest", "--store-dir", missing)
    assert done.code == 1
    (line,) = done.stderr.splitlines()
    assert missing in line


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_a_signal_leaves_no_daemon_and_no_folder(tmp_path: Path) -> None:
    """The daemons are its children, and end before it does."""
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, "selftest", "--seconds", "60", "--store-dir", str(tmp_path)),
        cwd=ROOT,
        env=environment(tmp_path, {}),
        stdout=PIPE,
        stderr=PIPE,
    )
    assert process.stderr is not None
    async with asyncio.timeout(30):
        assert b"4 processes on" in await process.stderr.readline()
        children = children_of(process.pid)
        assert len(children) == 4
        process.terminate()
        await process.communicate()
    assert process.returncode == 130
    assert not any(map(is_running, children))
    assert folders_in(tmp_path) == []


def children_of(pid: int) -> list[str]:
    """Return the ids of the processes that *pid* has started (proc(5))."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [child for task in tasks for child in task.read_text().split()]


def is_running(pid: str) -> bool:
    """Return True if there is such a process."""
    return Path("/proc", pid).exists()


def folders_in(folder: Path) -> list[Path]:
    """Return the folders that the selftest has left in *folder*."""
    return list(folder.glob("bearerd-selftest-*"))
