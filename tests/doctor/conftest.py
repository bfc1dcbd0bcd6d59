"""A store with a valid login, and a machine that the checks can be run on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from bearerd.address import Address
from bearerd.clock import Clock
from bearerd.doctor.findings import Finding
from bearerd.doctor.runner import Machine
from bearerd.files.mounts import Mount
from bearerd.sandbox import Sandbox
from tests.support import Canary, write_login

MOUNTS = (Mount(PurePosixPath("/"), "ext4"),)

MakeMachine = Callable[..., Machine]


def no_daemon(_: Sequence[Address], __: str) -> Mapping[str, Any] | None:
    """Return None, as if no daemon ran."""
    return None


def messages(findings: Sequence[Finding], topic: str) -> list[str]:
    """Return the messages on one topic."""
    return [finding.message for finding in findings if finding.topic == topic]


def verdicts(findings: Sequence[Finding], topic: str) -> list[str]:
    """Return the verdicts on one topic."""
    return [finding.verdict for finding in findings if finding.topic == topic]


def delete(path: Path) -> None:
    """Remove a file."""
    path.unlink()


def block_folder(store: Path) -> None:
    """Put a file in the place of the folder of *store*."""
    store.unlink()
    store.parent.rmdir()
    store.parent.write_text("not a folder", encoding="utf-8")


@pytest.fixture
async def store(tmp_path: Path, canary: Canary) -> Path:
    """A private file with a valid login."""
    sandbox = Sandbox()
    canary.watches(sandbox)
    path = tmp_path / "data" / "auth.json"
    write_login(path, sandbox.auth_document())
    path.chmod(0o600)
    return path


@pytest.fixture
def codex(tmp_path: Path) -> Path:
    """The path of Codex's own file, which does not exist."""
    return tmp_path / "codex" / "auth.json"


@pytest.fixture
def machine(codex: Path) -> MakeMachine:
    """Make a machine without Codex, daemon and settings, but for *changes*."""

    def make(**changes: Any) -> Machine:
        bare = Machine(
            environ={},
            config=None,
            codex=codex,
            mounts=MOUNTS,
            clock=Clock(),
            get_json=no_daemon,
        )
        return dataclasses.replace(bare, **changes)

    return make
