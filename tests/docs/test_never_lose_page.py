"""docs/never-lose-a-login.md: its files, and the tests that prove its promises."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bearerd.credential.store.journal import SPOOL_SUFFIX
from bearerd.credential.store.quarantine import SUFFIXES
from tests.docs.pages import NAMED_TEST, PACKAGE, ROOT, docstrings, name_of, section

PAGE = ROOT / "docs" / "never-lose-a-login.md"
STABILITY = ROOT / "docs" / "stability.md"

PROMISE = re.compile(r"^(\d+)\. \*\*", re.MULTILINE)
PROOF = re.compile(r"^\| (\d+) \|(.+)\|$", re.MULTILINE)


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


def test_every_promise_names_tests_that_exist() -> None:
    """A promise without a test would be a wish."""
    promises = PROMISE.findall(section(PAGE, "## What is promised"))
    proofs = PROOF.findall(section(PAGE, "## How it is proved"))
    assert len(promises) > 10
    assert [number for number, _ in proofs] == promises
    for number, tests in proofs:
        named = NAMED_TEST.findall(tests)
        assert len(named) > 1, f"promise {number}"
        for file, name in named:
            assert name in docstrings(file), f"promise {number}: {file}::{name}"
