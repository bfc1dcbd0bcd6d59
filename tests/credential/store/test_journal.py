"""The journal around a spend: there and back, where it lies, and what is torn."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from bearerd.credential.store.journal import Journal, JournalEntry, Presenter
from bearerd.errors import StoreError
from tests.credential.stand_ins import MARK, START, full_disk, held, names_in

PRESENTER = Presenter.this_process()
INTENT = JournalEntry(
    stored="a" * 16, spending="b" * 16, since=START, presenter=PRESENTER
)
RESPONSE = JournalEntry(
    stored="a" * 16,
    spending=None,
    since=START,
    presenter=PRESENTER,
    renewed=held("new"),
)


@pytest.mark.parametrize("entry", [INTENT, RESPONSE], ids=["intent", "answer"])
async def test_a_record_comes_back_as_it_was_written(
    tmp_path: Path, entry: JournalEntry
) -> None:
    """Durably and private; a clear takes it away, and a second does no harm."""
    journal = Journal([tmp_path / "journal"])
    assert await journal.read() == []
    assert await journal.write(entry) == tmp_path / "journal"
    assert Journal([tmp_path / "journal"]).read() == [entry]
    assert stat.S_IMODE((tmp_path / "journal").stat().st_mode) == 0o600
    await journal.clear()
    await journal.clear()
    assert (await journal.read(), names_in(tmp_path)) == ([], [])


def test_a_record_says_whose_process_it_was() -> None:
    """For people; nothing is decided by it."""
    assert PRESENTER.pid == os.getpid()
    assert PRESENTER.host


def test_a_record_without_a_response_holds_no_token() -> None:
    """And no record prints one."""
    assert MARK.encode() not in INTENT.to_json()
    assert MARK in json.loads(RESPONSE.to_json())["renewed"]["refresh_token"]
    assert MARK not in repr(RESPONSE)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        INTENT.to_json()[:-20],
        INTENT.to_json().replace(b'"spender"', b'"other"'),
        INTENT.to_json().replace(b'"pid"', b'"process"'),
        INTENT.to_json().replace(b'"since": 18', b'"since": "x'),
        RESPONSE.to_json().replace(b'"access_token"', b'"other_token"'),
        RESPONSE.to_json().replace(
            json.dumps(held("new").refresh_token).encode(), b"null"
        ),
    ],
    ids=[
        "empty",
        "torn",
        "list",
        "null",
        "nothing-in-it",
        "not-utf-8",
        "nested-without-end",
        "cut-short",
        "no-spender",
        "another-spender",
        "another-time",
        "no-access-token",
        "no-refresh-token",
    ],
)
def test_what_is_torn_or_of_another_kind_is_no_record(
    tmp_path: Path, content: bytes
) -> None:
    """Records are replaced whole: nothing depends on half of one."""
    assert JournalEntry.from_json(content) is None
    (tmp_path / "journal").write_bytes(content)
    assert Journal([tmp_path / "journal", tmp_path / "rescue"]).read() == []


async def test_the_rescue_place_takes_what_the_first_cannot(tmp_path: Path) -> None:
    """Where the folder beside the store cannot be written."""
    (tmp_path / "store").write_bytes(b"no folder")
    rescue = tmp_path / "state" / "rescue.json"
    journal = Journal([tmp_path / "store" / "journal", rescue])
    assert await journal.write(RESPONSE) == rescue
    assert await journal.read() == [RESPONSE]
    await journal.clear()
    assert not rescue.exists()


async def test_responses_come_before_intents_and_new_before_old(tmp_path: Path) -> None:
    """A place that could not be cleared must not hide the better record."""
    places = [tmp_path / name for name in ("one", "two", "three")]
    older = JournalEntry("c" * 16, "d" * 16, START - 9, PRESENTER)
    for place, entry in zip(places, (older, INTENT, RESPONSE), strict=True):
        await Journal([place]).write(entry)
    assert Journal(places).read() == [RESPONSE, INTENT, older]


async def test_no_place_at_all_is_an_error_that_names_them(tmp_path: Path) -> None:
    """With the reason for each, and the remedy."""
    journal = Journal([tmp_path / "one", tmp_path / "two"])
    with full_disk(), pytest.raises(StoreError, match="writable") as why:
        await journal.write(INTENT)
    assert str(tmp_path / "one") in why.value.message
    assert str(tmp_path / "two") in why.value.message
    assert names_in(tmp_path) == []
