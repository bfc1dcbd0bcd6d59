"""The first key in plain text: made once, private, and removed when it is revoked."""

from __future__ import annotations

from pathlib import Path

import pytest

from bearerd.errors import StoreError
from bearerd.keys.file import digest_of
from bearerd.keys.first_key import FirstKeyFile
from bearerd.keys.ring import Client, KeyRing
from tests.keys.conftest import ManualClock, mode_of

OPERATOR_KEY = "9f2c7a5be4d84e1fa3306b72"


def test_the_file_is_private_and_ends_with_a_newline(path: Path) -> None:
    """A shell reads it with `$(cat ...)`."""
    path.parent.mkdir()
    first = FirstKeyFile(path)
    assert not first.exists()
    first.write("key")
    assert first.exists()
    assert first.path == path.with_name("client-key")
    assert first.path.read_text() == "key\n"
    assert mode_of(first.path) == 0o600


@pytest.mark.parametrize(("revoked", "remains"), [(b"key", False), (b"other", True)])
def test_the_file_is_removed_with_its_own_key_only(
    path: Path, revoked: bytes, remains: bool
) -> None:
    """The key is compared by its digest."""
    path.parent.mkdir()
    first = FirstKeyFile(path)
    first.write("key")
    first.remove_if_revoked({digest_of(revoked)})
    assert first.exists() is remains


def test_a_missing_file_needs_no_removal(path: Path) -> None:
    """The key was created by a command, or the file has been removed by hand."""
    FirstKeyFile(path).remove_if_revoked({digest_of(b"key")})


def test_the_first_key_is_made_once_and_can_be_read_again(ring: KeyRing) -> None:
    """It lets its client in until it is revoked; then its file is gone too."""
    assert ring.first_key_file() is None
    path = ring.create_first()
    assert path == ring.first_key_file() == ring.path.with_name("client-key")
    assert path is not None
    key = path.read_text().strip()
    assert ring.find(key.encode()) == Client("default", "default", frozenset({"relay"}))
    assert ring.create_first() is None
    assert path.read_text().strip() == key
    ring.revoke("default")
    assert ring.find(key.encode()) is None
    assert ring.first_key_file() is None


def test_no_first_key_is_made_beside_another_key(path: Path, time: ManualClock) -> None:
    """Neither beside the operator's, nor beside one that another process just made."""
    own = KeyRing.load(path, clock=time.clock(), operator_key=OPERATOR_KEY)
    assert own.create_first() is None
    late = KeyRing.load(path, clock=time.clock())
    KeyRing.load(path, clock=time.clock()).create("laptop")
    assert late.create_first() is None
    assert late.names() == ("laptop",)


def test_a_plain_key_without_an_entry_is_replaced(ring: KeyRing) -> None:
    """A process that dies between the two files leaves one."""
    ring.path.parent.mkdir()
    ring.path.with_name("client-key").write_text("left over\n")
    path = ring.create_first()
    assert path is not None
    assert ring.find(path.read_text().strip().encode()) is not None


def test_revoking_another_key_keeps_the_file(ring: KeyRing) -> None:
    """The first key is still accepted."""
    ring.create_first()
    ring.create("laptop")
    ring.revoke("laptop")
    assert ring.first_key_file() is not None
    assert ring.names() == ("default",)


def test_a_first_key_that_cannot_be_written_is_not_made(ring: KeyRing) -> None:
    """It would be accepted, and could be read nowhere."""
    ring.path.with_name("client-key").mkdir(parents=True)
    with pytest.raises(StoreError, match="client-key: cannot be written"):
        ring.create_first()
    assert ring.names() == ()
