"""The blocking half of the file store: reads and writes of one `auth.json`.

Every function here can block on a file system that hangs, so the store calls them in
threads (`files.threads`).
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from bearerd.credential.store import auth_json
from bearerd.credential.store.auth_json import Document
from bearerd.credential.store.reader import RETRY_AFTER_SECONDS
from bearerd.credential.store.state import StoreState
from bearerd.credential.token import Credential
from bearerd.errors import LoginRequired, StoreUnavailable
from bearerd.files import atomic
from bearerd.files.mounts import is_mount_point
from bearerd.files.owner import access_remedy, make_private_folder
from bearerd.files.regular import NotRegularError, read_regular

FILE_LIMIT_BYTES = 1 << 20
"""A login has about 5 KiB; a file above the limit is not a login."""

LOCK_SUFFIX = ".bearerd-lock"
STATE_SUFFIX = ".bearerd-state"

FileStamps: TypeAlias = tuple[atomic.FileStamp | None, atomic.FileStamp | None]
"""The stamps of the credential file and of the state file."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The content of the file at one moment.

    Either *document* and *credential* are set, or *problem*.
    """

    stamps: FileStamps
    document: Document | None = None
    credential: Credential | None = None
    problem: LoginRequired | StoreUnavailable | None = None


@dataclass(frozen=True, slots=True)
class StoreLock:
    """The file that is locked.

    *is_lock_file*: it has no other content, so the holder may write itself into it. A
    file that is mounted by itself is locked itself, and contains the login.
    """

    path: Path
    is_lock_file: bool


class AuthFile:
    """One `auth.json`. Owns the facts that tell an unmounted volume from a sign-out.

    A sign-out removes the file and leaves the lock file. If a file with a login is
    missing together with its lock file or its folder, the volume was unmounted.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.had_login = False  # a login was read or written at this path
        self._lock_path: Path | None = None  # the lock file, which is never unlinked

    @property
    def target(self) -> Path:
        """The path of the file itself, with all symbolic links resolved.

        The lock and the state lie beside the target, so two links to one file share them.
        """
        return atomic.real_path(self.path)

    def beside(self, suffix: str) -> Path:
        """Return the path of a file beside the target."""
        target = self.target
        return target.with_name(target.name + suffix)

    def stamps(self) -> FileStamps:
        """Return the stamps of the credential file and of the state file."""
        state = self.beside(STATE_SUFFIX)
        return atomic.file_stamp(self.path), atomic.file_stamp(state)

    def read(self) -> Snapshot:
        """Read the file; return an error in the snapshot instead of raising it."""
        stamps = self.stamps()
        try:
            content = read_regular(self.path, FILE_LIMIT_BYTES)
        except FileNotFoundError:
            return Snapshot(stamps, problem=self._missing_error())
        except OSError as error:
            return Snapshot(stamps, problem=unavailable_error(self.path, error))
        try:
            document = auth_json.decode(content)
            credential = auth_json.credential(document)
        except auth_json.InvalidDocument as error:
            return Snapshot(stamps, problem=self._invalid_error(error))
        self.had_login = True
        return Snapshot(stamps, document, credential)

    def write(self, document: Document) -> atomic.FileStamp:
        """Write *document* to the file durably; return the stamp of the written file.

        The stamp is taken before the rename. Another program may replace the file
        directly afterwards, and `has_changed` must detect that.

        Raises:
            OSError: it was not written.
        """
        target, content = self.target, auth_json.encode(document)
        if self.is_mount_point:
            stamp = atomic.write_in_place(target, content)
        else:
            stamp = atomic.replace(target, content, creates_folder=False)
        self.had_login = True
        atomic.remove_stale_temporaries(target)  # they contain tokens
        atomic.remove_stale_temporaries(self.beside(STATE_SUFFIX))
        return stamp

    def remove(self) -> None:
        """Remove the file itself; symbolic links to it stay."""
        self.target.unlink(missing_ok=True)

    def read_state(self) -> StoreState:
        """Return the state beside the file; an empty one if there is none.

        Raises:
            StoreUnavailable: the state file exists and cannot be read. It contains the
                account and the spent tokens, so it is not treated as empty.
        """
        path = self.beside(STATE_SUFFIX)
        try:
            return StoreState.from_json(read_regular(path, FILE_LIMIT_BYTES))
        except (FileNotFoundError, NotADirectoryError):
            return StoreState()
        except OSError as error:
            raise unavailable_error(path, error) from error

    def write_state(self, state: StoreState) -> atomic.FileStamp:
        """Replace the state file, without fsync: a lost state costs one call.

        Raises:
            OSError: it was not written. A missing folder is not created.
        """
        path = self.beside(STATE_SUFFIX)
        if self.is_folder_missing:
            raise FileNotFoundError(errno.ENOENT, "its folder is missing", str(path))
        return atomic.replace(
            path, state.to_json(), is_durable=False, creates_folder=False
        )

    def prepare_lock(self) -> StoreLock:
        """Return the file to lock; create its folder if necessary.

        The lock file lies beside the target. A file that is mounted by itself is its own
        lock: its folder differs between containers, and it is written in place, so its
        inode stays the same.

        Raises:
            StoreUnavailable: the folder is missing, or cannot be created.
        """
        self.require_folder()
        target = self.target
        is_own_lock = self.is_mount_point and os.access(target, os.W_OK)
        path = target if is_own_lock else self.beside(LOCK_SUFFIX)
        try:
            if not self.had_login:
                # Only before the first login. A folder that was unmounted later must
                # not be created empty, which would look like a sign-out.
                make_private_folder(path.parent)
        except OSError as error:
            raise unavailable_error(path, error) from error
        self._lock_path = path
        return StoreLock(path, is_lock_file=not is_own_lock)

    def require_folder(self) -> None:
        """Check that the folder exists, before a file or a lock is created in it.

        Raises:
            StoreUnavailable: the folder is missing: a volume was unmounted.
        """
        if self.is_folder_missing:
            raise StoreUnavailable(
                f"{self.path}: its folder is missing; mount it again, or sign in with "
                "`bearerd login`",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )

    @property
    def is_mount_point(self) -> bool:
        """True if the file itself is a mount point, which no rename can replace."""
        return is_mount_point(self.path)

    @property
    def is_folder_missing(self) -> bool:
        """True if the folder is missing, or another one is in its place.

        Then a volume was unmounted: a sign-out leaves the folder and the lock file.
        """
        if not self.had_login or _exists(self.path):
            return False
        lock = self._lock_path
        return not _exists(self.path.parent) or bool(lock and not _exists(lock))

    def is_isolated(self) -> bool:
        """Return True if the file is a mount point in a folder that is not writable."""
        return self.is_mount_point and not os.access(self.target.parent, os.W_OK)

    def _missing_error(self) -> LoginRequired | StoreUnavailable:
        try:
            self.require_folder()
        except StoreUnavailable as error:
            return error
        return LoginRequired(
            f"{self.path}: there is no credential file; sign in with `bearerd login`",
            reason="missing",
        )

    def _invalid_error(self, error: auth_json.InvalidDocument) -> LoginRequired:
        return LoginRequired(
            f"{self.path}: {error}; sign in again with `bearerd login`, or copy a valid "
            "auth.json there",
            reason="unreadable" if error.is_torn else "no_login",
        )


def unavailable_error(path: Path, error: OSError) -> StoreUnavailable:
    """Return the error for a store that cannot be read or locked."""
    reason = error.strerror or str(error)
    remedy = "check the file system"
    if isinstance(error, PermissionError):
        remedy = access_remedy(Path(error.filename or path))
    elif isinstance(error, FileExistsError | NotADirectoryError):
        reason = "its folder is a file"
        remedy = "set `store` to another path"
    elif isinstance(error, NotRegularError):
        remedy = "move it away, or set `store` to another path"
    return StoreUnavailable(
        f"{path}: cannot be read: {reason}; {remedy}",
        retry_after_seconds=RETRY_AFTER_SECONDS,
    )


def _exists(path: Path) -> bool:
    """Return True unless *path* is known not to exist.

    EACCES, ESTALE and EIO, for which `Path.exists` raises, leave that open.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True
