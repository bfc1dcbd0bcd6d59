"""The authority's response as it arrives, and what a death in the middle leaves."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from bearerd.credential.store.journal_entry import JournalEntry, Presenter
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
    """Leave what a process leaves that dies after *body* has arrived."""
    home.write(login())
    store = home.store()
    presented = (await store.load()).fingerprint
    await store.journal.write(JournalEntry(presented, presented, START, DEAD))
    store.journal.spool.write(body)
    return presented


async def test_a_response_that_had_arrived_is_stored(home: Home) -> None:
    """By the next holder of the lock, without a call."""
    await died_with(home, response())
    recovered = await home.refresher().recover()
    assert not recovered.is_maybe_spent
    assert home.stored_refresh_token() == "made-up-refresh-new"
    assert home.authority.calls == []
    assert [path.name for path in home.path.parent.glob("*-receipt")] == []


@pytest.mark.parametrize(
    "body",
    [b"", response()[:-1], response()[:40], b"{}", b"[]", b'{"error": "x"}'],
    ids=["nothing", "all-but-a-byte", "a-part", "no-tokens", "a-list", "an-error"],
)
async def test_a_response_that_is_not_whole_leaves_the_token_maybe_spent(
    home: Home, body: bytes
) -> None:
    """No part of it is believed, and the store stays as it is."""
    await died_with(home, body)
    before = home.read()
    assert (await home.refresher().recover()).is_maybe_spent
    assert home.read() == before


async def test_a_response_is_found_by_the_token_that_it_is_for(home: Home) -> None:
    """A response to another token is none."""
    presented = await died_with(home, response())
    spool = home.store().journal.spool
    assert spool.read(presented) == response()
    assert spool.read("0" * 16) is None


def test_the_file_is_private_and_is_removed_when_it_is_cleared(tmp_path: Path) -> None:
    """It holds tokens for the time of one call."""
    place = tmp_path / "receipt"
    spool = ResponseSpool([place])
    spool.open("ab")
    spool.write(b"c")
    assert place.read_bytes() == b"ab\nc"
    assert place.stat().st_mode & 0o777 == 0o600
    spool.clear()
    spool.write(b"d")
    assert not place.exists()


def test_a_new_response_begins_an_empty_file(tmp_path: Path) -> None:
    """It contains nothing of the last one."""
    spool = ResponseSpool([tmp_path / "receipt"])
    for name, part in (("first", b"a longer response"), ("second", b"x")):
        spool.open(name)
        spool.write(part)
    assert (spool.read("first"), spool.read("second")) == (None, b"x")
    spool.clear()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_the_descriptor_is_closed_with_each_response(tmp_path: Path) -> None:
    """However many calls a process makes, it holds one open file at most."""
    spool = ResponseSpool([tmp_path / "receipt"])
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(50):
        spool.open(str(number))
        spool.write(b"x")
    assert len(list(Path("/proc/self/fd").iterdir())) == before + 1
    spool.clear()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_fifo_in_its_place_is_passed_over(tmp_path: Path) -> None:
    """Neither its open nor its read waits for the other end."""
    os.mkfifo(tmp_path / "a")
    spool = ResponseSpool([tmp_path / "a", tmp_path / "b"])
    spool.open("ab")
    spool.write(b"c")
    assert spool.read("ab") == b"c"
    spool.clear()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for another user")
def test_a_spool_of_root_belongs_to_the_owner_of_its_folder(tmp_path: Path) -> None:
    """He reads it if root's process dies."""
    os.chown(tmp_path, 12_345, 12_345)
    spool = ResponseSpool([tmp_path / "receipt"])
    spool.open("ab")
    assert (tmp_path / "receipt").stat().st_uid == 12_345
    spool.clear()


def test_without_a_writable_path_the_call_continues(tmp_path: Path) -> None:
    """The second place is tried; without any, nothing is kept and nothing fails."""
    spool = ResponseSpool([tmp_path / "gone" / "a", tmp_path / "b"])
    spool.open("ab")
    assert (tmp_path / "b").exists()
    spool.clear()
    nowhere = ResponseSpool([tmp_path / "gone" / "a"])
    nowhere.open("ab")
    nowhere.write(b"c")
    assert nowhere.read("ab") is None


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    """The tokens would be written wherever it leads."""
    (tmp_path / "elsewhere").write_bytes(b"as it was")
    (tmp_path / "receipt").symlink_to(tmp_path / "elsewhere")
    spool = ResponseSpool([tmp_path / "receipt"])
    spool.open("ab")
    spool.write(b"c")
    assert (tmp_path / "elsewhere").read_bytes() == b"as it was"
