"""docs/never-lose-a-login.md: the files beside the store, by their names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bearerd.credential.store.journal import SPOOL_SUFFIX
from bearerd.credential.store.quarantine import SUFFIXES
from tests.docs.pages import PACKAGE, ROOT, name_of

PAGE = ROOT / "docs" / "never-lose-a-login.md"
STABILITY = ROOT / "docs" / "stability.md"


def files_beside_the_store() -> set[str]:
    """Return the names of the files that the store's modules write beside it."""
    names = set()
    for module in (PACKAGE / "credential" / "store").glob("*.py"):
        names |= set(re.findall(r'"(\.bearerd-[a-z]+)"', module.read_text()))
    names.remove(".bearerd-quarantine")
    names |= {f".bearerd-quarantine{suffix}" for suffix in SUFFIXES.values()}
    return {f"auth.json{name}" for name in {*names, f".bearerd-journal{SPOOL_SUFFIX}"}}


@pytest.mark.parametrize("page", [PAGE, STABILITY], ids=name_of)
def test_every_file_beside_the_store_is_listed(page: Path) -> None:
    """By its whole name: people look for it in the folder."""
    named = set(re.findall(r"`(auth\.json\.bearerd-[\w-]+)`", page.read_text()))
    assert named == files_beside_the_store()
