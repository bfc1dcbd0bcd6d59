"""On what the figures were measured: without it they mean little."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import time
from importlib.metadata import version
from pathlib import Path

from proxy import __version__

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

    They push the measured ones off the core and out of its caches: that makes every
    figure higher, and draws ratios toward 1.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._others = _others_seconds()

    def share(self) -> float:
        """Return their part of the machine, 1 being all cores all the time.

        To be asked when all our own processes have ended.
        """
        cores = os.cpu_count() or 1
        seconds = time.monotonic() - self._began
        return max(0.0, (_others_seconds() - self._others) / seconds / cores)


def _others_seconds() -> float:
    """Return what the machine has worked so far, less what we and our children have.

    Interrupts are left out, since most of them are of our own traffic.
    """
    words = Path("/proc/stat").read_text().split(maxsplit=9)
    user, nice, system, _, _, _, _, steal = map(int, words[1:9])
    machine = (user + nice + system + steal) / os.sysconf("SC_CLK_TCK")
    uses = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return machine - sum(use.ru_utime + use.ru_stime for use in uses)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _nginx(program: str) -> str:
    told = subprocess.run([program, "-v"], capture_output=True, text=True, check=False)
    return told.stderr.strip().rpartition(": ")[2].replace("/", " ")
