"""The credential file: Codex's `auth.json`, so that Codex can go on with it.

Its fields are those of `AuthDotJson` (codex-rs login/src/auth/storage.rs). bearerd reads
and writes `tokens`, `last_refresh` and `auth_mode`; every other field stays as it is.

Beside the file lie the lock, the state, the journal and the quarantine, named after it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path

from bearerd.clock import Clock
from bearerd.credential.store import auth_json
from bearerd.credential.store.auth_file import (
    LOCK_SUFFIX,
    STATE_SUFFIX,
    AuthFile,
    FileStamps,
    Snapshot,
    unavailable,
)
from bearerd.credential.store.auth_json import Document
from bearerd.credential.store.codex import codex_locks
from bearerd.credential.store.journal import Journal
from bearerd.credential.store.quarantine import Quarantine
from bearerd.credential.store.reader import READ_TIMEOUT_SECONDS, StoreReader
from bearerd.credential.store.state import StoreState
from bearerd.credential.token import Credential
from bearerd.errors import LoginRequired, StoreError, StoreUnavailable
from bearerd.files.flock import LockHolder, flock, read_holder
from bearerd.files.owner import access_remedy
from bearerd.files.threads import run_to_end

TORN_READ_TRIES = 6
TORN_READ_WAIT_SECONDS = 0.05
"""A foreign writer may truncate in place (Codex before 0.169); 0.25 s outlasts it."""


class FileStore:
    """One `auth.json`. Owns the memory of what was last seen in it.

    *rescue* is where the journal and the quarantine go if the folder cannot be written.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock,
        rescue: Path | None = None,
        read_timeout_seconds: float = READ_TIMEOUT_SECONDS,
    ) -> None:
        self._file = AuthFile(path)
        self._clock = clock
        self._reader = StoreReader(str(path), timeout_seconds=read_timeout_seconds)
        self._seen: FileStamps = (None, None)
        self._foreign_writes = 0
        self._document: Document | None = None
        journal = [self._file.beside(".bearerd-journal")]
        quarantine = [self._file.beside(".bearerd-quarantine")]
        if rescue is not None:
            journal.append(rescue)
            quarantine.append(rescue)
        self.journal = Journal(
            journal, is_gone=lambda: self._file.is_place_gone, reader=self._reader
        )
        self.quarantine = Quarantine(quarantine, reader=self._reader)

    @property
    def name(self) -> str:
        """The path as it was given."""
        return str(self._file.path)

    async def is_written_in_place(self) -> bool:
        """Return True if the file is a mount point, which no rename can replace."""
        return await self._reader.read(lambda: self._file.is_mount_point)

    @property
    def foreign_writes(self) -> int:
        """How often the file was found touched by another writer."""
        return self._foreign_writes

    async def load(self) -> Credential:
        """Return the credential in the file. See `Store.load`."""
        for remaining in reversed(range(TORN_READ_TRIES)):
            snapshot = await self._read()
            problem = snapshot.problem
            if problem is None and snapshot.credential is not None:
                return snapshot.credential
            assert problem is not None  # noqa: S101 - a snapshot has one or the other
            # Only what was whole before can be torn, or away between two writes, now.
            is_passing = self._document is not None and isinstance(
                problem, LoginRequired
            )
            if not remaining or not is_passing:
                raise problem
            await self._clock.sleep(TORN_READ_WAIT_SECONDS)
        raise AssertionError  # the last try returns or raises

    async def has_changed(self) -> bool:
        """Compare identity, size and time of file and state with what was last seen."""
        try:
            return await self._reader.read(self._file.stamps) != self._seen
        except StoreUnavailable:
            return True

    async def replace(
        self, base: Credential, successor: Credential
    ) -> Credential | None:
        """Write *successor* over *base*. See `Store.replace`."""
        try:
            await self._reader.read(self._file.require_place)
            is_isolated = await self._reader.read(self._file.is_isolated)
            target = await self._reader.read(lambda: self._file.target)
            # Where no file can be made beside the login, Codex can take no lock either.
            locks = nullcontext() if is_isolated else codex_locks(target, self._clock)
            async with locks:
                stored = await self._stored_meanwhile()
                if stored is not None and stored != base:
                    return stored
                await self._write(successor)
        except TimeoutError as error:
            if error.errno is not None:  # ETIMEDOUT, from a network mount
                raise write_error(self._file.path, error) from error
            raise StoreError(
                f"{error}: locked by another program for too long"
            ) from None
        except OSError as error:
            raise write_error(self._file.path, error) from error
        except StoreUnavailable as error:
            raise StoreError(error.message) from error
        return None

    @asynccontextmanager
    async def lock(self, timeout_seconds: float) -> AsyncIterator[None]:
        """Hold the flock beside the file. See `Store.lock`."""
        path = await self._reader.read(self._file.prepare_lock)
        names_holder = path.name.endswith(LOCK_SUFFIX)
        async with AsyncExitStack() as stack:
            lock = flock(path, self._clock, timeout_seconds, names_holder=names_holder)
            try:
                await stack.enter_async_context(lock)
            except TimeoutError:
                raise
            except OSError as error:
                raise unavailable(path, error) from error
            yield

    async def lock_holder(self) -> LockHolder | None:
        """Return the process that took the lock last. See `Store.lock_holder`."""
        path = await self._reader.read(lambda: self._file.beside(LOCK_SUFFIX))
        return await self._reader.read(partial(read_holder, path))

    async def read_state(self) -> StoreState:
        """Return the state. See `Store.read_state`."""
        return await self._reader.read(self._file.read_state)

    async def write_state(self, state: StoreState) -> None:
        """Replace the state file. See `Store.write_state`."""
        try:
            stamp = await run_to_end(partial(self._file.write_state, state))
        except OSError as error:
            raise write_error(Path(f"{self.name}{STATE_SUFFIX}"), error) from error
        self._seen = (self._seen[0], stamp)

    async def replace_login(self, document: Document) -> None:
        """Make *document* the whole content of the file, under Codex's locks.

        Raises:
            StoreError: it could not be written; the file holds what it held before.
        """
        await self._under_codex_locks(partial(self._replace_login, document))

    async def remove_login(self) -> None:
        """Remove the file, under Codex's locks.

        Raises:
            StoreError: it could not be removed.
        """
        await self._under_codex_locks(self._file.remove)

    async def _under_codex_locks(self, change: Callable[[], None]) -> None:
        try:
            target = await self._reader.read(lambda: self._file.target)
            async with codex_locks(target, self._clock):
                await run_to_end(change)
        except TimeoutError as error:
            if error.errno is not None:  # ETIMEDOUT, from a network mount
                raise write_error(self._file.path, error) from error
            raise StoreError(
                f"{self.name}: {error} is held by another program; end it, and try again"
            ) from None
        except OSError as error:
            raise write_error(self._file.path, error) from error
        except StoreUnavailable as error:
            raise StoreError(error.message) from error

    def _replace_login(self, document: Document) -> None:
        self._file.write(document)

    async def _read(self) -> Snapshot:
        try:
            snapshot = await self._reader.read(self._file.read)
        except StoreUnavailable as problem:
            return Snapshot(self._seen, problem=problem)
        self._foreign_writes += snapshot.stamps[0] != self._seen[0]
        self._seen = snapshot.stamps
        if snapshot.document is not None:
            self._document = snapshot.document
        return snapshot

    async def _write(self, successor: Credential) -> None:
        document = auth_json.with_tokens(
            self._document or {}, successor, self._clock.now()
        )
        stamp = await run_to_end(partial(self._file.write, document))
        self._seen = (stamp, self._seen[1])
        self._document = document

    async def _stored_meanwhile(self) -> Credential | None:
        """Return what the file holds, or None if it is torn: then it is written over."""
        try:
            return await self.load()
        except LoginRequired as absence:
            if absence.reason != "unreadable":
                raise
            return None


def write_error(path: Path, error: OSError) -> StoreError:
    """Return the error for a file that cannot be written."""
    reason = error.strerror or str(error)
    if isinstance(error, FileExistsError):
        reason = "its folder is a file"  # what mkdir finds there
    remedy = "make its folder writable for this user"
    if isinstance(error, PermissionError):
        remedy = access_remedy(Path(error.filename or path))
    return StoreError(
        f"{path}: cannot be written: {reason}; {remedy}, or set `store` to another place"
    )
