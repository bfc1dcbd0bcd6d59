"""The owner of new files, and the advice for files of another user.

The first half acts as root, and as another user; it needs root. `setpriv` takes single
rights away from root, as a network mount does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bearerd.files import atomic
from bearerd.files.flock import flock
from bearerd.files.owner import access_remedy, make_private_folder
from tests.credential.processes import ROOT, as_user
from tests.support.clock import ManualClock

USER = 12_345

needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can act for another user"
)
without_root = pytest.mark.skipif(
    os.geteuid() == 0, reason="root owns what it makes, and is refused nothing here"
)


@pytest.fixture
def service() -> Iterator[Path]:
    """A folder that another user reaches; pytest's own are private to this one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture
def users_folder(service: Path) -> Path:
    """A folder of that user's, such as a service's state folder."""
    folder = service / "state"
    folder.mkdir(mode=0o700)
    os.chown(folder, USER, USER)
    return folder


def owner(path: Path) -> tuple[int, int]:
    """Return uid and gid."""
    status = path.lstat()
    return status.st_uid, status.st_gid


@needs_root
def test_a_file_written_by_root_belongs_to_the_owner_of_its_folder(
    users_folder: Path,
) -> None:
    """And stays private; the user can read and replace it."""
    path = users_folder / "auth.json"
    for content in (b"one", b"two"):
        atomic.replace(path, content)
        assert (owner(path), path.stat().st_mode & 0o777) == ((USER, USER), 0o600)
    read = "import sys; print(open(sys.argv[1], 'rb').read())"
    assert as_user(USER, read, path) == "b'two'\n"


@needs_root
def test_a_file_of_root_in_its_own_folder_stays_roots(service: Path) -> None:
    """A daemon run by root keeps its login to itself."""
    atomic.replace(service / "auth.json", b"one")
    assert owner(service / "auth.json") == (0, 0)


@needs_root
def test_new_folders_belong_to_the_owner_of_the_folder_around_them(
    users_folder: Path,
) -> None:
    """Else the user could not enter the folder of its own login."""
    path = users_folder / "share" / "bearerd" / "auth.json"
    atomic.replace(path, b"one")
    for part in (path, path.parent, path.parent.parent):
        assert owner(part) == (USER, USER)
        assert part.stat().st_mode & 0o077 == 0


@needs_root
async def test_a_lock_that_root_makes_belongs_to_the_owner_of_its_folder(
    users_folder: Path, clock: ManualClock
) -> None:
    """Else the daemon could not take it after the command."""
    async with flock(users_folder / "lock", clock.skipping, 0, writes_holder=True):
        assert owner(users_folder / "lock") == (USER, USER)
    write = "import sys; open(sys.argv[1], 'r+b').write(b'x')"
    as_user(USER, write, users_folder / "lock")


@needs_root
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
def test_a_file_that_cannot_be_given_away_is_not_written(users_folder: Path) -> None:
    """As on a network mount. The old file stays, with nothing beside it."""
    path = users_folder / "auth.json"
    atomic.replace(path, b"old")
    write = (
        "import sys; from pathlib import Path; from bearerd.files import atomic; "
        "atomic.replace(Path(sys.argv[1]), b'new')"
    )
    setpriv = ["setpriv", "--bounding-set=-chown", "--inh-caps=-chown"]
    done = subprocess.run(
        [*setpriv, sys.executable, "-c", write, str(path)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert "PermissionError" in done.stderr
    assert path.read_bytes() == b"old"
    assert [one.name for one in users_folder.iterdir()] == ["auth.json"]


REMEDY = (
    "import sys; from pathlib import Path; from bearerd.files.owner import access_remedy;"
    " BECOME_USER; print(access_remedy(Path(sys.argv[1])))"
)


@needs_root
@pytest.mark.parametrize("name", ["auth.json", "auth.json.bearerd-lock"])
def test_a_file_of_root_is_named_with_the_command_that_gives_it_back(
    service: Path, name: str
) -> None:
    """One command for the login and all that lies beside it."""
    (service / name).touch()
    assert as_user(USER, REMEDY, service / name) == (
        f"{service / name} belongs to uid 0 and this process runs as uid {USER}: run "
        f"`chown {USER} {service / 'auth.json'}*` as root\n"
    )


@needs_root
def test_a_folder_of_root_is_not_given_away_as_a_whole(service: Path) -> None:
    """It may be /etc: the advice is never recursive, and another place comes first."""
    remedy = as_user(USER, REMEDY, service / "auth.json")
    assert f"{service} belongs to uid 0" in remedy
    assert "set `store` to a folder of this user" in remedy
    assert "-R" not in remedy


@needs_root
def test_root_is_advised_to_act_as_the_owner(users_folder: Path) -> None:
    """Root is refused only by a file system that gives it no rights; chown is refused
    there too.
    """
    remedy = access_remedy(users_folder / "auth.json")
    assert f"sudo -u '#{USER}'" in remedy
    assert "chown" not in remedy


@needs_root
def test_a_path_with_blanks_is_quoted(service: Path) -> None:
    """The command can be pasted."""
    path = service / "my login.json"
    path.touch()
    assert f"'{path}'*" in as_user(USER, REMEDY, path)


def test_a_file_of_this_user_gets_general_advice(tmp_path: Path) -> None:
    """Its mode may be wrong, or a rule of the system's may forbid it."""
    (tmp_path / "auth.json").touch()
    advice = "let this user read and write it"
    assert access_remedy(tmp_path / "auth.json") == advice
    assert access_remedy(tmp_path / "missing" / "auth.json") == advice


@without_root
def test_files_of_an_ordinary_user_are_its_own(tmp_path: Path) -> None:
    """Nothing is given away, and nothing tried."""
    atomic.replace(tmp_path / "deep" / "auth.json", b"one")
    assert owner(tmp_path / "deep" / "auth.json") == (os.geteuid(), os.getegid())


def test_folders_are_made_private_and_existing_ones_stay(tmp_path: Path) -> None:
    """A file in the place of one is an error."""
    tmp_path.chmod(0o750)
    make_private_folder(tmp_path / "a" / "b")
    make_private_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    assert tmp_path.stat().st_mode & 0o777 == 0o750
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        make_private_folder(tmp_path / "file" / "c")
