"""Fixtures of every chaos suite: the scale, the report, the fork server, the state folder."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from tests.chaos.report import Report
from tests.chaos.scale import Scale, chosen
from tests.chaos.victims import nursery

REPORT = pytest.StashKey[Report]()


def pytest_configure(config: pytest.Config) -> None:
    """Make room for the tables."""
    config.stash[REPORT] = Report()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Show the tables."""
    for table in config.stash[REPORT].tables:
        terminalreporter.write_line("")
        terminalreporter.write_line(table)


@pytest.fixture
def report(pytestconfig: pytest.Config) -> Report:
    """Where tables go."""
    return pytestconfig.stash[REPORT]


@pytest.fixture(scope="session")
def scale() -> Scale:
    """How much of everything."""
    return chosen()


@pytest.fixture(scope="session")
def context() -> Iterator[ForkServerContext]:
    """What victims are forked from; it ends with the session."""
    made = nursery()
    yield made
    assert multiprocessing.active_children() == []


@pytest.fixture(autouse=True)
def own_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No rescue place of this machine's user is looked at, or written to."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
