"""On what the figures were measured: without it they mean little."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from bearerd import __version__

LIBRARIES = ("aiohttp", "httptools", "uvloop")


def describe(nginx: str) -> str:
    """Return one line: processor, kernel and versions."""
    cores = len(os.sched_getaffinity(0))
    parts = [
        f"{_processor()}, {cores} core{'s' * (cores > 1)}",
        f"{platform.system()} {platform.release()}",
        f"Python {platform.python_version()}",
        *(f"{name} {version(name)}" for name in LIBRARIES),
        _nginx(nginx),
        f"bearerd {__version__}",
    ]
    return "; ".join(parts)


class Neighbours:
    """What other processes took of the machine since this was made.

    They push the measured ones off the core and out of its caches: that makes figures
    higher, blurs delays, and draws ratios toward 1. *ours* tells the processor seconds
    that we have used ourselves.
    """

    def __init__(self, ours: Callable[[], float]) -> None:
        self._ours = ours
        self._began = time.monotonic()
        self._others = _machine_seconds() - ours()

    def share(self) -> float:
        """Return their part of the machine, 1 being all cores all the time."""
        cores = os.cpu_count() or 1
        seconds = time.monotonic() - self._began
        others = _machine_seconds() - self._ours() - self._others
        return max(0.0, others / seconds / cores)


def run_seconds() -> float:
    """Return the processor seconds of this process and its children that have ended."""
    uses = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(use.ru_utime + use.ru_stime for use in uses)


def _machine_seconds() -> float:
    """Return what the machine has worked since it started.

    Interrupts are left out, since most of them are of our own traffic.
    """
    words = Path("/proc/stat").read_text().split(maxsplit=9)
    user, nice, system, _, _, _, _, steal = map(int, words[1:9])
    return (user + nice + system + steal) / os.sysconf("SC_CLK_TCK")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _nginx(program: str) -> str:
    told = subprocess.run([program, "-v"], capture_output=True, text=True, check=False)
    return told.stderr.strip().rpartition(": ")[2].replace("/", " ")
