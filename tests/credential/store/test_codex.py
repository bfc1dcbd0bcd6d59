"""The locks that Codex takes: the same names, the same order, only for its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from bearerd.credential.store.codex import LOCK_TIMEOUT_SECONDS, codex_locks
from bearerd.files.flock import flock
from tests.credential.stand_ins import Hands, names_in


@pytest.mark.parametrize("name", ["auth.lock", "auth.json.lock"])
async def test_a_codex_that_writes_is_waited_for(
    tmp_path: Path, hands: Hands, name: str
) -> None:
    """Either of its locks holds us off, for as long as ours may wait."""
    began = hands.steady
    async with flock(tmp_path / name, hands.clock(), 0):
        with pytest.raises(TimeoutError, match=name):
            async with codex_locks(tmp_path / "auth.json", hands.clock()):
                raise AssertionError("Codex is writing")
    assert hands.steady - began >= LOCK_TIMEOUT_SECONDS


async def test_codex_is_held_off_while_we_write(tmp_path: Path, hands: Hands) -> None:
    """Both are held inside, and free afterwards."""
    async with codex_locks(tmp_path / "auth.json", hands.clock()):
        for name in ("auth.lock", "auth.json.lock"):
            with pytest.raises(TimeoutError):
                async with flock(tmp_path / name, hands.clock(), 0):
                    raise AssertionError("both hold it")
    for name in ("auth.lock", "auth.json.lock"):
        async with flock(tmp_path / name, hands.clock(), 0):
            pass


async def test_the_first_is_free_again_if_the_second_is_not_to_be_had(
    tmp_path: Path, hands: Hands
) -> None:
    """Half of the locks would stop Codex for good."""
    async with flock(tmp_path / "auth.json.lock", hands.clock(), 0):
        with pytest.raises(TimeoutError):
            async with codex_locks(tmp_path / "auth.json", hands.clock()):
                raise AssertionError("Codex is writing")
        async with flock(tmp_path / "auth.lock", hands.clock(), 0):
            pass


async def test_a_file_of_our_own_is_none_of_codexs_business(
    tmp_path: Path, hands: Hands
) -> None:
    """Under another name no lock file of Codex appears."""
    async with codex_locks(tmp_path / "login.json", hands.clock()):
        pass
    assert names_in(tmp_path) == []
