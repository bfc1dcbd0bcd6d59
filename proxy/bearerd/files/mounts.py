"""Which file system a path lies on, read from the kernel's table of mounts. Pure.

Source: proc(5), /proc/pid/mounts, with the escapes of fstab(5).
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

NETWORK = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "davfs", "glusterfs", "lustre"}
    | {"nfs", "nfs4", "prl_fs", "smb3", "smbfs", "sshfs", "s3fs", "vboxsf", "drvfs"}
)
"""Where a lock may be another machine's business, or nobody's."""

_ESCAPE = re.compile(r"\\([0-7]{3})")


def file_system_of(path: PurePosixPath, mounts: str) -> str | None:
    """Return the type of the file system that holds *path*, which is absolute.

    None where the table does not tell. Of several mounts on one place the last is the
    one that shows.
    """
    best: tuple[int, str] | None = None
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) < 3:  # noqa: PLR2004 - device, place, type
            continue
        place = PurePosixPath(_ESCAPE.sub(_character, fields[1]))
        depth = len(place.parts)
        if path.is_relative_to(place) and (best is None or depth >= best[0]):
            best = depth, fields[2]
    return best[1] if best else None


def is_network(file_system: str) -> bool:
    """Say whether a file system is reached over a network, or from a host machine."""
    return file_system.removeprefix("fuse.") in NETWORK


def _character(escape: re.Match[str]) -> str:
    return chr(int(escape[1], 8))
