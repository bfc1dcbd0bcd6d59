"""The blocking half of the file store: what is read, and what is wrong with it."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bearerd.credential.store.auth_file import (
    FILE_LIMIT_BYTES,
    AuthFile,
    StoreLock,
    unavailable_error,
)
from bearerd.credential.store.state import Account, StoreState
from bearerd.errors import LoginRequired, StoreUnavailable
from bearerd.files import atomic
from tests.credential.processes import as_user
from tests.credential.stand_ins import (
    MountedAuthFile,
    login,
    names_in,
    refresh_token_of,
)

USER = 12_345


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a file that does not exist yet."""
    return tmp_path / "auth.json"


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that another user can enter; pytest's own are private to this one."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def unavailable_at(path: Path) -> StoreUnavailable:
    """Return why the file cannot be read."""
    problem = AuthFile(path).read().problem
    assert isinstance(problem, StoreUnavailable), repr(problem)
    assert str(path) in problem.message
    assert "bearerd login" not in problem.message
    return problem


# Content.


@pytest.mark.parametrize(
    ("content", "reason", "why"),
    [
        (b"", "unreadable", "not valid JSON"),
        (b'{"tokens": {', "unreadable", "not valid JSON"),
        (b"[]", "unreadable", "not a JSON object"),
        (b"[" * 100_000, "unreadable", "not valid JSON"),
        (b" " * (FILE_LIMIT_BYTES + 1) + b"{}", "unreadable", "not valid JSON"),
        (b'{"OPENAI_API_KEY": "sk-made-up"}', "no_login", "no ChatGPT tokens"),
        (
            json.dumps(login() | {"auth_mode": "apikey"}).encode(),
            "no_login",
            "a login with auth_mode apikey",
        ),
        (b'{"tokens": {"access_token": "a\\r\\nb"}}', "no_login", "visible ASCII"),
    ],
    ids=[
        "empty",
        "torn",
        "list",
        "nested-without-end",
        "too-large",
        "api-key",
        "api-key-with-old-tokens",
        "token-with-a-line-end",
    ],
)
def test_a_file_without_a_login_is_torn_or_holds_another_kind(
    path: Path, content: bytes, reason: str, why: str
) -> None:
    """Only the first may be a writer at work."""
    path.write_bytes(content)
    problem = AuthFile(path).read().problem
    assert isinstance(problem, LoginRequired)
    assert (problem.reason, why in problem.message) == (reason, True)
    assert "`bearerd login`" in problem.message


def test_a_login_is_read_with_the_stamps_of_its_file(path: Path) -> None:
    """Taken before the content, so that a change in between is detected."""
    path.write_text(json.dumps(login()))
    file = AuthFile(path)
    snapshot = file.read()
    assert snapshot.problem is None
    assert snapshot.credential is not None
    assert snapshot.credential.refresh_token == refresh_token_of("first")
    assert snapshot.stamps == file.stamps() == (atomic.file_stamp(path), None)


# Files that cannot be read.


def test_a_missing_file_is_a_login_that_is_required(tmp_path: Path) -> None:
    """Wherever its folder is; a start without a login is an ordinary one."""
    for path in (tmp_path / "auth.json", tmp_path / "deep" / "er" / "auth.json"):
        problem = AuthFile(path).read().problem
        assert isinstance(problem, LoginRequired)
        assert problem.reason == "missing"


def make_circle(path: Path) -> None:
    """Make a link that leads to itself over another."""
    path.symlink_to(path.with_name("other"))
    path.with_name("other").symlink_to(path)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (Path.mkdir, "not a regular file"),
        (os.mkfifo, "not a regular file"),
        (make_circle, "symbolic links"),
    ],
    ids=["folder", "fifo", "circle-of-links"],
)
def test_what_is_no_file_is_unavailable(
    path: Path, make: Callable[[Path], None], why: str
) -> None:
    """At once: the open of a FIFO does not wait for a writer."""
    make(path)
    assert why in unavailable_at(path).message


def test_a_file_in_the_place_of_the_folder_is_unavailable(tmp_path: Path) -> None:
    """It is a fault of the settings."""
    (tmp_path / "data").write_bytes(b"no folder")
    message = unavailable_at(tmp_path / "data" / "auth.json").message
    assert "set `store` to another path" in message


