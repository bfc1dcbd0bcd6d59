"""Codex's own login: where it lies, whether a store shares it, and its locks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bearerd.clock import Clock
from bearerd.credential.store.codex import (
    CODEX_LOCK_TIMEOUT_SECONDS,
    codex_file,
    codex_locks,
    sharing,
)
from bearerd.credential.store.file_store import FileStore
from bearerd.files.flock import flock
from bearerd.sandbox import Sandbox
from tests.credential.stand_ins import names_in
from tests.support import write_login
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
    assert clock.monotonic() - began >= CODEX_LOCK_TIMEOUT_SECONDS


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
    """If the first one stayed locked, Codex would wait for ever."""
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


async def test_a_copy_of_codex_login_is_known_by_its_refresh_token(
    tmp_path: Path,
) -> None:
    """The same file is reported as such, and another login is no copy."""
    codex = tmp_path / "codex" / "auth.json"
    mine = tmp_path / "auth.json"
    sandbox = Sandbox()
    document = sandbox.auth_document()
    write_login(codex, document)
    write_login(mine, document)
    cached = await FileStore(mine, clock=Clock()).load()
    other = tmp_path / "other.json"
    write_login(other, sandbox.auth_document())
    another = await FileStore(other, clock=Clock()).load()
    assert sharing(mine, cached, codex) == "copy"
    assert sharing(codex, cached, codex) == "same_file"
    assert sharing(mine, another, codex) == "none"
    assert sharing(mine, None, codex) == "none"
    codex.write_text(json.dumps({"OPENAI_API_KEY": "made-up"}), encoding="utf-8")
    assert sharing(mine, cached, codex) == "none"


@pytest.mark.parametrize(
    ("variable", "path"),
    [
        (None, "/me/.codex/auth.json"),
        ("", "/me/.codex/auth.json"),
        ("/c", "/c/auth.json"),
    ],
)
def test_codex_home_follows_its_variable(variable: str | None, path: str) -> None:
    """An empty variable counts as none."""
    assert codex_file(variable, Path("/me")) == Path(path)
