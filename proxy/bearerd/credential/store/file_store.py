"""The store in a file: Codex's `auth.json`, which Codex can use as well.

Its fields are those of `AuthDotJson` (codex-rs login/src/auth/storage.rs). bearerd reads
and writes `tokens`, `last_refresh` and `auth_mode`; every other field is unchanged.

The lock, the state, the journal and the quarantine are files beside it, named after it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
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
    unavailable_error,
)
from bearerd.credential.store.auth_json import Document
from bearerd.credential.store.codex import CODEX_LOCK_TIMEOUT_SECONDS, codex_locks
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
"""Another writer may truncate the file in place (Codex before 0.169). Its write takes
less than these 0.25 s."""


class FileStore:
    """One `auth.json`. Owns the stamps and the document of the last read or refresh.

    A sign-in and a sign-out through this object count as the writes of another writer:
    the stamps stay, so that the next `has_changed` and the next read find a new login.

    *rescue* is the path for the journal and the quarantine if the folder of the file
    cannot be written.
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
        self._has_read = False
        self._foreign_writes = 0
        self._document: Document | None = None
        journal = [self._file.beside(".bearerd-journal")]
        quarantine = [self._file.beside(".bearerd-quarantine")]
        if rescue is not None:
            journal.append(rescue)
            quarantine.append(rescue)
        self.journal = Journal(
            journal,
            is_folder_missing=lambda: self._file.is_folder_missing,
            reader=self._reader,
        )
        self.quarantine = Quarantine(quarantine, reader=self._reader)

    @property
    def name(self) -> str:
        """The path of the file, as configured."""
        return str(self._file.path)

    async def is_written_in_place(self) -> bool:
        """Return True if the file is a mount point, which no rename can replace."""
        return await self._reader.read(lambda: self._file.is_mount_point)

    @property
    def foreign_writes(self) -> int:
        """The number of reads that found the file changed by another writer."""
        return self._foreign_writes

    async def load(self) -> Credential:
        """Return the credential in the file. See `Store.load`."""
        for remaining in reversed(range(TORN_READ_TRIES)):
            snapshot = await self._read()
            problem = snapshot.problem
            if problem is None and snapshot.credential is not None:
                return snapshot.credential
            assert problem is not None  # noqa: S101 - a snapshot has one or the other
            # A file that held a login before may be torn, or missing, during a write.
            is_transient = self._document is not None and isinstance(
                problem, LoginRequired
            )
            if not remaining or not is_transient:
                raise problem
            await self._clock.sleep(TORN_READ_WAIT_SECONDS)
        raise AssertionError  # the last try returns or raises

    async def has_changed(self) -> bool:
        """Compare the stamps of file and state with the last ones."""
        try:
            return await self._reader.read(self._file.stamps) != self._seen
        except StoreUnavailable:
            return True

    async def replace(
        self, base: Credential, successor: Credential
    ) -> Credential | None:
        """Write *successor* over *base*. See `Store.replace`."""
        with self._store_errors():
            await self._reader.read(self._file.require_folder)
            is_isolated = await self._reader.read(self._file.is_isolated)
            target = await self._reader.read(lambda: self._file.target)
            # Codex cannot take its locks either in a folder that is not writable.
            locks = nullcontext() if is_isolated else codex_locks(target, self._clock)
            async with locks:
                stored = await self._load_unless_torn()
                if stored is not None and stored != base:
                    return stored
                await self._write(successor)
        return None

    @asynccontextmanager
    async def lock(self, timeout_seconds: float) -> AsyncIterator[None]:
        """Hold the flock beside the file. See `Store.lock`."""
        lock = await self._reader.read(self._file.prepare_lock)
        async with AsyncExitStack() as stack:
            held = flock(
                lock.path,
                self._clock,
                timeout_seconds,
                writes_holder=lock.is_lock_file,
            )
            try:
                await stack.enter_async_context(held)
            except TimeoutError:
                raise
            except OSError as error:
                raise unavailable_error(lock.path, error) from error
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
        """Replace the whole content of the file by *document*, under Codex's locks.

        Raises:
            StoreError: it could not be written; the file is unchanged.
        """
        await self._under_codex_locks(partial(self._file.write, document))

    async def remove_login(self) -> None:
        """Remove the file, under Codex's locks.

        Raises:
            StoreError: it could not be removed.
        """
        await self._under_codex_locks(self._file.remove)

    async def _under_codex_locks(self, change: Callable[[], object]) -> None:
        with self._store_errors():
            target = await self._reader.read(lambda: self._file.target)
            async with codex_locks(target, self._clock):
                await run_to_end(change)

    @contextmanager
    def _store_errors(self) -> Iterator[None]:
        """Raise StoreError for each error of a write or of a read before it."""
        try:
            yield
        except TimeoutError as error:
            if error.errno is not None:  # ETIMEDOUT, from a network mount
                raise write_error(self._file.path, error) from error
            raise StoreError(
                f"{error}: another program has held this lock for more than "
                f"{CODEX_LOCK_TIMEOUT_SECONDS:g} s; end that program"
            ) from None
        except OSError as error:
            raise write_error(self._file.path, error) from error
        except StoreUnavailable as error:
            raise StoreError(error.message) from error

    async def _read(self) -> Snapshot:
        try:
            snapshot = await self._reader.read(self._file.read)
        except StoreUnavailable as problem:
            return Snapshot(self._seen, problem=problem)
        is_changed = snapshot.stamps[0] != self._seen[0]
        self._foreign_writes += self._has_read and is_changed
        self._has_read, self._seen = True, snapshot.stamps
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

    async def _load_unless_torn(self) -> Credential | None:
        """Return the stored credential, or None if the file is torn."""
        try:
            return await self.load()
        except LoginRequired as error:
            if error.reason != "unreadable":
                raise
            return None


def write_error(path: Path, error: OSError) -> StoreError:
    """Return the error for a file that cannot be written."""
    reason = error.strerror or str(error)
    if isinstance(error, FileExistsError):
        reason = "its folder is a file"  # FileExistsError from mkdir
    remedy = "make its folder writable for this user"
    if isinstance(error, PermissionError):
        remedy = access_remedy(Path(error.filename or path))
    return StoreError(
        f"{path}: cannot be written: {reason}; {remedy}, or set `store` to another path"
    )
