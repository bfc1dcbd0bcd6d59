"""On what the figures were measured: without it they mean little."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from proxy import __version__

LIBRARIES = ("aiohttp", "httptools", "uvloop")


def describe(nginx: str) -> str:
    """Return one line: processor, kernel, versions, and how busy the machine is."""
    cores = len(os.sched_getaffinity(0))
    parts = [
        f"{_processor()}, {cores} core{'s' * (cores > 1)}",
        f"{platform.system()} {platform.release()}",
        f"Python {platform.python_version()}",
        *(f"{name} {version(name)}" for name in LIBRARIES),
        _nginx(nginx),
        f"bearerd {__version__}",
        f"load average {os.getloadavg()[0]:.2f}",
    ]
    return "; ".join(parts)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _nginx(program: str) -> str:
    told = subprocess.run([program, "-v"], capture_output=True, text=True, check=False)
    return told.stderr.strip().rpartition(": ")[2].replace("/", " ")
