"""`bearerd selftest`: it counts for real, and no flaw goes unseen."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest

from bearerd.cli import COMMANDS
from bearerd.cli.program import run
from bearerd.harness.result import TurnResult
from bearerd.harness.scoreboard import Scoreboard
from bearerd.harness.selftest import SelftestResult
from tests.support.process import COMMAND, ROOT, environment

GOOD = SelftestResult(
    processes=2,
    answered=100,
    failures={},
    revocations=3,
    refreshes=3,
    reused=0,
    overlapping=0,
    stuck=False,
    last_words="",
)


def test_two_processes_on_one_store_refresh_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Under load, with nothing left behind in the folder that was tested."""
    asked = ["selftest", "--processes", "2", "--seconds", "0.5", "--json"]
    assert run(COMMANDS, [*asked, "--store-dir", str(tmp_path)]) == 0
    result = capfd.readouterr()
    document = json.loads(result.out)
    assert document["ok"] is True
    assert document["refreshes"] == document["revocations"] >= 1
    assert document["answered"] > 0
    assert document["reused"] == document["overlapping"] == 0
    assert "2 processes on" in result.err
    assert list(tmp_path.iterdir()) == []


def test_the_verdict_is_the_last_line(capfd: pytest.CaptureFixture[str]) -> None:
    """One revocation is made however short the time is."""
    assert run(COMMANDS, ["selftest", "--processes", "1", "--seconds", "0"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[-1] == "single-flight holds"
    assert "refreshes                 1" in lines


@pytest.mark.parametrize(
    "flaw",
    [
        {"failures": {"login_required": 1}},
        {"refreshes": 4},
        {"refreshes": 2},
        {"reused": 1},
        {"overlapping": 1},
        {"stuck": True},
        {"revocations": 0, "refreshes": 0},
    ],
)
def test_any_flaw_denies_the_verdict(flaw: dict[str, Any]) -> None:
    """And so does a run in which nothing was revoked."""
    assert GOOD.is_flawless
    assert not dataclasses.replace(GOOD, **flaw).is_flawless


async def test_a_process_has_caught_up_when_a_request_after_the_revocation_is_good() -> (
    None
):
    """A response to a request that was sent before proves nothing."""
    board = Scoreboard(2)
    board.revocations = 1
    await board.add(0, 1, TurnResult(200))
    await board.add(1, 0, TurnResult(200))
    assert not await board.caught_up(timeout_seconds=0)
    await board.add(1, 1, TurnResult(200))
    assert await board.caught_up(timeout_seconds=0)


async def test_a_bad_response_ends_the_wait() -> None:
    """What has gone wrong once is not waited out."""
    board = Scoreboard(1)
    await board.add(0, 0, TurnResult(401, "login_required"))
    assert not await board.caught_up(timeout_seconds=60)
    assert board.failures == {"login_required": 1}


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_being_stopped_leaves_no_daemon_and_no_folder(tmp_path: Path) -> None:
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
    assert left_in(tmp_path) == []


def children_of(pid: int) -> list[str]:
    """Return the ids of the processes that *pid* has started (proc(5))."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [child for task in tasks for child in task.read_text().split()]


def is_running(pid: str) -> bool:
    """Say whether there is such a process."""
    return Path("/proc", pid).exists()


def left_in(folder: Path) -> list[Path]:
    """Return what the selftest has left in *folder*."""
    return list(folder.glob("bearerd-selftest-*"))


def test_a_folder_that_is_not_there_is_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """One line, with the folder and what to do."""
    missing = str(tmp_path / "missing")
    assert run(COMMANDS, ["selftest", "--store-dir", missing]) == 1
    said = capfd.readouterr().err.strip()
    assert missing in said
    assert len(said.splitlines()) == 1
