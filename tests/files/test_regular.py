"""Reads of a path that may lead to something else than a file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bearerd.files.regular import read_regular


def test_a_file_is_read_up_to_a_byte_more_than_the_limit(tmp_path: Path) -> None:
    """The byte more tells the caller that the file is too long."""
    path = tmp_path / "file"
    path.write_bytes(b"abcdef")
    assert read_regular(path, 6) == b"abcdef"
    assert read_regular(path, 3) == b"abcd"


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "fifo"])
def test_what_is_no_file_is_an_error_at_once(tmp_path: Path, make: object) -> None:
    """Also a FIFO that has no writer."""
    path = tmp_path / "file"
    assert callable(make)
    make(path)
    with pytest.raises(OSError, match="not a regular file"):
        read_regular(path, 10)


def test_a_device_is_an_error_and_not_an_endless_read() -> None:
    """/dev/zero has no end."""
    with pytest.raises(OSError, match="not a regular file"):
        read_regular(Path("/dev/zero"), 10)


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    """It can be told from one that cannot be read."""
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "file", 10)
