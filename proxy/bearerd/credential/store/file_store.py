"""The credential file: Codex's `auth.json`, so that Codex can go on with it.

Its fields are those of `AuthDotJson` (codex-rs login/src/auth/storage.rs). We read and
write `tokens`, `last_refresh` and `auth_mode`; every other field is kept as it is.

Beside the file lie our lock, the notes and the journal, named after it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext, suppress
from pathlib import Path
from typing import TypeAlias

from bearerd.clock import Clock
from bearerd.credential.store import auth_json
from bearerd.credential.store.auth_json import Document
from bearerd.credential.store.codex import codex_locks
from bearerd.credential.store.journal import Journal
from bearerd.credential.store.state import StoreState
from bearerd.credential.token import Credential
from bearerd.errors import LoginRequired, StoreError
from bearerd.files import atomic
from bearerd.files.flock import flock

TORN_READ_TRIES = 6
TORN_READ_WAIT_SECONDS = 0.05
"""A foreign writer may truncate in place (Codex before 0.169); 0.25 s outlasts it."""

MAX_FILE_BYTES = 1 << 20
"""A login is about 5 KiB; what is larger is no login."""


FileStamps: TypeAlias = tuple[atomic.FileStamp | None, atomic.FileStamp | None]
"""Of the credential file and of the notes."""


class FileStore:
    """One `auth.json`. Owns the memory of what was last seen in it.

    *rescue* is where its journal goes when the folder cannot be written.
    """

    def __init__(self, path: Path, *, clock: Clock, rescue: Path | None = None) -> None:
        self._path = path
        self._clock = clock
        self._seen: FileStamps = (None, None)
        self._document: Document | None = None
        self._lock_path: Path | None = None  # what we have locked is never unlinked
        places = (self._beside(".bearerd-journal"), rescue)
        self.journal = Journal(
            [place for place in places if place is not None],
            is_gone=lambda: self._is_place_gone,
        )

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
        return self._stamps() != self._seen

    async def replace(
        self, began_from: Credential, renewed: Credential
    ) -> Credential | None:
        """Write *renewed* over what *began_from* names. See `Store.replace`."""
        target = atomic.real_path(self._path)
        self._check_place()
        try:
            # Where nothing can be made beside the file, Codex can take no lock either.
            is_alone = self._is_alone(target)
            locks = nullcontext() if is_alone else codex_locks(target, self._clock)
            async with locks:
                stored = await self._stored_meanwhile()
                if stored is not None and stored != began_from:
                    return stored
                await self._write(target, renewed)
        except TimeoutError as error:
            raise StoreError(
                f"{error}: locked by another program for too long"
            ) from None
        except OSError as error:
            raise self._write_error(self._path, error) from error
        return None

    @asynccontextmanager
    async def lock(self, timeout_seconds: float) -> AsyncIterator[None]:
        """Hold the flock beside the file's target. See `Store.lock`.

        The target's folder, so that two links to one file share one lock. Where only
        the file itself was mounted, it is its own lock: its folder is another one for
        each container, and it is written in place, so its inode stays.
        """
        path = self._beside(".bearerd-lock")
        target = atomic.real_path(self._path)
        if self.is_written_in_place and os.access(target, os.W_OK):
            path = target
        self._check_place()
        async with AsyncExitStack() as held:
            try:
                if self._document is None:
                    # Only before there is a login: a folder that vanishes under one
                    # must not come back empty, which would look like a sign-out.
                    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                await held.enter_async_context(
                    flock(path, self._clock, timeout_seconds)
                )
            except TimeoutError:
                raise
            except OSError as error:
                raise self._write_error(path, error) from error
            self._lock_path = path
            yield

    @property
    def is_written_in_place(self) -> bool:
        """Say whether the file is a mount point, which no rename can replace."""
        return atomic.is_mount_point(self._path)

    @property
    def _is_place_gone(self) -> bool:
        """Say whether the folder is gone, or is another one: a volume was unmounted.

        Who signs out takes the file away and leaves the lock.
        """
        if self._document is None or self._path.exists():
            return False
        lock = self._lock_path
        return not self._path.parent.exists() or bool(lock and not lock.exists())

    def _check_place(self) -> None:
        """Raise rather than make a new file, or lock, where an old one has vanished."""
        if self._is_place_gone:
            raise StoreError(
                f"{self._path}: its folder is gone; mount it again, or sign in with "
                "`bearerd login`"
            )

    def _is_alone(self, target: Path) -> bool:
        """Say whether the file was mounted by itself into a place that is read-only."""
        return not os.access(target.parent, os.W_OK) and self.is_written_in_place

    def read_state(self) -> StoreState:
        """Return the notes, or empty ones. See `Store.read_notes`."""
        try:
            return StoreState.from_json(self._beside(".bearerd-state").read_bytes())
        except OSError:
            return StoreState()

    def write_state(self, state: StoreState) -> None:
        """Replace the notes file. See `Store.write_notes`."""
        path = self._beside(".bearerd-state")
        try:
            # Lost notes cost one call, and a sync here would hold up every stream.
            atomic.replace(path, state.to_json(), is_durable=False)
        except OSError as error:
            raise self._write_error(path, error) from error
        self._seen = (self._seen[0], atomic.file_stamp(path))

    def _stamps(self) -> FileStamps:
        state = self._beside(".bearerd-state")
        return atomic.file_stamp(self._path), atomic.file_stamp(state)

    def _beside(self, suffix: str) -> Path:
        target = atomic.real_path(self._path)
        return target.with_name(target.name + suffix)

    async def _write(self, target: Path, renewed: Credential) -> None:
        document = auth_json.renewed(self._document or {}, renewed, self._clock.now())
        content = auth_json.encode(document)
        write = (
            atomic.write_in_place
            if self.is_written_in_place
            else atomic.replace_in_folder
        )
        await atomic.in_thread(write, target, content)
        for leftover in atomic.stale_temporaries(target):  # they hold tokens
            with suppress(OSError):
                leftover.unlink()
        self._seen = (atomic.file_stamp(self._path), self._seen[1])
        self._document = document

    async def _stored_meanwhile(self) -> Credential | None:
        """Return what the file holds, None if that is unreadable but there."""
        try:
            return await self.load()
        except LoginRequired as absence:
            if absence.reason == "missing":
                raise
            return None

    def _read(self) -> Credential:
        seen = self._stamps()
        try:
            with self._path.open("rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            self._seen = seen
            if self._is_place_gone:
                raise LoginRequired(
                    f"{self._path}: its folder is gone; mount it again, or sign in "
                    "with `bearerd login`",
                    reason="unreadable",
                ) from None
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
            document = auth_json.decode(content)
            credential = auth_json.credential(document)
        except auth_json.InvalidDocument as why:
            raise LoginRequired(
                f"{self._path}: {why}; sign in again with `bearerd login`, or put a "
                "whole auth.json there",
                reason="unreadable",
            ) from None
        self._document = document
        return credential

    @staticmethod
    def _write_error(path: Path, error: OSError) -> StoreError:
        reason = error.strerror or str(error)
        if isinstance(error, FileExistsError):
            reason = "its folder is a file"  # what mkdir finds there
        return StoreError(
            f"{path}: cannot be written: {reason}; make its folder "
            "writable for this user, or set `store` to another place"
        )
