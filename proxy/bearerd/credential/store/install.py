"""A new login goes into its store, and an old one out of it. Knows no network.

Both are done under the store's lock, so that no refresh is under way meanwhile: what it
brought would be written over the new login, or bring the old one back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from bearerd.clock import Clock
from bearerd.credential.store import auth_json
from bearerd.credential.store.codex import codex_locks
from bearerd.credential.store.file_store import FileStore
from bearerd.credential.store.state import Account, StoreState
from bearerd.credential.token import Credential
from bearerd.errors import LoginRequired, StoreError
from bearerd.files import atomic


async def prepare(path: Path, *, clock: Clock) -> None:
    """Make sure that there is a place for a login, before anybody is asked for one.

    Raises:
        StoreError: there is none.
    """
    with suppress(TimeoutError):
        async with FileStore(path, clock=clock).lock(0):
            pass  # the place for the lock is there; who holds it is no matter


async def install_login(
    path: Path, credential: Credential, *, clock: Clock, lock_timeout_seconds: float
) -> Credential | None:
    """Make *credential* the login at *path*; return the one that was there, if any.

    The whole document is new: what another login left in it, such as an API key, is not
    this one's. To sign in is to choose the account, so the profile belongs to it from
    now on, and what was noted of the old login is forgotten.

    Raises:
        StoreError: it could not be written; the store holds what it held before.
    """
    store = FileStore(path, clock=clock)
    document = auth_json.renewed({}, credential, clock.now())
    content = auth_json.encode(document)
    async with _locked(store, lock_timeout_seconds):
        previous = await _stored(store)
        with _blaming(path, "the new login cannot be written"):
            await _replace(store, path, content, clock)
        await store.journal.clear()
        store.write_state(StoreState(account=Account.of(credential)))
    return previous


async def remove_login(
    path: Path,
    *,
    clock: Clock,
    lock_timeout_seconds: float,
    revoke: Callable[[Credential], Awaitable[None]],
) -> bool:
    """Take the login at *path* away; say whether there was a file.

    *revoke* is given the login, if it can be read, while no refresh can change it; it
    must not fail.

    Raises:
        StoreError: the file could not be removed.
    """
    store = FileStore(path, clock=clock)
    if not _target(path).exists():
        return False
    async with _locked(store, lock_timeout_seconds):
        stored = await _stored(store)
        if stored is not None:
            await revoke(stored)
        await store.journal.clear()
        with _blaming(path, "the login cannot be removed"):
            await _unlink(path, clock)
    return True


@asynccontextmanager
async def _locked(store: FileStore, timeout_seconds: float) -> AsyncIterator[None]:
    try:
        async with store.lock(timeout_seconds):
            yield
    except TimeoutError as error:
        raise StoreError(
            f"{error}: another process has held this lock for {timeout_seconds:.0f} s; "
            "end that process, or wait for it, and try again"
        ) from None


@contextmanager
def _blaming(path: Path, what: str) -> Iterator[None]:
    """Say *what* could not be done, and why. A `TimeoutError` names a lock of Codex's."""
    try:
        yield
    except TimeoutError as error:
        raise StoreError(
            f"{path}: {what}: {error} is held by another program"
        ) from None
    except OSError as error:
        raise StoreError(
            f"{path}: {what}: {error.strerror or error}; give it and its folder to this "
            "user, and try again"
        ) from error


async def _replace(store: FileStore, path: Path, content: bytes, clock: Clock) -> None:
    target = _target(path)
    write = atomic.write_in_place if store.is_written_in_place else atomic.replace
    async with codex_locks(target, clock):
        await asyncio.to_thread(write, target, content)


async def _unlink(path: Path, clock: Clock) -> None:
    """Remove the file itself; a link to it would only hide where it was."""
    target = _target(path)
    async with codex_locks(target, clock):
        await asyncio.to_thread(target.unlink, missing_ok=True)


def _target(path: Path) -> Path:
    return path.resolve()


async def _stored(store: FileStore) -> Credential | None:
    try:
        return await store.load()
    except LoginRequired:
        return None
