"""The mounts of this machine: which file system a path is on, and what is mounted itself.

Source: /proc/self/mountinfo, see proc_pid_mountinfo(5). Its fields are separated by
blanks, and the mount point is the fifth. The type of the file system is the first after
a field that is only a hyphen; before that hyphen there are any number of optional fields.
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
"""On these a lock may not exclude processes of another machine."""

MOUNT_POINT_FIELD: Final = 4

_ESCAPE: Final = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One mounted file system."""

    point: PurePosixPath
    file_system: str


def read_mounts(mountinfo: Path = MOUNTINFO) -> tuple[Mount, ...]:
    """Return the mounts of this process, in their order; none if it is not Linux."""
    try:
        return parse_mountinfo(mountinfo.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ()


def parse_mountinfo(text: str) -> tuple[Mount, ...]:
    """Return the mounts in *text*. A line of another form is left out."""
    mounts = []
    for line in text.splitlines():
        fields, separator, after = line.partition(" - ")
        before = fields.split()
        if separator and after and len(before) > MOUNT_POINT_FIELD:
            point = PurePosixPath(_unescaped(before[MOUNT_POINT_FIELD]))
            mounts.append(Mount(point, after.split()[0]))
    return tuple(mounts)


def file_system_of(path: PurePosixPath, mounts: Sequence[Mount]) -> str | None:
    """Return the type of the file system that *path*, which is absolute, is on.

    That is the one mounted closest to the path, and the last of several at one place,
    because it hides the others. None if no mount contains the path.
    """
    containing = [mount for mount in mounts if path.is_relative_to(mount.point)]
    if not containing:
        return None
    depth = max(len(mount.point.parts) for mount in containing)
    closest = [mount for mount in containing if len(mount.point.parts) == depth]
    return closest[-1].file_system


def is_mount_point(path: Path) -> bool:
    """Return True if *path* itself is mounted, as a single file is into a container.

    Such a file may be on the same device as its folder, so stat(2) cannot tell.
    """
    target = PurePosixPath(real_path(path))
    return any(mount.point == target for mount in read_mounts())


def is_network(file_system: str) -> bool:
    """Return True if a file system is reached over a network or from a host machine."""
    return file_system.removeprefix("fuse.") in NETWORK_FILE_SYSTEMS


def _unescaped(field: str) -> str:
    """Return *field* without the octal escapes for blanks and backslashes."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), field)
