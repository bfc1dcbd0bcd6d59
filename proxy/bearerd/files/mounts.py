"""The mounts of this machine: the file system of a path, and whether it is a mount point.

Source: /proc/self/mountinfo, see proc_pid_mountinfo(5). The fields are separated by
spaces. The mount point is the fifth field. After a variable number of optional fields
there is a field `-`, and the next field is the type of the file system.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from bearerd.files.atomic import real_path

MOUNTINFO: Final = Path("/proc/self/mountinfo")

NETWORK_FILE_SYSTEMS: Final = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "davfs", "glusterfs", "lustre"}
    | {"nfs", "nfs4", "prl_fs", "smb3", "smbfs", "sshfs", "s3fs", "vboxsf", "drvfs"}
)
"""On these, a lock may not exclude processes on another machine."""

MOUNT_POINT_FIELD: Final = 4

_ESCAPE: Final = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One mounted file system."""

    point: PurePosixPath
    file_system: str


def read_mounts(mountinfo: Path = MOUNTINFO) -> tuple[Mount, ...]:
    """Return the mounts of this process in their order; an empty tuple if not on Linux."""
    try:
        return parse_mountinfo(mountinfo.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ()


def parse_mountinfo(text: str) -> tuple[Mount, ...]:
    """Return the mounts in *text*. Lines in another format are skipped."""
    mounts = []
    for line in text.splitlines():
        fields, separator, after = line.partition(" - ")
        before = fields.split()
        if separator and after and len(before) > MOUNT_POINT_FIELD:
            point = PurePosixPath(_unescaped(before[MOUNT_POINT_FIELD]))
            mounts.append(Mount(point, after.split()[0]))
    return tuple(mounts)


def file_system_of(path: PurePosixPath, mounts: Sequence[Mount]) -> str | None:
    """Return the file system type of the absolute path *path*, or None if unknown.

    Of the mounts that contain the path, the deepest mount point counts. Of several mounts
    on one mount point, the last one counts, because it hides the others.
    """
    containing = [mount for mount in mounts if path.is_relative_to(mount.point)]
    if not containing:
        return None
    depth = max(len(mount.point.parts) for mount in containing)
    closest = [mount for mount in containing if len(mount.point.parts) == depth]
    return closest[-1].file_system


def is_mount_point(path: Path) -> bool:
    """Return True if *path* is a mount point, like a single file in a container.

    Such a file may be on the same device as its folder, so stat(2) does not show it.
    """
    target = PurePosixPath(real_path(path))
    return any(mount.point == target for mount in read_mounts())


def is_network(file_system: str) -> bool:
    """Return True if *file_system* is accessed over a network or from a host machine."""
    return file_system.removeprefix("fuse.") in NETWORK_FILE_SYSTEMS


def _unescaped(field: str) -> str:
    """Return *field* with its octal escapes decoded: spaces, tabs, backslashes."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), field)
