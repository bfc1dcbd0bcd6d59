"""A successor in memory: dropped for a newer login, written over an older one."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import pytest

from bearerd.credential.refresh.lineage import Lineage
from bearerd.credential.refresh.unsaved import (
    REPLACE_TRIES,
    PendingWrite,
    UnsavedSuccessor,
)
from bearerd.credential.store.file_store import FileStore
from bearerd.credential.token import Credential
from bearerd.errors import StoreError
from tests.credential.stand_ins import START, Home, credential_for


def at(serial: str, refreshed_at: float, *, account: str = "acct-1") -> Credential:
    """Return a credential with the time of its last refresh."""
    credential = credential_for(serial, account=account)
    return replace(credential, refreshed_at=refreshed_at)


BASE, SUCCESSOR = at("base", START - 100), at("successor", START)
PENDING = PendingWrite(BASE, SUCCESSOR, base_refreshed_at=START - 100)
OLDER, NEWER = at("backup", START - 200), at("new", START - 50)
SPENT = at("spent", START - 10)
STRANGER = at("stranger", START - 200, account="acct-2")


class ScriptedStore(FileStore):
    """A store that holds one login after the other. Owns what it was asked to replace."""

    def __init__(self, home: Home, *found: Credential | None) -> None:
        super().__init__(home.path, clock=home.clock.skipping)
        self.found = deque(found)
        self.bases: list[Credential] = []

    async def replace(
        self, base: Credential, successor: Credential
    ) -> Credential | None:
        """Return the next login; None is a write."""
        assert successor == SUCCESSOR
        self.bases.append(base)
        return self.found.popleft()


def unsaved(store: FileStore, home: Home) -> UnsavedSuccessor:
    """Return the successor in memory of a process that knows which token is spent."""
    lineage = Lineage()
    lineage.record_spent(SPENT.fingerprint)
    made = UnsavedSuccessor(store=store, clock=home.clock.skipping, lineage=lineage)
    made.set_pending(PENDING)
    return made


@pytest.mark.parametrize(
    ("stored", "base"),
    [
        (BASE, BASE),
        (OLDER, OLDER),
        (SPENT, SPENT),
        (NEWER, None),
        (STRANGER, None),
    ],
    ids=["base", "older", "spent", "newer", "another-account"],
)
async def test_what_the_store_holds_becomes_the_base_or_ends_the_successor(
    home: Home, stored: Credential, base: Credential | None
) -> None:
    """Nothing is written by the comparison."""
    one = unsaved(home.store(), home)
    one.compare_with_stored(stored)
    assert one.pending == (None if base is None else PENDING.rebased(base))
    assert one.successor_of(stored) == (None if base is None else SUCCESSOR)
    assert not home.path.exists()


@pytest.mark.parametrize(
    ("found", "conflicting", "bases"),
    [
        ([None], None, [BASE]),
        ([OLDER, None], None, [BASE, OLDER]),
        ([SPENT, OLDER, None], None, [BASE, SPENT, OLDER]),
        ([NEWER], NEWER, [BASE]),
        ([STRANGER], STRANGER, [BASE]),
        ([OLDER, NEWER], NEWER, [BASE, OLDER]),
    ],
)
async def test_an_older_login_is_overwritten_and_a_newer_one_is_returned(
    home: Home,
    found: list[Credential | None],
    conflicting: Credential | None,
    bases: list[Credential],
) -> None:
    """The successor stays in memory until its owner clears it."""
    store = ScriptedStore(home, *found)
    one = unsaved(store, home)
    assert await one.write() == conflicting
    assert store.bases == bases
    assert one.pending == PENDING.rebased(bases[-1])
    one.clear_pending()
    assert one.pending is None


async def test_a_store_that_is_set_back_again_and_again_is_given_up(home: Home) -> None:
    """The message names the cause."""
    store = ScriptedStore(home, *[OLDER] * REPLACE_TRIES, None)
    with pytest.raises(StoreError, match="keeps replacing it"):
        await unsaved(store, home).write()
    assert len(store.bases) == REPLACE_TRIES
