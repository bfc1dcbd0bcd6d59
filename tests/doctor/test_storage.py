"""The checks of a store's file, folder, lock and file system, and of its rescue file."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path, PurePosixPath

import filelock
import pytest

from bearerd.clock import Clock
from bearerd.doctor.findings import Finding, exit_code
from bearerd.doctor.storage import check_rescue, check_storage
from bearerd.errors import ExitCode
from bearerd.files.mounts import Mount
from tests.doctor.conftest import MOUNTS, block_folder, messages, verdicts


def findings_at(store: Path, mounts: tuple[Mount, ...] = MOUNTS) -> list[Finding]:
    """Return what the check finds at *store*."""
    rescue = store.parent.parent / "rescue" / "x.json"
    return asyncio.run(check_storage(store, rescue, Clock(), mounts))


def test_a_private_file_in_a_writable_folder_is_ok(store: Path) -> None:
    """File, folder, lock, file system and rescue file: one finding each."""
    findings = findings_at(store)
    topics = ["file", "folder", "lock", "file system", "rescue"]
    assert [finding.topic for finding in findings] == topics
    assert {finding.verdict for finding in findings} == {"ok"}


def test_a_file_open_to_other_users_is_a_warning(store: Path) -> None:
    """The remedy is a command that can be pasted."""
    store.chmod(0o644)
    (finding, *_) = findings_at(store)
    assert finding.verdict == "warning"
    assert finding.remedy == f"chmod 600 {store}"


def test_a_file_that_does_not_exist_is_no_finding(store: Path) -> None:
    """The check of the login reports it."""
    store.unlink()
    findings = findings_at(store)
    assert verdicts(findings, "file") == []
    assert verdicts(findings, "lock") == ["ok"]


def test_a_folder_that_does_not_exist_can_be_created(tmp_path: Path) -> None:
    """The check does not create it."""
    store = tmp_path / "a" / "b" / "auth.json"
    findings = findings_at(store)
    assert verdicts(findings, "folder") == ["ok"]
    assert "can be created" in messages(findings, "folder")[0]
    assert not (tmp_path / "a").exists()


def test_a_folder_that_cannot_be_written_is_a_failure(store: Path) -> None:
    """Here, a file is in its place. A sign-in would not help."""
    block_folder(store)
    findings = findings_at(store)
    assert verdicts(findings, "folder") == ["failed"]
    assert exit_code(findings) == ExitCode.FAILED


def test_a_network_file_system_is_a_warning(store: Path, tmp_path: Path) -> None:
    """The remedy is a selftest of that very folder."""
    network = Mount(PurePosixPath(tmp_path), "nfs4")
    findings = findings_at(store, (*MOUNTS, network))
    (finding,) = [one for one in findings if one.topic == "file system"]
    assert finding.verdict == "warning"
    assert "nfs4" in finding.message
    assert f"bearerd selftest --store-dir {store.parent}" in finding.remedy


def test_a_lock_held_by_another_process_is_ok(store: Path) -> None:
    """A refresh is in progress then."""
    with filelock.FileLock(f"{store}.bearerd-lock", preserve_lock_file=True):
        findings = findings_at(store)
    assert verdicts(findings, "lock") == ["ok"]
    assert "another process" in messages(findings, "lock")[0]


def hold_since(store: Path, seconds: float) -> filelock.BaseFileLock:
    """Take the lock of *store*, in the name of a process that began so long ago."""
    lock = filelock.FileLock(f"{store}.bearerd-lock", preserve_lock_file=True)
    lock.acquire()
    holder = {"pid": 4711, "host": "db-1", "since": Clock().now() - seconds}
    Path(f"{store}.bearerd-lock").write_text(json.dumps(holder), encoding="utf-8")
    return lock


@pytest.mark.parametrize(
    ("seconds", "verdict"), [(-3600, "ok"), (5, "ok"), (600, "warning")]
)
def test_a_lock_that_is_held_for_long_is_a_warning(
    store: Path, seconds: float, verdict: str
) -> None:
    """Process, host and time are named either way; a wrong clock is no reason to warn."""
    with hold_since(store, seconds):
        (finding,) = [one for one in findings_at(store) if one.topic == "lock"]
    assert finding.verdict == verdict
    assert finding.message.startswith("process 4711 on db-1 holds it since 20")
    assert ("4711" in finding.remedy) == (verdict == "warning")


def test_a_lock_that_cannot_be_a_file_is_a_failure(store: Path) -> None:
    """The message names what is in its place."""
    Path(f"{store}.bearerd-lock").mkdir()
    (finding,) = [one for one in findings_at(store) if one.topic == "lock"]
    assert finding.verdict == "failed"
    assert ".bearerd-lock" in finding.message


def test_a_circle_of_links_is_a_failure_and_no_defect(store: Path) -> None:
    """Its folder and its lock are as well as ever."""
    store.unlink()
    store.symlink_to(store.name)
    findings = findings_at(store)
    assert verdicts(findings, "file") == ["failed"]
    assert verdicts(findings, "lock") == ["ok"]


def test_a_rescue_file_that_could_be_written_is_ok(tmp_path: Path) -> None:
    """Although its folder does not exist yet."""
    path = tmp_path / "state" / "rescue.json"
    finding = check_rescue(path)
    assert finding.verdict == "ok"
    assert str(path) in finding.message


def test_a_rescue_file_that_exists_is_a_warning(tmp_path: Path) -> None:
    """It may contain a new login."""
    path = tmp_path / "rescue.json"
    path.write_text("{}")
    finding = check_rescue(path)
    assert finding.verdict == "warning"
    assert str(path) in finding.message
    assert finding.remedy


def test_a_rescue_file_that_cannot_be_written_is_a_warning() -> None:
    """A login that cannot be stored would be lost with the process."""
    finding = check_rescue(Path("/proc/self/nowhere/rescue.json"))
    assert finding.verdict == "warning"
    assert "in memory only" in finding.message
