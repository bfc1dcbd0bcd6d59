"""What is done about each case of an interrupted refresh: store, journal, quarantine."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from bearerd.credential.refresh.crash_recovery import (
    CrashRecovery,
    CrashRecoveryResult,
)
from bearerd.credential.refresh.lineage import Lineage
from bearerd.credential.refresh.unsaved import UnsavedSuccessor
from bearerd.credential.store.journal_entry import JournalEntry, Presenter
from bearerd.credential.token import Credential
from tests.credential.stand_ins import (
    START,
    Home,
    credential_for,
    full_disk,
    login,
    refresh_token_of,
)

DEAD = Presenter(pid=1, host="gone")
FIRST, SECOND, THIRD = map(credential_for, ("first", "second", "third"))
FOREIGN = credential_for("foreign", account="acct-2", user="user-2")
MAYBE_SPENT = CrashRecoveryResult(is_maybe_spent=True, presented_at=START)


def entry(
    stored: Credential = FIRST,
    *,
    spending: Credential | None = None,
    renewed: Credential | None = None,
) -> JournalEntry:
    """Return a record over *stored*."""
    name = spending.fingerprint if spending else None
    return JournalEntry(stored.fingerprint, name, START, DEAD, renewed)


@dataclass
class Expected:
    """What is left, besides the result. The store holds `first` unless it says another."""

    stored: str = "first"
    has_record: bool = False
    foreign: Credential | None = None
    spent: list[Credential] = field(default_factory=list)
    result: CrashRecoveryResult = field(default_factory=CrashRecoveryResult)


class Process:
    """A process that holds the lock, and what it remembers."""

    def __init__(self, home: Home) -> None:
        self.store = home.store()
        self.lineage = Lineage()
        clock = home.clock.skipping
        self.unsaved = UnsavedSuccessor(
            store=self.store, clock=clock, lineage=self.lineage
        )
        self.recovery = CrashRecovery(
            store=self.store, clock=clock, lineage=self.lineage, unsaved=self.unsaved
        )


@pytest.mark.parametrize(
    ("case", "record", "expected"),
    [
        ("1", None, Expected()),
        ("2a", entry(THIRD, renewed=SECOND), Expected()),
        ("2b", entry(spending=THIRD), Expected()),
        ("3", entry(renewed=THIRD), Expected(has_record=True)),
        ("4", entry(renewed=SECOND), Expected(stored="second", spent=[FIRST])),
        ("5", entry(spending=FIRST), Expected(has_record=True, result=MAYBE_SPENT)),
        (
            "4 and 5",
            entry(spending=SECOND, renewed=SECOND),
            Expected(
                stored="second", has_record=True, spent=[FIRST], result=MAYBE_SPENT
            ),
        ),
        ("6", entry(THIRD, renewed=FOREIGN), Expected(has_record=True)),
        ("7", entry(renewed=FOREIGN), Expected(foreign=FOREIGN, spent=[FIRST])),
    ],
)
async def test_each_case_has_one_action(
    home: Home, case: str, record: JournalEntry | None, expected: Expected
) -> None:
    """A second recovery finds the same files, and changes nothing more."""
    home.write(login("first"))
    process = Process(home)
    if case == "3":
        process.lineage.record_spent(THIRD.fingerprint)
    if record is not None:
        await home.store().journal.write(record)
    for _ in range(2):
        assert await process.recovery.run() == expected.result
        assert home.stored_refresh_token() == refresh_token_of(expected.stored)
        assert bool(await home.store().journal.read()) is expected.has_record
        foreign = await home.store().quarantine.read("foreign")
        assert (foreign and foreign.credential) == expected.foreign
        state = await home.store().read_state()
        assert list(state.spent) == [one.fingerprint for one in expected.spent]
    assert process.unsaved.pending is None


async def test_a_successor_that_cannot_be_stored_is_kept_and_reported(
    home: Home,
) -> None:
    """Its owner serves it, and stores it later."""
    home.write(login("first"))
    await home.store().journal.write(entry(renewed=SECOND))
    process = Process(home)
    with full_disk():
        result = await process.recovery.run()
    assert result.unsaved == SECOND
    assert result.error is not None
    assert process.unsaved.pending is not None
    assert await home.store().journal.read() != []


async def test_a_credential_that_waits_goes_to_the_quarantine_when_the_journal_is_needed(
    home: Home,
) -> None:
    """Case 6; there is nothing to move in any other case."""
    home.write(login("first"))
    process = Process(home)
    await process.recovery.quarantine_waiting()
    assert await home.store().quarantine.read("foreign") is None
    await home.store().journal.write(entry(THIRD, renewed=FOREIGN))
    await process.recovery.run()
    await process.recovery.quarantine_waiting()
    kept = await home.store().quarantine.read("foreign")
    assert kept is not None
    assert (kept.credential, kept.presented) == (FOREIGN, THIRD.fingerprint)
