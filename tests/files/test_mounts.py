"""The mounts of this machine, from the kernel's table."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from bearerd.files.mounts import (
    Mount,
    file_system_of,
    is_mount_point,
    is_network,
    parse_mountinfo,
    read_mounts,
)

MOUNTINFO = r"""
22 27 0:21 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:22 / /a\040b rw - nfs4 server:/export rw
24 22 0:23 / /over rw shared:2 master:3 - ext3 x rw
25 24 0:24 / /over rw - tmpfs y rw
broken line
26 22 0:25 / /cut rw -
27 22 - ext4
"""


def test_a_line_gives_the_mount_point_and_the_type() -> None:
    """Spaces are escaped in it; lines in another format are skipped."""
    assert parse_mountinfo(MOUNTINFO) == (
        Mount(PurePosixPath("/"), "ext4"),
        Mount(PurePosixPath("/a b"), "nfs4"),
        Mount(PurePosixPath("/over"), "ext3"),
        Mount(PurePosixPath("/over"), "tmpfs"),
    )


@pytest.mark.parametrize(
    ("path", "file_system"),
    [("/a b/x", "nfs4"), ("/a", "ext4"), ("/over/x", "tmpfs"), ("/a bc", "ext4")],
)
def test_a_path_is_on_the_closest_and_last_mount(path: str, file_system: str) -> None:
    """A later mount at the same place hides the earlier one."""
    mounts = parse_mountinfo(MOUNTINFO)
    assert file_system_of(PurePosixPath(path), mounts) == file_system


def test_without_a_table_no_file_system_is_known(tmp_path: Path) -> None:
    """As on a system that is not Linux."""
    mounts = read_mounts(tmp_path / "missing")
    assert mounts == ()
    assert file_system_of(PurePosixPath("/x"), mounts) is None


@pytest.mark.parametrize(
    ("file_system", "expected"),
    [("nfs4", True), ("fuse.sshfs", True), ("ext4", False), ("fuse.mergerfs", False)],
)
def test_network_file_systems_are_known_by_type(
    file_system: str, expected: bool
) -> None:
    """With or without FUSE's prefix."""
    assert is_network(file_system) is expected


def test_a_mount_point_is_distinguished_from_an_ordinary_file(tmp_path: Path) -> None:
    """By the table of this machine."""
    assert is_mount_point(Path("/proc"))
    assert not is_mount_point(tmp_path / "auth.json")
