"""A program: prints the ids of the tests that each pytest command line selects, as JSON.

Usage: collected.py, with a JSON list of argument lists on stdin. One process collects for
all command lines, since importing the tests is what takes the time.
"""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout

import pytest


class Recorder:
    """A pytest plugin that keeps what was collected and not deselected."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.ids = [item.nodeid for item in session.items]


def collect(arguments: list[str]) -> list[str]:
    """Return the ids of the tests that `pytest ARGUMENTS` would run."""
    recorder = Recorder()
    with redirect_stdout(sys.stderr):
        code = pytest.main(["--collect-only", "-qqq", *arguments], plugins=[recorder])
    if code != pytest.ExitCode.OK:
        raise SystemExit(f"pytest {arguments} ended with {code!r}")
    return recorder.ids


if __name__ == "__main__":
    json.dump([collect(arguments) for arguments in json.load(sys.stdin)], sys.stdout)
