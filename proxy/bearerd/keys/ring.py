"""The ring of client keys: which string lets which client in.

Rules:

1. The whole string is looked up by its SHA-256; nothing in it is believed.
2. A key is shown once, when it is made. After that only its SHA-256 is known here, and
   the first key of all in a private file beside, for its user to fetch.
3. The file is the truth: a key made or revoked by another process counts here, a new
   one at once and a revoked one after `RECHECK_SECONDS`.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bearerd.clock import Clock
from bearerd.errors import ConfigurationError, StoreError
from bearerd.files import atomic
from bearerd.keys import shape
from bearerd.keys.file import KeyEntry, KeyFile

RECHECK_SECONDS: Final = 1.0
"""For how long a key that is known is good without another look at the file."""

OPERATOR: Final = "operator"
"""The name under which the key from the settings comes in."""

FIRST_KEY_FILE: Final = "client-key"
"""Beside the key file: the first key in plain, so that it can be read and mounted."""

RELAY: Final = frozenset({"relay"})


@dataclass(frozen=True, slots=True)
class Client:
    """Who a key belongs to: the name for log and metrics, and what it may do."""

    name: str
    profile: str
    allowed: frozenset[str]


class KeyRing:
    """The keys that let a client in.

    Owns the picture of the file that `find` looks into, and renews it from the file;
    `create` and `revoke` change the file.
    """

    def __init__(
        self, file: KeyFile, *, clock: Clock, operator_key: str | None = None
    ) -> None:
        self._file = file
        self._clock = clock
        self._operator = _operator(operator_key)
        self._clients: dict[bytes, Client] = dict(self._operator)
        self._seen: atomic.FileStamp | None = None
        self._checked_at = clock.monotonic()

    @classmethod
    def load(
        cls, path: Path, *, clock: Clock | None = None, operator_key: str | None = None
    ) -> KeyRing:
        """Return the ring of the keys in *path*, which need not exist yet.

        Raises:
            StoreError: the file is there, and cannot be read or understood.
            ConfigurationError: *operator_key* is too weak.
        """
        ring = cls(KeyFile(path), clock=clock or Clock(), operator_key=operator_key)
        ring._renew()
        return ring

    @property
    def path(self) -> Path:
        """Where the keys are kept."""
        return self._file.path

    def find(self, key: bytes) -> Client | None:
        """Return the client whose key this is; None if it is nobody's.

        A dictionary may be asked in the open: the time it takes depends on the digest
        alone, and nobody can steer a digest toward a stored one.
        """
        digest = hashlib.sha256(key).digest()
        now = self._clock.monotonic()
        if now - self._checked_at >= RECHECK_SECONDS:
            self._look_again(now)
        client = self._clients.get(digest)
        if client is None:
            # Perhaps it was made a moment ago.
            self._look_again(now)
            client = self._clients.get(digest)
        return client

    def names(self) -> tuple[str, ...]:
        """Return the names of all clients, the operator's key included."""
        self._look_again(self._clock.monotonic())
        return tuple(client.name for client in self._clients.values())

    def entries(self) -> tuple[KeyEntry, ...]:
        """Return what the file keeps of each key.

        Raises:
            StoreError: the file cannot be read or understood.
        """
        return self._file.read()

    def create(self, name: str, profile: str = "default") -> str:
        """Make a key for the client *name* and return it; it is not shown again.

        Raises:
            ConfigurationError: there is a key of that name, or no key may have it.
            StoreError: the file could not be read or written.
        """
        with self._file.lock():
            entries = self._file.read()
            key = self._minted(name, entries)
            self._add(entries, key, name, profile)
            return key

    def create_first(self, profile: str = "default") -> Path | None:
        """Make the key `default` if there is no key at all; return where it can be read.

        None when there was a key, be it the operator's. Of several processes that
        start at once, one makes the key.

        Raises:
            StoreError: the file could not be read or written.
        """
        if self._operator or self._clients:
            return None
        with self._file.lock():
            entries = self._file.read()
            if entries:
                return None
            key = self._minted("default", entries)
            # First of all where it can be read: a key that is good and known to nobody
            # would keep the next start from making one.
            path = self._file.write_beside(FIRST_KEY_FILE, key)
            self._add(entries, key, "default", profile)
            return path

    def first_key_file(self) -> Path | None:
        """Return where the first key can be read, if it is there."""
        path = self.path.with_name(FIRST_KEY_FILE)
        return path if path.exists() else None

    def revoke(self, name: str) -> None:
        """Make the key of *name* good for nothing; running daemons follow soon.

        Raises:
            ConfigurationError: there is no key of that name in the file.
            StoreError: the file could not be read or written.
        """
        with self._file.lock():
            entries = self._file.read()
            kept = tuple(entry for entry in entries if entry.name != name)
            if len(kept) == len(entries):
                raise ConfigurationError(_no_such_key(name, entries))
            self._file.write(kept)
            self._forget_first_key(entries)
        self._renew()

    @staticmethod
    def _minted(name: str, entries: tuple[KeyEntry, ...]) -> str:
        if not shape.is_key_name(name):
            raise ConfigurationError(
                f"key name {name!r}: allowed are {shape.NAME_ALLOWED}"
            )
        if name == OPERATOR or any(entry.name == name for entry in entries):
            raise ConfigurationError(
                f"there is a key named {name} already; choose another name, or take "
                f"the old one back with `bearerd key revoke {name}`"
            )
        return shape.mint(name)

    def _add(
        self, entries: tuple[KeyEntry, ...], key: str, name: str, profile: str
    ) -> None:
        digest = hashlib.sha256(key.encode()).digest()
        entry = KeyEntry(name, profile, digest, self._clock.now(), RELAY)
        self._file.write((*entries, entry))
        self._renew()

    def _forget_first_key(self, entries_before: tuple[KeyEntry, ...]) -> None:
        """Remove the plain first key once the key in it is good for nothing."""
        path = self.path.with_name(FIRST_KEY_FILE)
        with suppress(OSError):
            digest = hashlib.sha256(path.read_bytes().strip()).digest()
            still = {entry.digest for entry in self._file.read()}
            if digest in {entry.digest for entry in entries_before} - still:
                path.unlink()

    def _look_again(self, now: float) -> None:
        """Renew the picture if the file changed; keep it while the file is broken.

        A ring that works is worth more to the clients on it than news that cannot be
        read: files are replaced whole, so a broken one is a hand's slip.
        """
        self._checked_at = now
        if atomic.file_stamp(self.path) == self._seen:
            return
        try:
            self._renew()
        except StoreError:
            return

    def _renew(self) -> None:
        self._seen = atomic.file_stamp(self.path)
        clients = {
            entry.digest: Client(entry.name, entry.profile, entry.may)
            for entry in self._file.read()
        }
        self._clients = {**clients, **self._operator}


def _operator(key: str | None) -> dict[bytes, Client]:
    if key is None:
        return {}
    weakness = shape.weakness(key)
    if weakness is not None:
        raise ConfigurationError(f"client_key: allowed is {weakness}")
    digest = hashlib.sha256(key.encode()).digest()
    return {digest: Client(OPERATOR, "default", RELAY)}


def _no_such_key(name: str, entries: tuple[KeyEntry, ...]) -> str:
    if name == OPERATOR:
        return "the operator's key comes from the settings; take client_key out of them"
    names = ", ".join(entry.name for entry in entries) or "none"
    return f"there is no key named {name}; there are: {names}"
