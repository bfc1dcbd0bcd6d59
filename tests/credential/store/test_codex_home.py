"""Codex's own login: where it lies, and whether a store has the same one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bearerd.clock import Clock
from bearerd.credential.store.codex_home import codex_file, sharing
from bearerd.credential.store.file_store import FileStore
from bearerd.sandbox import Sandbox
from tests.support import write_login


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
    held = await FileStore(mine, clock=Clock()).load()
    other = tmp_path / "other.json"
    write_login(other, sandbox.auth_document())
    another = await FileStore(other, clock=Clock()).load()
    assert sharing(mine, held, codex) == "copy"
    assert sharing(codex, held, codex) == "same_file"
    assert sharing(mine, another, codex) == "none"
    assert sharing(mine, None, codex) == "none"
    codex.write_text(json.dumps({"OPENAI_API_KEY": "made-up"}), encoding="utf-8")
    assert sharing(mine, held, codex) == "none"


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
