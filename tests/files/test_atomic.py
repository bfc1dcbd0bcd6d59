"""Atomic and durable replacement of a file."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from bearerd.files import atomic
from tests.credential.processes import ROOT
from tests.credential.stand_ins import full_disk, names_in


def mode(path: Path) -> int:
    """Return the permission bits."""
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_new_file_is_private_and_so_is_its_folder(tmp_path: Path) -> None:
    """Under any umask."""
    path = tmp_path / "data" / "auth.json"
    before = os.umask(0)
    try:
        atomic.replace(path, b"one")
    finally:
        os.umask(before)
    assert path.read_bytes() == b"one"
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)


@pytest.mark.parametrize("is_durable", [True, False])
def test_a_file_is_replaced_and_becomes_private(
    tmp_path: Path, is_durable: bool
) -> None:
    """By another inode, so a reader of the old file reads it to its end."""
    path = tmp_path / "auth.json"
    path.write_bytes(b"a longer content from before")
    path.chmod(0o644)
    with path.open("rb") as reader:
        atomic.replace(path, b"new", is_durable=is_durable)
        assert reader.read() == b"a longer content from before"
    assert path.read_bytes() == b"new"
    assert mode(path) == 0o600
    assert names_in(tmp_path) == ["auth.json"]


@pytest.mark.parametrize("exists", [True, False], ids=["target-there", "dangling"])
def test_a_links_target_is_replaced_and_the_link_stays(
    tmp_path: Path, exists: bool
) -> None:
    """Through two links, one of them relative."""
    target = tmp_path / "vault" / "auth.json"
    target.parent.mkdir()
    if exists:
        target.write_bytes(b"old")
    (tmp_path / "middle").symlink_to(Path("vault") / "auth.json")
    link = tmp_path / "auth.json"
    link.symlink_to(tmp_path / "middle")
    atomic.replace(link, b"new")
    assert link.is_symlink()
    assert (tmp_path / "middle").is_symlink()
    assert not target.is_symlink()
    assert target.read_bytes() == link.read_bytes() == b"new"
    assert names_in(target.parent) == ["auth.json"]


def test_a_disk_that_is_full_leaves_the_old_content(tmp_path: Path) -> None:
    """And leaves no temporary file."""
    path = tmp_path / "auth.json"
    atomic.replace(path, b"old")
    with full_disk(), pytest.raises(OSError, match="too large"):
        atomic.replace(path, b"new")
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["auth.json"]


def test_a_rename_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    """A folder stands in the place of the file."""
    path = tmp_path / "auth.json"
    (path / "in the way").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        atomic.replace(path, b"new")
    assert names_in(tmp_path) == ["auth.json"]


@pytest.mark.parametrize("is_link", [True, False], ids=["by-a-link", "itself"])
def test_what_is_no_file_is_not_replaced(tmp_path: Path, is_link: bool) -> None:
    """A link in the place may lead to a device, which root could replace."""
    path = tmp_path / "auth.json"
    special = tmp_path / "fifo" if is_link else path
    os.mkfifo(special)
    if is_link:
        path.symlink_to(special)
    with pytest.raises(OSError, match="not a regular file"):
        atomic.replace(path, b"new")
    assert stat.S_ISFIFO(special.stat().st_mode)
    assert len(names_in(tmp_path)) == 1 + is_link


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    """A file stands in the place of the folder."""
    (tmp_path / "data").write_bytes(b"no folder")
    with pytest.raises(OSError, match=r"exists|Not a directory"):
        atomic.replace(tmp_path / "data" / "auth.json", b"new")


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_the_content_is_durable_before_its_name_and_then_the_name(
    tmp_path: Path,
) -> None:
    """Created private, written, synced, renamed, folder synced: the kernel's calls."""
    code = (
        "import sys; from pathlib import Path; from bearerd.files import atomic; "
        "atomic.replace(Path(sys.argv[1]), b'content')"
    )
    trace = tmp_path / "trace"
    calls = "trace=openat,write,fsync,rename,renameat,renameat2"
    folder = tmp_path / "data"
    folder.mkdir()
    strace = ["strace", "-f", "-o", str(trace), "-e", calls]
    command = [*strace, sys.executable, "-c", code, str(folder / "auth.json")]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True)
    if b"ptrace" in done.stderr.lower():
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr
    text = trace.read_text()
    opened = re.search(
        r'openat\(AT_FDCWD, "[^"]*/\.auth\.json\.[^"]*", ([^,]*), 0600\)\s*= (\d+)',
        text,
    )
    assert opened
    assert {"O_CREAT", "O_EXCL"} <= set(opened[1].split("|"))
    later = text[opened.end() :]
    steps = [
        rf"write\({opened[2]}, \"content\"",
        rf"fsync\({opened[2]}\)\s*= 0",
        r"rename[^(]*\(.*\.auth\.json\.[^\"]*\".*/auth\.json\".*= 0",
        rf"openat\(AT_FDCWD, \"{re.escape(str(folder))}\", [^)]*\)\s*= \d+",
        r"fsync\(\d+\)\s*= 0",
    ]
    position = 0
    for step in steps:
        found = re.compile(step).search(later, position)
        assert found, f"{step} does not follow in:\n{later}"
        position = found.end()


def test_a_stamp_tells_two_states_of_a_file_apart(tmp_path: Path) -> None:
    """A replaced file, a changed one, and one that is missing."""
    path = tmp_path / "auth.json"
    assert atomic.file_stamp(path) is None
    atomic.replace(path, b"one")
    first = atomic.file_stamp(path)
    assert first == atomic.file_stamp(path)
    atomic.replace(path, b"two")
    second = atomic.file_stamp(path)
    assert second != first
    path.write_bytes(b"longer")
    assert atomic.file_stamp(path) not in (None, second)


def test_a_file_written_in_place_keeps_its_inode(tmp_path: Path) -> None:
    """And nothing of a longer content remains."""
    path = tmp_path / "auth.json"
    path.write_bytes(b"a longer content from before")
    inode = path.stat().st_ino
    atomic.write_in_place(path, b"new")
    assert (path.read_bytes(), path.stat().st_ino) == (b"new", inode)


def test_a_missing_file_is_not_written_in_place(tmp_path: Path) -> None:
    """A file that was unmounted must not come back as another one."""
    with pytest.raises(FileNotFoundError):
        atomic.write_in_place(tmp_path / "auth.json", b"new")
    assert names_in(tmp_path) == []
