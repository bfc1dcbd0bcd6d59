"""The blocking half of the file store: one `auth.json`, read and written with care.

Every function here may block on a file system that hangs, so the store calls them in
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
"""A login is about 5 KiB; a larger file is no login."""

LOCK_SUFFIX = ".bearerd-lock"
STATE_SUFFIX = ".bearerd-state"

FileStamps: TypeAlias = tuple[atomic.FileStamp | None, atomic.FileStamp | None]
"""Of the credential file and of the state file."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the file held when it was read. *document* is None if it held no login."""

    stamps: FileStamps
    document: Document | None = None
    credential: Credential | None = None
    problem: LoginRequired | StoreUnavailable | None = None


class AuthFile:
    """Owns the path, and what tells a vanished folder from a sign-out."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.had_login = False  # a login has been read or written here
        self._locked_path: Path | None = None  # a lock file is never unlinked

    @property
    def target(self) -> Path:
        """The file itself, over all links: two links to one file share what lies beside."""
        return atomic.real_path(self.path)

    def beside(self, suffix: str) -> Path:
        """Return the path of a file beside the target."""
        target = self.target
        return target.with_name(target.name + suffix)

    def stamps(self) -> FileStamps:
        """Return identity, size and time of the file and of the state."""
        state = self.beside(STATE_SUFFIX)
        return atomic.file_stamp(self.path), atomic.file_stamp(state)

    def read(self) -> Snapshot:
        """Read the file. What is wrong with it is in the snapshot."""
        stamps = self.stamps()
        try:
            content = read_regular(self.path, FILE_LIMIT_BYTES)
        except FileNotFoundError:
            return Snapshot(stamps, problem=self._missing())
        except OSError as error:
            return Snapshot(stamps, problem=unavailable(self.path, error))
        try:
            document = auth_json.decode(content)
            credential = auth_json.credential(document)
        except auth_json.InvalidDocument as why:
            return Snapshot(stamps, problem=self._no_login(why))
        self.had_login = True
        return Snapshot(stamps, document, credential)

    def write(self, document: Document) -> atomic.FileStamp:
        """Put *document* into the file durably; return the stamp of what was written.

        Another program may replace the file at once, and that must be seen as a change.

        Raises:
            OSError: it was not written.
        """
        target, content = self.target, auth_json.encode(document)
        if self.is_mount_point:
            stamp = atomic.write_in_place(target, content)
        else:
            stamp = atomic.replace(target, content, makes_folder=False)
        self.had_login = True
        atomic.remove_stale_temporaries(target)  # they hold tokens
        atomic.remove_stale_temporaries(self.beside(STATE_SUFFIX))
        return stamp

    def remove(self) -> None:
        """Remove the file itself; a link to it would only hide where it was."""
        self.target.unlink(missing_ok=True)

    def read_state(self) -> StoreState:
        """Return the state beside the file; an empty one if there is none.

        Raises:
            StoreUnavailable: there is one, and it cannot be read. To take it for empty
                would forget the account and the spent tokens.
        """
        path = self.beside(STATE_SUFFIX)
        try:
            return StoreState.from_json(read_regular(path, FILE_LIMIT_BYTES))
        except (FileNotFoundError, NotADirectoryError):
            return StoreState()
        except OSError as error:
            raise unavailable(path, error) from error

    def write_state(self, state: StoreState) -> atomic.FileStamp:
        """Replace the state file, not durably: a lost state costs one call.

        Raises:
            OSError: it was not written. A folder that is gone is not made anew.
        """
        path = self.beside(STATE_SUFFIX)
        if self.is_place_gone:
            raise FileNotFoundError(errno.ENOENT, "its folder is gone", str(path))
        return atomic.replace(
            path, state.to_json(), is_durable=False, makes_folder=False
        )

    def prepare_lock(self) -> Path:
        """Return the path to lock, in a folder that exists.

        It lies beside the target. If only the file itself was mounted, the file is its
        own lock: its folder is another one in each container, and it is written in
        place, so its inode stays.

        Raises:
            StoreUnavailable: the folder has vanished, or cannot be made.
        """
        self.require_place()
        target = self.target
        path = self.beside(LOCK_SUFFIX)
        if self.is_mount_point and os.access(target, os.W_OK):
            path = target
        try:
            if not self.had_login:
                # Only before there is a login: a folder that vanishes under one must
                # not come back empty, which would look like a sign-out.
                make_private_folder(path.parent)
        except OSError as error:
            raise unavailable(path, error) from error
        self._locked_path = path
        return path

    def require_place(self) -> None:
        """Raise rather than make a new file, or lock, where an old one has vanished.

        Raises:
            StoreUnavailable: the folder is gone.
        """
        if self.is_place_gone:
            raise StoreUnavailable(
                f"{self.path}: its folder is gone; mount it again, or sign in with "
                "`bearerd login`",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )

    @property
    def is_mount_point(self) -> bool:
        """True if the file itself is mounted: no rename can replace it."""
        return is_mount_point(self.path)

    @property
    def is_place_gone(self) -> bool:
        """True if the folder is gone or is another one: a volume was unmounted.

        A sign-out removes the file and leaves the lock.
        """
        if not self.had_login or _exists(self.path):
            return False
        lock = self._locked_path
        return not _exists(self.path.parent) or bool(lock and not _exists(lock))

    def is_isolated(self) -> bool:
        """Return True if the file was mounted by itself into a read-only folder."""
        return self.is_mount_point and not os.access(self.target.parent, os.W_OK)

    def _missing(self) -> LoginRequired | StoreUnavailable:
        try:
            self.require_place()
        except StoreUnavailable as gone:
            return gone
        return LoginRequired(
            f"{self.path}: there is no credential file; sign in with `bearerd login`",
            reason="missing",
        )

    def _no_login(self, why: auth_json.InvalidDocument) -> LoginRequired:
        return LoginRequired(
            f"{self.path}: {why}; sign in again with `bearerd login`, or put a whole "
            "auth.json there",
            reason="unreadable" if why.is_torn else "no_login",
        )


def unavailable(path: Path, error: OSError) -> StoreUnavailable:
    """Return the error for a store that cannot be read or locked."""
    reason = error.strerror or str(error)
    remedy = "look at the file system"
    if isinstance(error, PermissionError):
        remedy = access_remedy(Path(error.filename or path))
    elif isinstance(error, FileExistsError | NotADirectoryError):
        reason = "its folder is a file"
        remedy = "set `store` to another place"
    elif isinstance(error, NotRegularError):
        remedy = "move it away, or set `store` to another place"
    return StoreUnavailable(
        f"{path}: cannot be read: {reason}; {remedy}",
        retry_after_seconds=RETRY_AFTER_SECONDS,
    )


def _exists(path: Path) -> bool:
    """Return False only if *path* is known not to exist.

    `Path.exists` raises for EACCES, ESTALE and EIO, none of which is an answer.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True
