"""The owner of new files: a process run by root gives them to the owner of the folder.

Otherwise `sudo bearerd login`, in the folder of a service user, would create a file that
belongs to root with mode 0600, and the daemon could neither read nor replace it.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

ROOT = 0


def give_to_folder_owner(descriptor: int, folder: Path) -> None:
    """Give the open file to the owner of *folder*, if this process is run by root.

    Raises:
        OSError: the file system does not allow it.
    """
    if not _is_root():
        return
    status = folder.stat()
    if status.st_uid != ROOT:
        os.fchown(descriptor, status.st_uid, status.st_gid)


def make_private_folder(folder: Path) -> None:
    """Create *folder* and its missing parents, with mode 0700.

    A process run by root gives each new folder to the owner of its parent.

    Raises:
        OSError: it cannot be created; FileExistsError if a file has its name.
    """
    if folder.is_dir():
        return
    make_private_folder(folder.parent)
    folder.mkdir(exist_ok=True, mode=0o700)
    if _is_root():
        status = folder.parent.stat()
        if status.st_uid != ROOT:
            os.chown(folder, status.st_uid, status.st_gid)


def access_remedy(path: Path) -> str:
    """Return the command that gives this user access to *path*, or general advice.

    If the file or its folder belongs to another user, the text contains both uids. The
    command for a file includes the files beside it with its name, since one process of
    the other user has created all of them. No command is recursive: the folder may
    contain other files.
    """
    general = "let this user read and write it"
    if not hasattr(os, "geteuid"):
        return general
    user = os.geteuid()
    for candidate in (path, path.parent):
        try:
            owner = candidate.stat().st_uid
        except OSError:
            continue
        if owner == user:
            continue
        fact = f"{candidate} belongs to uid {owner} and this process runs as uid {user}"
        if user == ROOT:  # a network mount that gives root no rights
            return f"{fact}: run this command as its owner, with `sudo -u '#{owner}'`"
        if candidate == path.parent:
            return (
                f"{fact}: set `store` to a folder of this user or, if the folder is "
                f"for this login only, run `chown {user} {shlex.quote(str(candidate))}` "
                "as root"
            )
        stem = path.with_name(path.name.split(".bearerd-")[0])
        return f"{fact}: run `chown {user} {shlex.quote(str(stem))}*` as root"
    return general


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == ROOT
