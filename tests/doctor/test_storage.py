"""The checks of a store's file, folder, lock and file system, and of its rescue file."""

from __future__ import annotations

from pathlib import Path

from bearerd.doctor.rescue import check_rescue


def test_a_rescue_file_that_could_be_written_is_ok(tmp_path: Path) -> None:
    """Although its folder does not exist yet."""
    path = tmp_path / "state" / "rescue.json"
    finding = check_rescue(path)
    assert finding.verdict == "ok"
    assert str(path) in finding.said


def test_a_rescue_file_that_exists_is_a_warning(tmp_path: Path) -> None:
    """It may contain a new login."""
    path = tmp_path / "rescue.json"
    path.write_text("{}")
    finding = check_rescue(path)
    assert finding.verdict == "warning"
    assert str(path) in finding.said
    assert finding.remedy


def test_a_rescue_file_that_cannot_be_written_is_a_warning() -> None:
    """A login that cannot be stored would be lost with the process."""
    finding = check_rescue(Path("/proc/self/nowhere/rescue.json"))
    assert finding.verdict == "warning"
    assert "memory only" in finding.said
