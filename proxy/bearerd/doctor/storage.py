"""The place of a store: can its file be read and replaced, and does its lock exclude?"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from bearerd.clock import Clock
from bearerd.credential.store.file_store import FileStore
from bearerd.doctor.finding import Finding, failed, ok, warning
from bearerd.errors import StoreError
from bearerd.files import atomic
from bearerd.files.mounts import file_system_of, is_network

OTHERS = 0o077


async def check_place(path: Path, clock: Clock, mounts: Path) -> list[Finding]:
    """Look at the store's file, its folder, its lock and its file system.

    *mounts* is the kernel's table. Nothing is left behind but the lock file.
    """
    is_in_place = atomic.is_mount_point(path)
    findings = [*_file(path, is_in_place=is_in_place)]
    findings.append(_folder(path, is_in_place=is_in_place))
    if findings[-1].verdict != "failed" and path.parent.is_dir():
        findings.append(await _lock(path, clock))
    findings.extend(_file_system(path, mounts))
    return findings


def _file(path: Path, *, is_in_place: bool) -> Iterator[Finding]:
    """Say who may read the file; that it is missing is told where the login is."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return
    except OSError as error:
        yield failed(
            "file", f"{path}: {error.strerror}", "let this user into its folder"
        )
        return
    mode = stat.S_IMODE(status.st_mode)
    if not os.access(path, os.R_OK):
        yield failed("file", f"{path} cannot be read", "give it to the user of bearerd")
    elif mode & OTHERS:
        yield warning(
            "file", f"{path} is open to others (mode {mode:04o})", f"chmod 600 {path}"
        )
    else:
        yield ok("file", f"{path} is private (mode {mode:04o})")
    if is_in_place:
        yield warning(
            "file",
            f"{path} is mounted as a single file, so it is written in place: a crash "
            "at that moment tears it until bearerd starts again",
            "mount its folder instead of the file",
        )


def _folder(path: Path, *, is_in_place: bool) -> Finding:
    target = path.resolve()
    folder = target.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    there = target.parent.is_dir()
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        if is_in_place:
            return warning(
                "folder",
                f"{folder} cannot be written, so notes and journal are not kept there",
                "mount the folder, and let the user of bearerd write to it",
            )
        return failed(
            "folder",
            f"{folder} cannot be written, so no refresh can be stored",
            "make it writable for the user of bearerd, or set `store` to another place",
        )
    if not there:
        return ok("folder", f"{target.parent} is not there yet, and can be made")
    return ok("folder", f"{folder} can be written")


async def _lock(path: Path, clock: Clock) -> Finding:
    """Take the lock, and try to take it once more by another descriptor."""
    try:
        async with FileStore(path, clock=clock).lock(0):
            if not await _is_taken(path, clock):
                return failed(
                    "lock",
                    "the lock beside the store was given to two at once",
                    "move the store to a local file system; until then one process may "
                    "use it",
                )
    except TimeoutError:
        return ok("lock", "another process holds it at this moment")
    except StoreError as error:
        return failed("lock", error.message, "give the folder to the user of bearerd")
    return ok("lock", "can be taken, and keeps others out")


async def _is_taken(path: Path, clock: Clock) -> bool:
    try:
        async with FileStore(path, clock=clock).lock(0):
            return False
    except TimeoutError:
        return True


def _file_system(path: Path, mounts: Path) -> Iterator[Finding]:
    target = path.resolve()
    try:
        table = mounts.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return  # no Linux
    kind = file_system_of(PurePosixPath(target), table)
    if kind is None:
        return
    if is_network(kind):
        yield warning(
            "file system",
            f"{target.parent} is on {kind}, where locks may not hold between machines",
            f"prove it with `bearerd selftest --store-dir {target.parent}`, and let "
            "bearerd run on one machine only",
        )
    else:
        yield ok("file system", kind)
