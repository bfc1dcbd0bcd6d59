"""The owner of new files: a command run by root leaves none that the daemon cannot read.

`sudo bearerd login` on the folder of a service's user would otherwise create a file of
root's, mode 0600, and the daemon could neither read nor replace it.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

ROOT = 0


def give_to_folder_owner(descriptor: int, folder: Path) -> None:
    """Make the open file belong to the owner of *folder*, if this process is root.

    Raises:
        OSError: the file system does not allow it.
    """
    if not _is_root():
        return
    status = folder.stat()
    if status.st_uid != ROOT:
        os.fchown(descriptor, status.st_uid, status.st_gid)


def make_private_folder(folder: Path) -> None:
    """Make *folder*, and each part of it that is missing, with mode 0700.

    A process run by root gives each new part to the owner of the folder around it.

    Raises:
        OSError: it cannot be made; FileExistsError if a file stands in its place.
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
    """Return the command that lets this user use *path*, or general advice.

    The nearest existing part of *path* that belongs to another user is named, with the
    uid on both sides. One command is for the file and all that lies beside it under its
    name, since a process that ran as the other user has made them together. None is
    recursive: the folder may hold more than a login.
    """
    general = "let this user read and write it"
    if not hasattr(os, "geteuid"):
        return general
    user = os.geteuid()
    for place in (path, path.parent):
        try:
            owner = place.stat().st_uid
        except OSError:
            continue
        if owner == user:
            continue
        fact = f"{place} belongs to uid {owner} and this process runs as uid {user}"
        if user == ROOT:  # a network mount that gives root no rights
            return f"{fact}: run this command as its owner, with `sudo -u '#{owner}'`"
        if place == path.parent:
            return (
                f"{fact}: set `store` to a folder of this user or, if the folder is "
                f"for this login alone, run `chown {user} {shlex.quote(str(place))}` as "
                "root"
            )
        stem = path.with_name(path.name.split(".bearerd-")[0])
        return f"{fact}: run `chown {user} {shlex.quote(str(stem))}*` as root"
    return general


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == ROOT
