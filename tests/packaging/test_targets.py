"""The make targets: every test belongs to one, and CI runs them all."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ENDS = {"test-oldest", "test-newest"}
"""They run `test` and `test-wire` again, in other environments."""


def makefile_targets(checkout: Path) -> set[str]:
    """Return the targets that `make help` lists."""
    text = (checkout / "Makefile").read_text()
    return set(re.findall(r"^([a-z-]+):.*## ", text, re.MULTILINE))


def ci_targets(checkout: Path) -> set[str]:
    """Return the targets that `.ci/run` makes."""
    text = (checkout / ".ci" / "run").read_text()
    return set(re.findall(r"^check \d+ ([a-z-]+)$", text, re.MULTILINE))


def pytest_arguments(checkout: Path, target: str) -> list[list[str]]:
    """Return the arguments of each pytest command that a target runs."""
    dry_run = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", target],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=True,
    )
    commands = re.findall(r"-m pytest (.*)$", dry_run.stdout, re.MULTILINE)
    return [shlex.split(command) for command in commands]


def test_ci_makes_every_suite(checkout: Path) -> None:
    """A target that only people run is a suite that breaks unseen."""
    suites = {name for name in makefile_targets(checkout) if name.startswith("test")}
    assert (
        suites | {"lint", "coverage"}
        <= ci_targets(checkout)
        <= makefile_targets(checkout)
    )


def test_every_test_belongs_to_a_target_that_ci_makes(checkout: Path) -> None:
    """Collected without any selection, and by each target's own commands."""
    targets = sorted(ci_targets(checkout) - ENDS)
    commands = [
        arguments
        for target in targets
        for arguments in pytest_arguments(checkout, target)
    ]
    assert commands
    collected = subprocess.run(
        [sys.executable, str(checkout / "tests" / "packaging" / "collected.py")],
        input=json.dumps([[], *commands]),
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )
    assert collected.returncode == 0, collected.stderr
    everything, *selected = json.loads(collected.stdout)
    assert len(everything) > 3000
    assert set(everything) - {name for names in selected for name in names} == set()


def hooks(checkout: Path) -> list[dict[str, Any]]:
    """Return the hooks of the pre-commit configuration, all of which are local."""
    parsed = yaml.safe_load((checkout / ".pre-commit-config.yaml").read_text())
    assert [repository["repo"] for repository in parsed["repos"]] == ["local"]
    return [hook for repository in parsed["repos"] for hook in repository["hooks"]]


def test_the_commit_hooks_run_the_same_targets(checkout: Path) -> None:
    """A hook is a make target, so it asks for nothing that CI does not ask for."""
    found = hooks(checkout)
    assert found
    for hook in found:
        command, target = hook["entry"].split()
        assert (command, hook["language"]) == ("make", "system")
        assert target in ci_targets(checkout)
        assert not hook["pass_filenames"]
