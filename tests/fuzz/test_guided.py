"""The same properties once more, with coverage-guided inputs."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.shapes import CORPUS, GUIDED_SECONDS

ROOT = Path(__file__).parents[2]
KINDS = ("responses", "requests", "targets")
STARTING_SECONDS = 60


@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None,
    reason="atheris is not installed, so there is no coverage-guided fuzzing; pip "
    "install atheris, where it has a wheel for this Python",
)
@pytest.mark.parametrize("kind", KINDS)
def test_no_coverage_guided_input_breaks_a_property(kind: str, tmp_path: Path) -> None:
    """The run is bounded in time; the message has the input that broke one."""
    seconds = max(1, GUIDED_SECONDS // len(KINDS))
    command = [sys.executable, "-m", "tests.fuzz.guided", kind, str(seconds)]
    done = subprocess.run(
        [*command, str(tmp_path), str(CORPUS / kind)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=seconds + STARTING_SECONDS,
        check=False,
    )
    found = [path.read_bytes() for path in tmp_path.glob("crash-*")]
    assert (done.returncode, found) == (0, []), done.stderr[-4000:]