READ_AS_USER = """
import sys
from pathlib import Path
from bearerd.credential.store.auth_file import AuthFile
import bearerd.credential.store.state
BECOME_USER
problem = AuthFile(Path(sys.argv[1])).read().problem
print(type(problem).__name__, problem.message)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
@pytest.mark.parametrize("part", ["file", "folder"])
def test_a_file_of_another_user_is_unavailable_with_the_command(
    public: Path, part: str
) -> None:
    """Permissions are no reason to sign in."""
    folder = public / "state"
    folder.mkdir()
    path = folder / "auth.json"
    path.write_text(json.dumps(login()))
    (path if part == "file" else folder).chmod(0)
    printed = as_user(USER, READ_AS_USER, path)
    assert printed.startswith(f"StoreUnavailable {path}: cannot be read: Permission")
    if part == "file":
        assert f"`chown {USER} {path}*` as root" in printed
    else:
        assert (
            f"{folder} belongs to uid 0 and this process runs as uid {USER}" in printed
        )
    assert "bearerd login" not in printed


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(5, "Input/output error"), ["Input/output error", "the file system"]),
        (OSError(116, "Stale file handle"), ["Stale file handle", "the file system"]),
        (
            NotADirectoryError(20, "Not a directory"),
            ["its folder is a file", "`store`"],
        ),
        (FileExistsError(17, "File exists"), ["its folder is a file", "`store`"]),
        (OSError("without a number"), ["without a number"]),
    ],
    ids=repr,
)
def test_an_error_of_the_system_names_file_reason_and_remedy(
    path: Path, error: OSError, words: list[str]
) -> None:
    """It passes, so a client may ask again."""
    problem = unavailable_error(path, error)
    for word in (str(path), *words):
        assert word in problem.message
    assert problem.retry_after_seconds


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, Path.touch])
def test_a_problem_that_is_met_often_leaks_no_descriptor(
    path: Path, make: Callable[[Path], None]
) -> None:
    """The background reads it each second while the problem persists."""
    make(path)
    file = AuthFile(path)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(50):
        assert file.read().problem is not None
    assert len(list(Path("/proc/self/fd").iterdir())) == before


# A folder that vanishes.


def test_a_missing_folder_is_unavailable_and_not_created(
    tmp_path: Path,
) -> None:
    """An empty folder in place of an unmounted volume would look like a sign-out."""
    folder = tmp_path / "volume"
    folder.mkdir()
    path = folder / "auth.json"
    path.write_text(json.dumps(login()))
    file = AuthFile(path)
    file.read()
    folder.rename(tmp_path / "away")
    assert "mount it again" in str(file.read().problem)
    for refused in (file.prepare_lock, file.require_folder):
        with pytest.raises(StoreUnavailable, match="mount it again"):
            refused()
    with pytest.raises(FileNotFoundError):
        file.write_state(StoreState())
    assert not folder.exists()
    (tmp_path / "away").rename(folder)
    assert file.read().problem is None
    file.require_folder()


def test_an_empty_mount_point_is_no_sign_out(tmp_path: Path) -> None:
    """The folder is there, and the lock file in it is not."""
    folder = tmp_path / "volume"
    folder.mkdir()
    path = folder / "auth.json"
    path.write_text(json.dumps(login()))
    file = AuthFile(path)
    file.read()
    file.prepare_lock().path.touch()
    folder.rename(tmp_path / "away")
    folder.mkdir()
    assert isinstance(file.read().problem, StoreUnavailable)
    with pytest.raises(FileNotFoundError):
        file.write_state(StoreState())
    assert names_in(folder) == []


def test_a_removed_file_is_a_sign_out(path: Path) -> None:
    """The folder and the lock in it are still there."""
    path.write_text(json.dumps(login()))
    file = AuthFile(path)
    file.read()
    file.prepare_lock().path.touch()
    path.unlink()
    problem = file.read().problem
    assert isinstance(problem, LoginRequired)
    assert problem.reason == "missing"


def test_before_there_was_a_login_its_folder_is_made_for_the_lock(
    tmp_path: Path,
) -> None:
    """And is private."""
    lock = AuthFile(tmp_path / "a" / "b" / "auth.json").prepare_lock()
    assert lock.is_lock_file
    assert lock.path.parent.stat().st_mode & 0o777 == 0o700


# Writing.


def test_the_stamp_of_a_write_is_that_of_what_was_written(path: Path) -> None:
    """A program that replaces the file at once has made another."""
    file = AuthFile(path)
    stamp = file.write(login())
    assert stamp == file.stamps()[0]
    atomic.replace(path, b"{}")
    assert stamp != file.stamps()[0]
    assert file.write_state(StoreState()) == file.stamps()[1]


def test_a_mounted_file_keeps_its_inode(path: Path) -> None:
    """It is written in place, and it is its own lock: each container has another folder."""
    path.write_text(json.dumps(login("a longer one" * 20)))
    file, inode = MountedAuthFile(path), path.stat().st_ino
    stamp = file.write(login("new"))
    assert (stamp, path.stat().st_ino) == (file.stamps()[0], inode)
    assert file.read().problem is None
    assert file.prepare_lock() == StoreLock(path, is_lock_file=False)


def test_what_a_killed_writer_left_is_removed_by_the_next(path: Path) -> None:
    """Temporary files contain tokens; those of other programs are not removed."""
    for name in (
        ".auth.json.k3_x9qzz",
        ".auth.json.bearerd-state.k3_x9qzz",
        ".auth-k3x9qz",
        ".auth.json.notes.1234567",
    ):
        (path.parent / name).write_text("{}")
    AuthFile(path).write(login())
    left = names_in(path.parent)
    assert left == [".auth-k3x9qz", ".auth.json.notes.1234567", "auth.json"]


def test_removing_a_link_removes_what_it_leads_to(path: Path) -> None:
    """Removing only the link would leave the login in the target."""
    target = path.with_name("login")
    target.write_text("{}")
    path.symlink_to(target)
    AuthFile(path).remove()
    AuthFile(path).remove()
    assert not target.exists()


# The state.


def test_a_missing_state_is_empty_and_an_unreadable_one_is_not(path: Path) -> None:
    """Else the account and the spent tokens would be forgotten for one I/O error."""
    file, state = AuthFile(path), path.with_name("auth.json.bearerd-state")
    assert file.read_state() == StoreState()
    file.write_state(StoreState(account=Account("acct-1")))
    assert file.read_state().account == Account("acct-1")
    state.unlink()
    state.mkdir()
    with pytest.raises(StoreUnavailable, match="bearerd-state"):
        file.read_state()


def test_a_torn_state_is_empty(path: Path) -> None:
    """A power failure can leave one, and none depends on it."""
    path.with_name("auth.json.bearerd-state").write_bytes(b"{")
    assert AuthFile(path).read_state() == StoreState()
