"""Credentials that are kept and not served: there and back, places, and what is torn."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from bearerd.credential.store.quarantine import (
    SUFFIXES,
    Kind,
    Quarantine,
    QuarantinedCredential,
)
from bearerd.errors import StoreError
from tests.credential.stand_ins import MARK, START, credential_for, full_disk, names_in

KEPT = QuarantinedCredential(
    credential_for("foreign", account="acct-2"), presented="a" * 16, since=START
)
KINDS: list[Kind] = ["foreign", "new_login"]


@pytest.fixture
def quarantine(tmp_path: Path) -> Quarantine:
    """A quarantine with one place."""
    return Quarantine([tmp_path / "auth.json.bearerd-quarantine"])


@pytest.mark.parametrize("kind", KINDS)
async def test_a_kept_credential_comes_back_until_it_is_cleared(
    quarantine: Quarantine, tmp_path: Path, kind: Kind
) -> None:
    """It is durable and private; a second `clear` does no harm."""
    assert await quarantine.read(kind) is None
    path = await quarantine.write(kind, KEPT)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert await Quarantine([tmp_path / "auth.json.bearerd-quarantine"]).read(kind) == (
        KEPT
    )
    for _ in range(2):
        await quarantine.clear(kind)
        assert await quarantine.read(kind) is None
    assert names_in(tmp_path) == []


async def test_the_two_kinds_do_not_touch_each_other(quarantine: Quarantine) -> None:
    """A new login clears none of what was kept of the old account."""
    new_login = QuarantinedCredential(credential_for("new"), presented="", since=START)
    await quarantine.write("foreign", KEPT)
    await quarantine.write("new_login", new_login)
    await quarantine.clear("new_login")
    assert await quarantine.read("foreign") == KEPT


async def test_a_later_one_of_its_kind_is_the_one_that_is_read(tmp_path: Path) -> None:
    """Also if the first place could not be written at the time."""
    first, second = tmp_path / "store" / "kept", tmp_path / "rescue" / "kept"
    first.parent.mkdir()
    second.parent.mkdir()
    await Quarantine([second]).write("foreign", KEPT)
    later = QuarantinedCredential(
        credential_for("later"), presented="b" * 16, since=START + 1
    )
    await Quarantine([first]).write("foreign", later)
    both = Quarantine([first, second])
    assert await both.read("foreign") == later
    await both.clear("foreign")
    assert await both.read("foreign") is None


@pytest.mark.parametrize("kind", KINDS)
async def test_what_a_killed_writer_left_is_removed_if_it_is_not_in_use(
    quarantine: Quarantine, tmp_path: Path, kind: Kind
) -> None:
    """It holds tokens. A new login may be written by another process at this moment."""
    leftover = tmp_path / f".auth.json.bearerd-quarantine{SUFFIXES[kind]}.k3_x9qzz"
    for work in (quarantine.write(kind, KEPT), quarantine.clear(kind)):
        leftover.write_bytes(KEPT.to_json())
        await work
        assert leftover.exists() == (kind == "new_login")


async def test_the_second_place_is_used_if_the_first_cannot_be_written(
    tmp_path: Path,
) -> None:
    """The folder of the store may be read-only."""
    (tmp_path / "store").write_bytes(b"no folder")
    places = [tmp_path / "store" / "kept", tmp_path / "state" / "kept"]
    path = await Quarantine(places).write("new_login", KEPT)
    assert path.parent == tmp_path / "state"
    assert await Quarantine(places).read("new_login") == KEPT


async def test_the_folder_of_the_store_is_not_made_anew(tmp_path: Path) -> None:
    """An unmounted volume must not be replaced by a new folder."""
    places = [tmp_path / "store" / "kept", tmp_path / "state" / "kept"]
    path = await Quarantine(places).write("foreign", KEPT)
    assert path.parent == tmp_path / "state"
    assert not (tmp_path / "store").exists()


async def test_the_error_names_all_places_if_none_can_be_written(
    tmp_path: Path,
) -> None:
    """And no file is left."""
    quarantine = Quarantine([tmp_path / "one", tmp_path / "two"])
    with full_disk(), pytest.raises(StoreError, match="writable") as why:
        await quarantine.write("foreign", KEPT)
    for name in ("one-foreign", "two-foreign"):
        assert str(tmp_path / name) in why.value.message
    assert names_in(tmp_path) == []


def test_it_shows_no_secret() -> None:
    """The file holds tokens; the value does not print them."""
    assert MARK not in repr(KEPT)
    assert MARK in json.loads(KEPT.to_json())["credential"]["refresh_token"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        KEPT.to_json()[:-20],
        KEPT.to_json().replace(b'"credential"', b'"other"'),
        KEPT.to_json().replace(b'"since": 18', b'"since": "x'),
        KEPT.to_json().replace(b'"acct-2"', b'"acct-2\\r\\nx: y"'),
        KEPT.to_json().replace(b'"expires_at": 18', b'"expires_at": "x'),
    ],
    ids=[
        "empty",
        "torn",
        "list",
        "nothing-in-it",
        "not-utf-8",
        "nested-without-end",
        "cut-short",
        "no-credential",
        "another-time",
        "account-with-a-field",
        "another-expiry",
    ],
)
async def test_content_that_is_torn_or_of_another_kind_is_none(
    quarantine: Quarantine, tmp_path: Path, content: bytes
) -> None:
    """What is read here can be served later."""
    assert QuarantinedCredential.from_json(content) is None
    (tmp_path / "auth.json.bearerd-quarantine-foreign").write_bytes(content)
    assert await quarantine.read("foreign") is None
