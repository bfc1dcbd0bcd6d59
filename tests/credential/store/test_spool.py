"""The authority's response as it comes in: what a death in mid-answer leaves behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bearerd.credential.store.journal import JournalEntry, Presenter
from bearerd.credential.store.spool import ResponseSpool
from tests.credential.stand_ins import START, Home, access_token, identity, jwt, login

DEAD = Presenter(pid=1, host="gone")


def response(account: str = "acct-1") -> bytes:
    """Return the body of a grant for *account*."""
    who = identity(account, "user-1")
    return json.dumps(
        {
            "access_token": access_token("new", expires_at=START + 864000, **who),
            "refresh_token": "made-up-refresh-new",
            "id_token": jwt(who),
        }
    ).encode()


async def died_with(home: Home, body: bytes) -> str:
    """Leave what a process leaves that dies after *body* has come in."""
    home.write(login())
    store = home.store()
    spent = (await store.load()).fingerprint
    await store.journal.write(JournalEntry(spent, spent, START, DEAD))
    store.journal.spool.write(body)
    return spent


async def test_a_response_that_had_come_in_is_committed(home: Home) -> None:
    """Whoever takes over stores it, without a call."""
    await died_with(home, response())
    finished = await home.refresher().recover()
    assert not finished.is_maybe_spent
    assert home.stored_refresh_token() == "made-up-refresh-new"
    assert home.authority.calls == []
    assert [path.name for path in home.path.parent.glob("*-receipt")] == []


@pytest.mark.parametrize(
    "body",
    [b"", response()[:-1], response()[:40], b"{}", response("acct-2")],
    ids=["nothing", "all but a byte", "a part", "no tokens", "another account"],
)
async def test_anything_less_leaves_the_token_maybe_spent(
    home: Home, body: bytes
) -> None:
    """It is presented once more; nothing of a part is believed."""
    await died_with(home, body)
    before = home.read()
    assert (await home.refresher().recover()).is_maybe_spent
    assert home.read() == before


async def test_a_receipt_of_another_token_says_nothing(home: Home) -> None:
    """A login that came since has nothing to do with it."""
    spent = await died_with(home, response())
    spool = home.store().journal.spool
    assert spool.read(spent) == response()
    assert spool.read("0" * 16) is None


def test_a_receipt_is_private_and_goes_when_it_is_cleared(tmp_path: Path) -> None:
    """It holds tokens, for the time of one call."""
    place = tmp_path / "receipt"
    spool = ResponseSpool([place])
    spool.open("ab")
    spool.write(b"c")
    assert place.read_bytes() == b"ab\nc"
    assert place.stat().st_mode & 0o777 == 0o600
    spool.clear()
    spool.write(b"d")
    assert not place.exists()


def test_where_none_can_be_begun_the_call_goes_on(tmp_path: Path) -> None:
    """The next place is tried, and then none."""
    spool = ResponseSpool([tmp_path / "gone" / "a", tmp_path / "b"])
    spool.open("ab")
    assert (tmp_path / "b").exists()
    nowhere = ResponseSpool([tmp_path / "gone" / "a"])
    nowhere.open("ab")
    nowhere.write(b"c")
    assert nowhere.read("ab") is None
