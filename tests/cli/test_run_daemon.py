"""The daemon's process: the steps of its shutdown, and its limit on open files."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys

import pytest

from bearerd.cli.run_daemon import ShutdownSignals
from bearerd.errors import ExitCode

LIMITS = """
import resource
from bearerd.cli.run_daemon import raise_descriptor_limit

_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
raise_descriptor_limit()
print(resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard))
"""


def test_each_signal_takes_one_step_of_the_shutdown() -> None:
    """Drain, abort, exit: whichever of the signals it is."""
    stop, force = asyncio.Event(), asyncio.Event()
    exits: list[int] = []
    signals = ShutdownSignals(stop, force, exits.append)
    assert not stop.is_set()
    signals.on_signal(signal.SIGTERM)
    assert (stop.is_set(), force.is_set()) == (True, False)
    signals.on_signal(signal.SIGINT)
    assert force.is_set()
    assert exits == []
    signals.on_signal(signal.SIGTERM)
    assert exits == [128 + signal.SIGTERM]


@pytest.mark.parametrize(
    ("numbers", "code"),
    [
        ([], ExitCode.OK),
        ([signal.SIGTERM], ExitCode.OK),
        ([signal.SIGHUP], ExitCode.OK),
        ([signal.SIGINT], ExitCode.INTERRUPTED),
        ([signal.SIGTERM, signal.SIGINT], ExitCode.OK),
        ([signal.SIGINT, signal.SIGTERM], ExitCode.INTERRUPTED),
    ],
)
def test_the_first_signal_decides_the_exit_code(
    numbers: list[int], code: ExitCode
) -> None:
    """A daemon that a supervisor stops ends with 0."""
    signals = ShutdownSignals(asyncio.Event(), asyncio.Event(), lambda _: None)
    for number in numbers:
        signals.on_signal(number)
    assert signals.exit_code == code


def test_the_soft_limit_on_open_files_becomes_the_hard_one() -> None:
    """A thousand streams take two thousand descriptors; the usual limit is 1024."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITS], check=True, capture_output=True, text=True
    )
    assert done.stdout == "True\n"
