"""The agents on this machine: installed once under `.cache/clients`, from locks with hashes.

Rules:

1. An installation that matches its lock is used as it is; any other is made anew.
2. Nothing is skipped: what cannot be installed fails the tests that need it, in one line.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from filelock import FileLock

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / ".cache" / "clients"
NODE_FILES = [HERE / "node" / name for name in ("package.json", "package-lock.json")]
PYTHON_LOCK = HERE / "requirements.lock"
DONE = "installed-from"
PATIENCE_SECONDS = 300
"""Codex is a download of 150 MB; both take ten seconds on a good line."""


def install_codex() -> Path:
    """Return the `codex` command of the version in the lock."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            _fail(f"{program} is not on the path: Codex CLI needs Node.js 16 or newer")
    folder = CACHE / "node"

    def install() -> None:
        for file in [*NODE_FILES, HERE / "node" / ".npmrc"]:
            shutil.copy(file, folder)
        # The program itself is an optional dependency, one for each platform.
        _run("npm", "ci", "--include=optional", "--loglevel=error", cwd=folder)

    _once(folder, f"{_digest(*NODE_FILES)} {sysconfig.get_platform()}", install)
    return folder / "node_modules" / ".bin" / "codex"


def install_sdk() -> Path:
    """Return a Python that has the OpenAI SDK of the version in the lock."""
    folder = CACHE / "python"
    python = folder / "bin" / "python"

    def install() -> None:
        _run(sys.executable, "-m", "venv", str(folder))
        pip = (str(python), "-m", "pip", "--disable-pip-version-check", "--quiet")
        _run(*pip, "install", "--require-hashes", "--requirement", str(PYTHON_LOCK))

    _once(folder, f"{_digest(PYTHON_LOCK)} {sys.base_prefix} {sys.version}", install)
    return python


def _once(folder: Path, wanted: str, install: Callable[[], None]) -> None:
    """Call *install* on an empty *folder*, unless it holds what is *wanted* already."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock"), timeout=2 * PATIENCE_SECONDS):
        done = folder / DONE
        if done.exists() and done.read_text() == wanted:
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        install()
        done.write_text(wanted)


def _run(*command: str, cwd: Path | None = None) -> None:
    """Run a step of an installation; fail the test with its last words."""
    said = " ".join(command[:3])
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )
    except subprocess.TimeoutExpired:
        _fail(f"`{said}` was not done after {PATIENCE_SECONDS} s")
    if done.returncode:
        words = " ".join(done.stderr.split()) or "it said nothing"
        _fail(f"`{said}` ended with {done.returncode}: {words[-600:]}")


def _digest(*files: Path) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _fail(reason: str) -> NoReturn:
    pytest.fail(f"the real agents could not be installed: {reason}", pytrace=False)
