"""The version of the Codex that is installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from bearerd.doctor.codex import Version, installed_version


@pytest.mark.parametrize(
    ("script", "version"),
    [
        ("echo codex-cli 0.130.2", (0, 130, 2)),
        ("echo no idea", None),
        ("exit 1", None),
    ],
)
def test_the_program_on_the_path_is_asked(
    tmp_path: Path, script: str, version: Version | None
) -> None:
    """None if there is no such program, or if it prints no version."""
    assert installed_version(str(tmp_path)) is None
    program = tmp_path / "codex"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o700)
    assert installed_version(str(tmp_path)) == version
