"""Codex's locks: the same names, the same order, and only for its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from bearerd.credential.store.codex import LOCK_TIMEOUT_SECONDS, codex_locks
from bearerd.files.flock import flock
from tests.credential.stand_ins import names_in
from tests.support.clock import ManualClock


@pytest.mark.parametrize("name", ["auth.lock", "auth.json.lock"])
async def test_a_codex_that_writes_is_waited_for(
    tmp_path: Path, clock: ManualClock, name: str
) -> None:
    """Each of its two locks is waited for, up to the limit."""
    began = clock.monotonic()
    async with flock(tmp_path / name, clock.skipping, 0):
        with pytest.raises(TimeoutError, match=name):
            async with codex_locks(tmp_path / "auth.json", clock.skipping):
                raise AssertionError("Codex is writing")
    assert clock.monotonic() - began >= LOCK_TIMEOUT_SECONDS


async def test_codex_waits_while_the_file_is_written(
    tmp_path: Path, clock: ManualClock
) -> None:
    """Both are held inside, and free afterwards."""
    async with codex_locks(tmp_path / "auth.json", clock.skipping):
        for name in ("auth.lock", "auth.json.lock"):
            with pytest.raises(TimeoutError):
                async with flock(tmp_path / name, clock.skipping, 0):
                    raise AssertionError("both hold it")
    for name in ("auth.lock", "auth.json.lock"):
        async with flock(tmp_path / name, clock.skipping, 0):
            pass


async def test_the_first_lock_is_released_if_the_second_is_held(
    tmp_path: Path, clock: ManualClock
) -> None:
    """With the first alone Codex would wait for ever."""
    async with flock(tmp_path / "auth.json.lock", clock.skipping, 0):
        with pytest.raises(TimeoutError):
            async with codex_locks(tmp_path / "auth.json", clock.skipping):
                raise AssertionError("Codex is writing")
        async with flock(tmp_path / "auth.lock", clock.skipping, 0):
            pass


async def test_a_file_of_another_name_takes_none_of_codexs_locks(
    tmp_path: Path, clock: ManualClock
) -> None:
    """No lock file of Codex appears beside it."""
    async with codex_locks(tmp_path / "login.json", clock.skipping):
        pass
    assert names_in(tmp_path) == []
