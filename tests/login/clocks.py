"""A clock for processes of bearerd that runs fast and can be set, by a preloaded library."""

from __future__ import annotations

import shutil
import struct
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("fast_clock.c")

needs_compiler = pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")


def build_library(folder: Path) -> Path:
    """Compile the library that processes preload."""
    library = folder / "fast_clock.so"
    subprocess.run(
        ["cc", "-O1", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"],
        check=True,
        capture_output=True,
    )
    return library


class FastClock:
    """Owns the clock of each process that gets `environ`. `now` is for the stand-ins."""

    def __init__(self, folder: Path, library: Path, speed: float = 1.0) -> None:
        self.speed = speed
        self.jump = 0.0
        self._wall = time.time()
        self._mono = time.monotonic()
        self._file = folder / "clock"
        self._library = library
        self.set_wrong_by(0.0)

    @property
    def environ(self) -> Mapping[str, str]:
        """The environment variables of a process that lives by this clock."""
        return {"LD_PRELOAD": str(self._library), "CLOCK_FILE": str(self._file)}

    def now(self) -> float:
        """Return the right time by the fast clock, without what processes are wrong by."""
        return self._wall + (time.time() - self._wall) * self.speed

    def at(self, moment: float) -> float:
        """Return what `now` was at a moment of the real monotonic clock."""
        return self._wall + (moment - self._mono) * self.speed

    def set_wrong_by(self, seconds: float) -> None:
        """Set the wall clock of each process: this much ahead of `now`."""
        self.jump = seconds
        data = struct.pack("dddd", self.speed, self._wall, self._mono, seconds)
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(data)

    def real(self, seconds: float) -> float:
        """Return how long some seconds of the fast clock take."""
        return seconds / self.speed
