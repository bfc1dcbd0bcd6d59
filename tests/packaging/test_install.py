"""The wheel in a fresh environment: alone, and beside the package `proxy.py`.

That package installs a top-level package named `proxy`. Ours lies in a folder of the same
name in the checkout, but is installed as `bearerd`, so neither can break the other.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bearerd import __version__
from tests.packaging.test_locks import versions

pytestmark = pytest.mark.index

NEIGHBOUR = "proxy-py"
INSTALL_SECONDS = 300


class Environment:
    """A virtual environment. Every install goes through its own pip."""

    def __init__(self, folder: Path) -> None:
        self._bin = folder / "bin"
        self._run(sys.executable, "-m", "venv", str(folder))

    def install(self, *arguments: str) -> None:
        """Install with pip, from the index that pip is configured for."""
        pip = (str(self._bin / "python"), "-m", "pip", "--disable-pip-version-check")
        self._run(*pip, "--quiet", "install", *arguments)

    def output(self, command: str, *arguments: str) -> str:
        """Return what a command of the environment prints, on either stream."""
        return self._run(str(self._bin / command), *arguments)

    @staticmethod
    def _run(*command: str) -> str:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=INSTALL_SECONDS,
        )
        assert done.returncode == 0, f"{command[:4]}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr


@pytest.fixture
def environment(tmp_path: Path, checkout: Path) -> Environment:
    """A fresh environment that holds the locked dependencies, and not bearerd."""
    made = Environment(tmp_path / "venv")
    made.install(
        "--require-hashes", "--requirement", str(checkout / "requirements.lock")
    )
    return made


def test_the_wheel_needs_what_the_lock_holds(
    environment: Environment, wheel_file: Path
) -> None:
    """The locked packages are all that it needs: nothing is missing, and nothing conflicts."""
    environment.install("--no-index", str(wheel_file))
    assert (
        environment.output("bearerd", "--version").strip() == f"bearerd {__version__}"
    )
    environment.output("python", "-m", "pip", "check")


@pytest.mark.parametrize("first", ["bearerd", NEIGHBOUR])
def test_bearerd_and_proxy_py_work_in_one_environment(
    environment: Environment, wheel_file: Path, checkout: Path, first: str
) -> None:
    """Both commands run, whichever of the two was installed first."""
    lock = checkout / "tests" / "packaging" / "requirements.lock"
    steps = {
        "bearerd": ("--no-index", str(wheel_file)),
        NEIGHBOUR: ("--require-hashes", "--requirement", str(lock)),
    }
    for name in sorted(steps, key=lambda name: name != first):
        environment.install(*steps[name])
    assert (
        environment.output("bearerd", "--version").strip() == f"bearerd {__version__}"
    )
    assert versions(lock)[NEIGHBOUR] in environment.output("proxy", "--version")
