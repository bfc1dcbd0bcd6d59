"""Who owns a new file: a command run by root leaves none that the daemon cannot read.

`sudo bearerd login` on the folder of a service's user would otherwise create a file of
root's, mode 0600, and the daemon could neither read nor replace it.
"""

from __future__ import annotations

import os
from pathlib import Path

ROOT = 0


def give_to_folder_owner(descriptor: int, folder: Path) -> None:
    """Make the open file belong to the owner of *folder*, if this process is root.

    Raises:
        OSError: the file system does not allow it.
    """
    if not hasattr(os, "geteuid") or os.geteuid() != ROOT:
        return
    status = folder.stat()
    if status.st_uid != ROOT:
        os.fchown(descriptor, status.st_uid, status.st_gid)


def access_remedy(path: Path) -> str:
    """Return the command that lets this user use *path*, or general advice.

    The nearest existing part of *path* that belongs to another user is named, with the
    uid on both sides.
    """
    if not hasattr(os, "geteuid"):
        return "let this user read and write it"
    user = os.geteuid()
    for place in (path, path.parent):
        try:
            owner = place.stat().st_uid
        except OSError:
            continue
        if owner != user:
            target = place if place == path else f"-R {place}"
            return (
                f"{place} belongs to uid {owner} and this process runs as uid {user}: "
                f"run `chown {user} {target}` as root"
            )
    return "let this user read and write it"
