"""A key file in a folder that does not exist yet, and a clock that a test moves."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest

from bearerd.clock import Clock
from bearerd.keys.ring import KeyRing

START = 1_800_000_000.0


class ManualClock:
    """A clock that stands still until a test moves `seconds`."""

    def __init__(self) -> None:
        self.seconds = START

    def read(self) -> float:
        return self.seconds

    def clock(self) -> Clock:
        return Clock(now=self.read, monotonic=self.read, sleep=asyncio.sleep)


@pytest.fixture
def time() -> ManualClock:
    """The time of the ring."""
    return ManualClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A key file in a folder that does not exist yet."""
    return tmp_path / "data" / "keys.json"


@pytest.fixture
def ring(path: Path, time: ManualClock) -> KeyRing:
    """A ring on that file."""
    return KeyRing.load(path, clock=time.clock())


def mode_of(path: Path) -> int:
    """Return the permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)
