"""The file of client keys: `keys.json`, with the SHA-256 of each key.

JSON, mode 0600 from its creation, always replaced whole, and changed only under the lock
beside it. It holds no key, so a copy of it lets no client in.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bearerd.errors import StoreError
from bearerd.files import atomic
from bearerd.files.flock import flock_blocking
from bearerd.json_object import json_object

VERSION = 1

LOCK_TIMEOUT_SECONDS = 10.0
"""A holder writes one small file. A lock that is held for longer points to a dead disk."""

_DIGEST_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """One key in the file. `digest` is its SHA-256, `created_at` epoch seconds."""

    name: str
    profile: str
    digest: bytes
    created_at: float
    allowed: frozenset[str]


class KeyFile:
    """One `keys.json`. Holds its path and no other state."""

    def __init__(
        self, path: Path, *, lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS
    ) -> None:
        self.path = path
        self._lock_timeout_seconds = lock_timeout_seconds

    def read(self) -> tuple[KeyEntry, ...]:
        """Return the entries; none if there is no file.

        Raises:
            StoreError: the file exists and cannot be read or parsed.
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
                f"{self.path}: this is not a file of client keys; move it away, and "
                "make new keys with `bearerd key create NAME`"
            ) from error

    def write(self, entries: tuple[KeyEntry, ...]) -> None:
        """Replace the file durably. The caller holds `lock`.

        Raises:
            StoreError: the file cannot be written; its old content is still there.
        """
        replace(self.path, _encode(entries))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock that all processes on this file share.

        Raises:
            StoreError: another process holds it for too long, or there is no place for it.
        """
        target = self.path.resolve()  # two links to one file share one lock
        path = target.parent / f"{target.name}.lock"
        with ExitStack() as stack:
            try:
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                stack.enter_context(flock_blocking(path, self._lock_timeout_seconds))
            except TimeoutError as error:
                raise StoreError(
                    f"{path}: another process has held this lock for "
                    f"{self._lock_timeout_seconds:g} s; end that process, and try again"
                ) from error
            except OSError as error:
                raise _write_error(path, error) from error
            yield


def digest_of(key: bytes) -> bytes:
    """Return the digest under which a key is kept and looked up: its SHA-256."""
    return hashlib.sha256(key).digest()


def replace(path: Path, content: bytes) -> None:
    """Replace a file of this room: durably, mode 0600.

    Raises:
        StoreError: the file cannot be written; its old content is still there.
    """
    try:
        atomic.replace(path, content)
    except OSError as error:
        raise _write_error(path, error) from error


def _write_error(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"{path}: cannot be written: {error.strerror or error}; make its folder "
        "writable for this user, or set `keys_file` to another path"
    )


def _encode(entries: tuple[KeyEntry, ...]) -> bytes:
    keys = [
        {
            "name": entry.name,
            "profile": entry.profile,
            "sha256": entry.digest.hex(),
            "created_at": _iso(entry.created_at),
            "may": sorted(entry.allowed),
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
