"""The key ring: which key lets which client in.

Rules:

1. The whole key is looked up by its SHA-256. No claim inside it is believed.
2. A key is shown once, when it is made. From then on only its digest is kept; the very
   first key is also kept in plain text (`first_key`).
3. The file is the truth. A key that another process makes is accepted at once; a key that
   another process revokes is rejected after `RECHECK_SECONDS`.
4. While the file is broken the keys that were loaded last stay in force: files are
   replaced whole, so a broken one is an editing mistake, and must not lock all agents out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bearerd.clock import Clock
from bearerd.errors import ConfigurationError, StoreError
from bearerd.files import atomic
from bearerd.keys import shape
from bearerd.keys.file import KeyEntry, KeyFile, digest_of
from bearerd.keys.first_key import FirstKeyFile

RECHECK_SECONDS: Final = 1.0
"""How long a known key is accepted without another look at the file."""

OPERATOR: Final = "operator"
"""The name of the client whose key comes from the settings."""

FIRST: Final = "default"
"""The name of the client that the first key is made for."""

RELAY: Final = frozenset({"relay"})


@dataclass(frozen=True, slots=True)
class Client:
    """The owner of a key: its name in log and metrics, its profile, and its rights."""

    name: str
    profile: str
    allowed: frozenset[str]


class KeyRing:
    """The keys that let a client in.

    Owns the clients by digest, as the file had them at the last load.
    """

    def __init__(
        self, file: KeyFile, *, clock: Clock, operator_key: str | None = None
    ) -> None:
        self._file = file
        self._first_key = FirstKeyFile(file.path)
        self._clock = clock
        self._operator = _operator(operator_key)
        self._clients: dict[bytes, Client] = dict(self._operator)
        self._loaded_stamp: atomic.FileStamp | None = None
        self._checked_at = clock.monotonic()

    @classmethod
    def load(
        cls, path: Path, *, clock: Clock | None = None, operator_key: str | None = None
    ) -> KeyRing:
        """Return the ring of the keys in *path*, which need not exist yet.

        Raises:
            StoreError: the file exists and cannot be read or parsed.
            ConfigurationError: *operator_key* is too weak.
        """
        ring = cls(KeyFile(path), clock=clock or Clock(), operator_key=operator_key)
        ring._reload()
        return ring

    @property
    def path(self) -> Path:
        """The path of the key file."""
        return self._file.path

    def find(self, key: bytes) -> Client | None:
        """Return the owner of *key*, or None if the key is unknown.

        A dictionary leaks nothing by its timing: the time of a lookup depends on the
        digest alone, and a client cannot choose a digest that is close to a stored one.
        """
        digest = digest_of(key)
        now = self._clock.monotonic()
        if now - self._checked_at >= RECHECK_SECONDS:
            self._reload_if_changed(now)
        client = self._clients.get(digest)
        if client is None:
            # Another process may have made it since the last check.
            self._reload_if_changed(now)
            client = self._clients.get(digest)
        return client

    def names(self) -> tuple[str, ...]:
        """Return the names of all clients, `operator` included."""
        self._reload_if_changed(self._clock.monotonic())
        return tuple(client.name for client in self._clients.values())

    def entries(self) -> tuple[KeyEntry, ...]:
        """Return the entries of the file.

        Raises:
            StoreError: the file cannot be read or parsed.
        """
        return self._file.read()

    def create(self, name: str, profile: str = "default") -> str:
        """Make a key for the client *name* and return it. It cannot be shown again.

        Raises:
            ConfigurationError: the name is taken, or is not allowed.
            StoreError: the file cannot be read or written.
        """
        with self._file.lock():
            entries = self._file.read()
            key = _new_key(name, entries)
            self._append(entries, key, name, profile)
            return key

    def create_first(self, profile: str = "default") -> Path | None:
        """Make a first key if there is none, and return the plain file that holds it.

        Return None if there is a key already, the operator's included. Of several
        processes that start at once, one makes the key.

        Raises:
            StoreError: a file cannot be read or written.
        """
        if self._operator or self._clients:
            return None
        with self._file.lock():
            entries = self._file.read()
            if entries:
                return None
            key = _new_key(FIRST, entries)
            # The plain file comes first: a key that is accepted and can be read nowhere
            # would keep the next start from making another one.
            self._first_key.write(key)
            self._append(entries, key, FIRST, profile)
            return self._first_key.path

    def first_key_file(self) -> Path | None:
        """Return the plain file that holds the first key, or None if there is none."""
        return self._first_key.path if self._first_key.exists() else None

    def revoke(self, name: str) -> None:
        """Revoke the key of the client *name*.

        Raises:
            ConfigurationError: the file has no key of that name.
            StoreError: the file cannot be read or written.
        """
        with self._file.lock():
            entries = self._file.read()
            kept = tuple(entry for entry in entries if entry.name != name)
            if len(kept) == len(entries):
                raise ConfigurationError(_unknown_name(name, entries))
            self._file.write(kept)
            revoked = {entry.digest for entry in entries if entry.name == name}
            self._first_key.remove_if_revoked(revoked)
        self._reload()

    def _append(
        self, entries: tuple[KeyEntry, ...], key: str, name: str, profile: str
    ) -> None:
        digest = digest_of(key.encode())
        entry = KeyEntry(name, profile, digest, self._clock.now(), RELAY)
        self._file.write((*entries, entry))
        self._reload()

    def _reload_if_changed(self, now: float) -> None:
        """Load the file again if it changed; keep what is loaded if that fails (rule 4)."""
        self._checked_at = now
        if atomic.file_stamp(self.path) == self._loaded_stamp:
            return
        try:
            self._reload()
        except StoreError:
            return

    def _reload(self) -> None:
        # The stamp is taken before the content, so that a change in between is seen at the
        # next check. It is kept only with the content, so that a failed read is repeated.
        stamp = atomic.file_stamp(self.path)
        clients = {
            entry.digest: Client(entry.name, entry.profile, entry.allowed)
            for entry in self._file.read()
        }
        self._clients = {**clients, **self._operator}
        self._loaded_stamp = stamp


def _operator(key: str | None) -> dict[bytes, Client]:
    """Return the operator's client by digest; nothing if the settings have no key."""
    if key is None:
        return {}
    weakness = shape.weakness(key)
    if weakness is not None:
        raise ConfigurationError(f"client_key: allowed is {weakness}")
    return {digest_of(key.encode()): Client(OPERATOR, "default", RELAY)}


def _new_key(name: str, entries: tuple[KeyEntry, ...]) -> str:
    if not shape.is_key_name(name):
        raise ConfigurationError(f"key name {name!r}: allowed are {shape.NAME_ALLOWED}")
    if name == OPERATOR or any(entry.name == name for entry in entries):
        raise ConfigurationError(
            f"there is a key named {name} already; choose another name, or revoke that "
            f"key with `bearerd key revoke {name}`"
        )
    return shape.mint(name)


def _unknown_name(name: str, entries: tuple[KeyEntry, ...]) -> str:
    if name == OPERATOR:
        return "the operator's key comes from the settings; remove client_key from them"
    names = ", ".join(entry.name for entry in entries) or "none"
    return f"there is no key named {name}; there are: {names}"
