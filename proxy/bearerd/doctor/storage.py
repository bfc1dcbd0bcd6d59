"""Checks where a login is stored: file, folder, lock, file system, and rescue file."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Final

from bearerd.clock import Clock
from bearerd.credential.store.auth_json import utc_text
from bearerd.credential.store.file_store import FileStore
from bearerd.doctor.findings import Finding, failed, ok, warning
from bearerd.errors import StoreError, StoreUnavailable
from bearerd.files.atomic import real_path
from bearerd.files.flock import LockHolder
from bearerd.files.mounts import Mount, file_system_of, is_mount_point, is_network

GROUP_AND_OTHERS: Final = 0o077

HELD_LONG_SECONDS: Final = 60.0
"""A refresh takes seconds. One that the authority does not answer holds the lock for some
minutes; then it is worth a look too."""


async def check_storage(
    store: Path, rescue: Path, clock: Clock, mounts: Sequence[Mount]
) -> list[Finding]:
    """Check the place of *store*, and the *rescue* file that belongs to it.

    Creates nothing but the lock file, which is never removed.
    """
    is_in_place = is_mount_point(store)
    findings = [*_check_file(store, is_in_place=is_in_place)]
    folder = _check_folder(store, is_in_place=is_in_place)
    findings.append(folder)
    if folder.verdict != "failed" and store.parent.is_dir():
        findings.append(await _check_lock(store, clock))
    findings.extend(_check_file_system(store, mounts))
    findings.append(check_rescue(rescue))
    return findings


def _check_file(store: Path, *, is_in_place: bool) -> Iterator[Finding]:
    """Check who can read the file. A missing file is reported with the login."""
    try:
        status = store.stat()
    except FileNotFoundError:
        return
    except OSError as error:
        remedy = "give this user access to its folder"
        yield failed("file", f"{store}: {error.strerror}", remedy)
        return
    mode = stat.S_IMODE(status.st_mode)
    if not os.access(store, os.R_OK):
        remedy = "give it to the user that runs bearerd"
        yield failed("file", f"{store} cannot be read", remedy)
    elif mode & GROUP_AND_OTHERS:
        yield warning(
            "file",
            f"{store} is open to other users (mode {mode:04o})",
            f"chmod 600 {store}",
        )
    else:
        yield ok("file", f"{store} is private (mode {mode:04o})")
    if is_in_place:
        yield warning(
            "file",
            f"{store} is mounted as a single file, so it is written in place: a crash "
            "during a write leaves a torn file until bearerd starts again",
            "mount its folder instead of the file",
        )


def _check_folder(store: Path, *, is_in_place: bool) -> Finding:
    target = real_path(store)
    folder = _existing_folder(target.parent)
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        if is_in_place:
            return warning(
                "folder",
                f"{folder} cannot be written, so the state and the journal are not "
                "kept there",
                "mount the folder, and make it writable for the user that runs bearerd",
            )
        return failed(
            "folder",
            f"{folder} cannot be written, so no refresh can be stored",
            "make it writable for the user that runs bearerd, or set `store` to "
            "another path",
        )
    if folder != target.parent:
        return ok("folder", f"{target.parent} does not exist yet and can be created")
    return ok("folder", f"{folder} can be written")


async def _check_lock(store: Path, clock: Clock) -> Finding:
    """Take the lock, and check that it cannot be taken a second time."""
    try:
        async with FileStore(store, clock=clock).lock(0):
            if not await _is_locked(store, clock):
                return failed(
                    "lock",
                    "the lock beside the store was granted twice at the same time",
                    "move the store to a local file system; until then, let only one "
                    "process use it",
                )
    except TimeoutError:
        return await _held(store, clock)
    except (StoreError, StoreUnavailable) as error:
        remedy = "give the folder to the user that runs bearerd"
        return failed("lock", error.message, remedy)
    return ok("lock", "it can be taken, and excludes others")


async def _held(store: Path, clock: Clock) -> Finding:
    """Return what a lock that is held amounts to: a refresh, or a process that hangs."""
    holder: LockHolder | None = None
    with suppress(StoreUnavailable):
        holder = await FileStore(store, clock=clock).lock_holder()
    if holder is None:
        return ok("lock", "another process holds it at this moment")
    fact = (
        f"process {holder.pid} on {holder.host} holds it since {utc_text(holder.since)}"
    )
    if clock.now() - holder.since < HELD_LONG_SECONDS:
        return ok("lock", fact)
    return warning(
        "lock",
        f"{fact}, which is longer than a refresh that goes well; no other process can "
        "refresh this login",
        f"if process {holder.pid} is stopped or hangs, end it; what it has begun is "
        "finished by the next process",
    )


async def _is_locked(store: Path, clock: Clock) -> bool:
    try:
        async with FileStore(store, clock=clock).lock(0):
            return False
    except TimeoutError:
        return True


def _check_file_system(store: Path, mounts: Sequence[Mount]) -> Iterator[Finding]:
    target = real_path(store)
    file_system = file_system_of(PurePosixPath(target), mounts)
    if file_system is None:
        return
    if is_network(file_system):
        yield warning(
            "file system",
            f"{target.parent} is on {file_system}, where a lock may not exclude other "
            "machines",
            f"verify it with `bearerd selftest --store-dir {target.parent}`, and run "
            "bearerd on one machine only",
        )
    else:
        yield ok("file system", file_system)


def check_rescue(rescue: Path) -> Finding:
    """Check the file that keeps a new login while the store's folder is unwritable."""
    if rescue.exists():
        return warning(
            "rescue",
            f"{rescue} has the record of a refresh that could not be written to the "
            "store's folder, and perhaps a new login",
            "make the store's folder writable and run bearerd; never delete the record "
            "by hand",
        )
    if not os.access(_existing_folder(rescue.parent), os.W_OK | os.X_OK):
        return warning(
            "rescue",
            f"{rescue.parent} cannot be written, so a new login that cannot be stored "
            "is in memory only",
            "make it writable for the user that runs bearerd, or set XDG_STATE_HOME to "
            "another folder",
        )
    return ok("rescue", f"what cannot be stored is kept in {rescue}")


def _existing_folder(folder: Path) -> Path:
    """Return *folder*, or the closest folder above it that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder
