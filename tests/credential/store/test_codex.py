"""The locks that Codex takes: the same names, the same order, only for its file."""

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
    """Either of its locks holds us off, for as long as ours may wait."""
    began = clock.monotonic()
    async with flock(tmp_path / name, clock.skipping, 0):
        with pytest.raises(TimeoutError, match=name):
            async with codex_locks(tmp_path / "auth.json", clock.skipping):
                raise AssertionError("Codex is writing")
    assert clock.monotonic() - began >= LOCK_TIMEOUT_SECONDS


async def test_codex_is_held_off_while_we_write(
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


async def test_the_first_is_free_again_if_the_second_is_not_to_be_had(
    tmp_path: Path, clock: ManualClock
) -> None:
    """Half of the locks would stop Codex for good."""
    async with flock(tmp_path / "auth.json.lock", clock.skipping, 0):
        with pytest.raises(TimeoutError):
            async with codex_locks(tmp_path / "auth.json", clock.skipping):
                raise AssertionError("Codex is writing")
        async with flock(tmp_path / "auth.lock", clock.skipping, 0):
            pass


async def test_a_file_of_our_own_is_none_of_codexs_business(
    tmp_path: Path, clock: ManualClock
) -> None:
    """Under another name no lock file of Codex appears."""
    async with codex_locks(tmp_path / "login.json", clock.skipping):
        pass
    assert names_in(tmp_path) == []
