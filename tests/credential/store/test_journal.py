"""The journal around a refresh: there and back, its places, and torn records."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from bearerd.credential.store.journal import Journal, this_process
from bearerd.credential.store.journal_entry import JournalEntry
from bearerd.errors import StoreError
from tests.credential.stand_ins import MARK, START, credential_for, full_disk, names_in

PRESENTER = this_process()
PRESENTED = JournalEntry(
    stored="a" * 16, spending="b" * 16, since=START, presenter=PRESENTER
)
RESPONSE = JournalEntry(
    stored="a" * 16,
    spending=None,
    since=START,
    presenter=PRESENTER,
    renewed=credential_for("new"),
)


def with_renewed(**fields: object) -> bytes:
    """Return a record in whose credential some fields have other values."""
    document = json.loads(RESPONSE.to_json())
    document["renewed"] |= fields
    return json.dumps(document).encode()


@pytest.mark.parametrize("entry", [PRESENTED, RESPONSE], ids=["presented", "response"])
async def test_a_record_comes_back_as_it_was_written(
    tmp_path: Path, entry: JournalEntry
) -> None:
    """Durable and private; `clear` removes it, and a second `clear` does no harm."""
    journal = Journal([tmp_path / "journal"])
    assert await journal.read() == []
    assert await journal.write(entry) == tmp_path / "journal"
    assert await Journal([tmp_path / "journal"]).read() == [entry]
    assert stat.S_IMODE((tmp_path / "journal").stat().st_mode) == 0o600
    await journal.clear()
    await journal.clear()
    assert (await journal.read(), names_in(tmp_path)) == ([], [])


def test_a_record_names_the_process_that_wrote_it() -> None:
    """For messages; nothing is decided by it."""
    assert PRESENTER.pid == os.getpid()
    assert PRESENTER.host


def test_a_record_without_a_response_holds_no_token() -> None:
    """And `repr` of a record shows none."""
    assert MARK.encode() not in PRESENTED.to_json()
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
        PRESENTED.to_json()[:-20],
        PRESENTED.to_json().replace(b'"spender"', b'"other"'),
        PRESENTED.to_json().replace(b'"pid"', b'"process"'),
        PRESENTED.to_json().replace(b'"since": 18', b'"since": "x'),
        RESPONSE.to_json().replace(b'"access_token"', b'"other_token"'),
        with_renewed(refresh_token=None),
        with_renewed(refresh_token="r\r\n"),
        with_renewed(access_token="a\r\nx: y"),
        with_renewed(access_token="\ud800"),
        with_renewed(access_token=""),
        with_renewed(account_id="a\r\nx: y"),
        with_renewed(user_id=7),
        with_renewed(id_token=7),
        with_renewed(expires_at="soon"),
        with_renewed(refreshed_at=[]),
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
        "refresh-token-with-a-line-end",
        "access-token-with-a-field",
        "access-token-with-a-surrogate",
        "empty-access-token",
        "account-with-a-field",
        "user-a-number",
        "id-token-a-number",
        "expiry-a-text",
        "refresh-time-a-list",
    ],
)
async def test_content_that_is_torn_or_of_another_kind_is_no_record(
    tmp_path: Path, content: bytes
) -> None:
    """Records are replaced whole, so nothing depends on half of one."""
    assert JournalEntry.from_json(content) is None
    (tmp_path / "journal").write_bytes(content)
    journal = Journal([tmp_path / "journal", tmp_path / "rescue"])
    assert await journal.read() == []


async def test_a_fifo_in_the_place_of_the_record_holds_up_nothing(
    tmp_path: Path,
) -> None:
    """It is no record, and the second place takes the next one."""
    os.mkfifo(tmp_path / "fifo")
    journal = Journal([tmp_path / "fifo", tmp_path / "rescue"])
    assert await journal.read() == []
    assert await journal.write(PRESENTED) == tmp_path / "rescue"
    assert await journal.read() == [PRESENTED]


async def test_the_second_place_is_used_if_the_first_cannot_be_written(
    tmp_path: Path,
) -> None:
    """The folder of the store may be read-only."""
    (tmp_path / "store").write_bytes(b"no folder")
    rescue = tmp_path / "state" / "rescue.json"
    journal = Journal([tmp_path / "store" / "journal", rescue])
    assert await journal.write(RESPONSE) == rescue
    assert await journal.read() == [RESPONSE]
    await journal.clear()
    assert not rescue.exists()


async def test_records_with_tokens_come_first_and_new_before_old(
    tmp_path: Path,
) -> None:
    """A place that could not be cleared must not hide the better record."""
    places = [tmp_path / name for name in ("one", "two", "three")]
    older = JournalEntry("c" * 16, "d" * 16, START - 9, PRESENTER)
    for place, entry in zip(places, (older, PRESENTED, RESPONSE), strict=True):
        await Journal([place]).write(entry)
    assert await Journal(places).read() == [RESPONSE, PRESENTED, older]


async def test_the_error_names_all_places_if_none_can_be_written(
    tmp_path: Path,
) -> None:
    """With a reason for each, and the remedy."""
    journal = Journal([tmp_path / "one", tmp_path / "two"])
    with full_disk(), pytest.raises(StoreError, match="writable") as why:
        await journal.write(PRESENTED)
    assert str(tmp_path / "one") in why.value.message
    assert str(tmp_path / "two") in why.value.message
    assert names_in(tmp_path) == []
