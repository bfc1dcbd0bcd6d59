"""The credential file: Codex's `auth.json`, so that Codex can go on with it.

Its fields are those of `AuthDotJson` (codex-rs login/src/auth/storage.rs). We read and
write `tokens`, `last_refresh` and `auth_mode`; every other field is kept as it is.

Beside the file lie the lock, which is never unlinked (a waiter on an unlinked inode
would hold a lock that nobody else sees), and the notes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import filelock

from proxy.credential import auth_document, durable
from proxy.credential.auth_document import Document
from proxy.credential.clock import Clock
from proxy.credential.ledger import Notes
from proxy.credential.token import Credential
from proxy.errors import LoginRequired, StoreError

TORN_READ_TRIES = 6
TORN_READ_WAIT_SECONDS = 0.05
"""A foreign writer may truncate in place (Codex before 0.169); 0.25 s outlasts it."""

LOCK_POLL_SECONDS = 0.02
"""How soon a waiter notices that the holder let go, or died."""

MAX_FILE_BYTES = 1 << 20
"""A login is about 5 KiB; what is larger is no login."""


Signatures: TypeAlias = tuple[durable.Signature | None, durable.Signature | None]
"""Of the credential file and of the notes."""


class FileStore:
    """One `auth.json`. Owns the memory of what was last seen in it."""

    def __init__(self, path: Path, *, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._seen: Signatures = (None, None)
        self._document: Document | None = None

    @property
    def name(self) -> str:
        """Return the path as it was given."""
        return str(self._path)

    async def load(self) -> Credential:
        """Return the credential in the file. See `Store.load`."""
        for remaining in reversed(range(TORN_READ_TRIES)):
            try:
                return self._read()
            except LoginRequired:
                # Only what was whole before can be torn now.
                if not remaining or self._document is None:
                    raise
            await self._clock.sleep(TORN_READ_WAIT_SECONDS)
        raise AssertionError  # the last try returns or raises

    def has_changed(self) -> bool:
        """Compare identity, size and time of file and notes with what was last seen."""
        return self._signatures() != self._seen

    async def replace(
        self, began_from: Credential, renewed: Credential
    ) -> Credential | None:
        """Write *renewed* over what *began_from* names. See `Store.replace`."""
        stored = await self._stored_meanwhile()
        if stored is not None and stored != began_from:
            return stored
        document = auth_document.renewed(
            self._document or {}, renewed, self._clock.now()
        )
        content = auth_document.encode(document)
        try:
            await asyncio.to_thread(durable.replace, self._path, content)
        except OSError as error:
            raise self._write_error(self._path, error) from error
        self._seen = (durable.signature(self._path), self._seen[1])
        self._document = document
        return None

    @asynccontextmanager
    async def lock(self, timeout_seconds: float) -> AsyncIterator[None]:
        """Hold the flock beside the file's target. See `Store.lock`.

        The target's folder, so that two links to one file share one lock.
        """
        path = self._beside(".bearerd-lock")
        held = filelock.FileLock(
            path,
            mode=0o600,
            thread_local=False,
            preserve_lock_file=True,
            fallback_to_soft=False,
        )
        deadline = self._clock.monotonic() + timeout_seconds
        while True:
            try:
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                held.acquire(blocking=False)
                break
            except filelock.Timeout:
                if self._clock.monotonic() >= deadline:
                    raise TimeoutError(str(path)) from None
            except OSError as error:
                raise self._write_error(path, error) from error
            await self._clock.sleep(LOCK_POLL_SECONDS)
        try:
            yield
        finally:
            held.release()

    def read_notes(self) -> Notes:
        """Return the notes, or empty ones. See `Store.read_notes`."""
        try:
            return Notes.from_json(self._beside(".bearerd-state").read_bytes())
        except OSError:
            return Notes()

    def write_notes(self, notes: Notes) -> None:
        """Replace the notes file. See `Store.write_notes`."""
        path = self._beside(".bearerd-state")
        try:
            durable.replace(path, notes.to_json())
        except OSError as error:
            raise self._write_error(path, error) from error
        self._seen = (self._seen[0], durable.signature(path))

    def _signatures(self) -> Signatures:
        notes = self._beside(".bearerd-state")
        return durable.signature(self._path), durable.signature(notes)

    def _beside(self, suffix: str) -> Path:
        target = self._path.resolve()
        return target.with_name(target.name + suffix)

    async def _stored_meanwhile(self) -> Credential | None:
        """Return what the file holds, None if that is unreadable but there."""
        try:
            return await self.load()
        except LoginRequired as absence:
            if absence.reason == "missing":
                raise
            return None

    def _read(self) -> Credential:
        seen = self._signatures()
        try:
            with self._path.open("rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            self._seen = seen
            raise LoginRequired(
                f"{self._path}: there is no credential file; "
                "sign in with `bearerd login`",
                reason="missing",
            ) from None
        except OSError as error:
            self._seen = seen
            raise LoginRequired(
                f"{self._path}: cannot be read: {error.strerror}; let this user read "
                "it, or sign in again with `bearerd login`",
                reason="unreadable",
            ) from error
        self._seen = seen
        try:
            document = auth_document.decode(content)
            credential = auth_document.credential(document)
        except auth_document.NotUnderstood as why:
            raise LoginRequired(
                f"{self._path}: {why}; sign in again with `bearerd login`, or put a "
                "whole auth.json there",
                reason="unreadable",
            ) from None
        self._document = document
        return credential

    @staticmethod
    def _write_error(path: Path, error: OSError) -> StoreError:
        return StoreError(
            f"{path}: cannot be written: {error.strerror or error}; make its folder "
            "writable for this user, or set `store` to another place"
        )
