"""The file of client keys: who may come in, by the SHA-256 of each key.

JSON, mode 0600 from its creation, replaced whole; changed only under the lock beside
it, which is never unlinked. Holds no key, so a copy of it lets nobody in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import filelock

from bearerd.errors import StoreError
from bearerd.files import atomic
from bearerd.json_object import json_object

VERSION = 1

LOCK_TIMEOUT_SECONDS = 10.0
"""Holders write one small file; who waits longer than this waits for a dead disk."""

_DIGEST_BYTES = 32  # of SHA-256


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """What the file keeps of one key."""

    name: str
    profile: str
    digest: bytes
    created_at: float
    may: frozenset[str]


class KeyFile:
    """One `keys.json`. Owns nothing but its path."""

    def __init__(
        self, path: Path, *, lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS
    ) -> None:
        self.path = path
        self._lock_timeout_seconds = lock_timeout_seconds

    def read(self) -> tuple[KeyEntry, ...]:
        """Return the entries; none if there is no file.

        Raises:
            StoreError: the file is there, and cannot be read or understood.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise StoreError(
                f"{self.path}: the client keys cannot be read: {error.strerror}; "
                "let this user read the file, or set `keys_file` to another"
            ) from error
        try:
            return _decode(content)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise StoreError(
                f"{self.path}: this is no file of client keys; move it away, and make "
                "new keys with `bearerd key create NAME`"
            ) from error

    def write(self, entries: tuple[KeyEntry, ...]) -> None:
        """Replace the file durably; to be called under `lock`.

        Raises:
            StoreError: it could not be written; what was there still is.
        """
        self._replace(self.path, _encode(entries))

    def write_beside(self, name: str, key: str) -> Path:
        """Write *key* in plain, mode 0600, to the file *name* beside this one."""
        path = self.path.with_name(name)
        self._replace(path, f"{key}\n".encode())
        return path

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock that all processes on this file share.

        Raises:
            StoreError: another holder did not let go, or there is no place to lock.
        """
        target = self.path.resolve()  # two links to one file share one lock
        path = target.with_name(target.name + ".lock")
        held = filelock.FileLock(
            path,
            timeout=self._lock_timeout_seconds,
            mode=0o600,
            preserve_lock_file=True,
            fallback_to_soft=False,
        )
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            held.acquire()
        except filelock.Timeout as error:
            raise StoreError(
                f"{path}: another process has held this lock for "
                f"{self._lock_timeout_seconds:g} s; end it, and try again"
            ) from error
        except OSError as error:
            raise _write_error(path, error) from error
        try:
            yield
        finally:
            held.release()

    @staticmethod
    def _replace(path: Path, content: bytes) -> None:
        try:
            atomic.replace(path, content)
        except OSError as error:
            raise _write_error(path, error) from error


def _write_error(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"{path}: cannot be written: {error.strerror or error}; make its folder "
        "writable for this user, or set `keys_file` to another place"
    )


def _encode(entries: tuple[KeyEntry, ...]) -> bytes:
    keys = [
        {
            "name": entry.name,
            "profile": entry.profile,
            "sha256": entry.digest.hex(),
            "created_at": _iso(entry.created_at),
            "may": sorted(entry.may),
        }
        for entry in entries
    ]
    return (json.dumps({"version": VERSION, "keys": keys}, indent=2) + "\n").encode()


def _decode(content: bytes) -> tuple[KeyEntry, ...]:
    document = json_object(content)
    if document is None:
        raise ValueError("not a JSON object")
    if document["version"] != VERSION:
        raise ValueError(document["version"])
    return tuple(_entry(item) for item in document["keys"])


def _entry(item: dict[str, Any]) -> KeyEntry:
    name, profile, digest = item["name"], item["profile"], bytes.fromhex(item["sha256"])
    if not isinstance(name, str) or not isinstance(profile, str):
        raise TypeError(name, profile)
    if len(digest) != _DIGEST_BYTES or not isinstance(item["may"], list):
        raise ValueError(item["may"])
    created_at = datetime.fromisoformat(item["created_at"]).timestamp()
    return KeyEntry(name, profile, digest, created_at, frozenset(map(str, item["may"])))


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
