"""The key file: its content, its mode, its lock, and what is wrong with a broken one."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from bearerd.errors import BearerdError, StoreError
from bearerd.keys.file import KeyEntry, KeyFile, digest_of
from bearerd.keys.ring import KeyRing
from tests.keys.conftest import START, ManualClock, mode_of

ENTRY = KeyEntry("laptop", "work", digest_of(b"key"), START, frozenset({"relay"}))


def test_a_missing_file_has_no_entries(path: Path) -> None:
    """It is the state before the first key."""
    assert KeyFile(path).read() == ()
    assert not path.parent.exists()


def test_an_entry_is_read_back_as_it_was_written(path: Path) -> None:
    """Times to the second."""
    path.parent.mkdir()
    KeyFile(path).write((ENTRY,))
    assert KeyFile(path).read() == (ENTRY,)


def test_the_file_holds_digests_and_no_keys(ring: KeyRing, path: Path) -> None:
    """It is private, and so is its folder; nothing else lies beside it but the lock."""
    key = ring.create("laptop", "work")
    assert json.loads(path.read_text()) == {
        "version": 1,
        "keys": [
            {
                "name": "laptop",
                "profile": "work",
                "sha256": hashlib.sha256(key.encode()).hexdigest(),
                "created_at": "2027-01-15T08:00:00+00:00",
                "may": ["relay"],
            }
        ],
    }
    assert mode_of(path) == 0o600
    assert mode_of(path.parent) == 0o700
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "keys.json",
        "keys.json.lock",
    ]


def document(**changes: object) -> str:
    """Return a file with one entry, of which *changes* are wrong."""
    entry: dict[str, object] = {
        "name": "x",
        "profile": "default",
        "sha256": "00" * 32,
        "created_at": "2027-01-15T08:00:00+00:00",
        "may": ["relay"],
    }
    return json.dumps({"version": 1, "keys": [{**entry, **changes}]})


BROKEN = [
    "{",
    "[]",
    "{}",
    '{"version": 2, "keys": []}',
    '{"version": 1, "keys": [{}]}',
    '{"version": 1, "keys": ["x"]}',
    '{"version": 1, "keys": 3}',
    document(sha256="00"),
    document(sha256="x"),
    document(name=3),
    document(profile=None),
    document(may="relay"),
    document(created_at="yesterday"),
]


@pytest.mark.parametrize("content", BROKEN)
def test_a_broken_file_is_refused_and_kept(
    path: Path, time: ManualClock, content: str
) -> None:
    """At the start, and before a write that would replace it."""
    path.parent.mkdir()
    ring = KeyRing.load(path, clock=time.clock())
    path.write_text(content)
    with pytest.raises(StoreError, match="this is not a file of client keys") as caught:
        KeyRing.load(path, clock=time.clock())
    assert str(path) in caught.value.message
    with pytest.raises(StoreError, match="this is not a file of client keys"):
        ring.create("laptop")
    assert path.read_text() == content


def _no_folder(path: Path) -> None:
    path.parent.write_text("a file where the folder should be")


def _a_folder(path: Path) -> None:
    path.mkdir(parents=True)


@pytest.mark.parametrize(
    ("stage", "act"),
    [
        (_no_folder, lambda ring: ring.create("laptop")),
        (_a_folder, lambda ring: ring.create("laptop")),
        (_a_folder, lambda ring: ring.entries()),
    ],
)
def test_a_path_that_cannot_hold_the_file_is_named_with_its_setting(
    path: Path,
    ring: KeyRing,
    stage: Callable[[Path], None],
    act: Callable[[KeyRing], object],
) -> None:
    """Where a folder is a file, or the file a folder."""
    stage(path)
    with pytest.raises(BearerdError, match=re.escape(str(path.parent))) as caught:
        act(ring)
    assert "keys_file" in caught.value.message


def test_a_lock_that_is_held_for_too_long_is_named(path: Path) -> None:
    """A wait without end would hide the holder's trouble."""
    holder, waiter = KeyFile(path), KeyFile(path, lock_timeout_seconds=0.01)
    with holder.lock(), pytest.raises(StoreError, match=r"held this lock for 0\.01 s"):
        waiter.lock().__enter__()
    with waiter.lock():
        assert path.with_name("keys.json.lock").exists()


def test_an_error_under_the_lock_is_passed_on_as_it_is(path: Path) -> None:
    """It is not taken for trouble with the lock, and the lock is released."""
    with pytest.raises(TimeoutError, match="inside"), KeyFile(path).lock():
        raise TimeoutError("inside")
    with KeyFile(path, lock_timeout_seconds=0.01).lock():
        pass


def test_two_links_to_one_file_share_a_lock(path: Path, tmp_path: Path) -> None:
    """The lock lies beside the file that they point to."""
    path.parent.mkdir()
    path.touch()
    link = tmp_path / "link.json"
    link.symlink_to(path)
    waiter = KeyFile(link, lock_timeout_seconds=0.01)
    with KeyFile(path).lock(), pytest.raises(StoreError, match="held this lock"):
        waiter.lock().__enter__()
