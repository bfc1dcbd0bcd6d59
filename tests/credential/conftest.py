"""The home of a login, and a check that no test leaks a secret."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.credential.stand_ins import MARK, START, Home
from tests.support.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands still until a test moves it."""
    return ManualClock(START)


@pytest.fixture
def home(tmp_path: Path, clock: ManualClock) -> Iterator[Home]:
    """An empty home. At the end, nothing that it announced holds a secret."""
    made = Home(tmp_path, clock)
    yield made
    assert MARK not in repr(made.events)


@pytest.fixture(autouse=True)
def nothing_leaks(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> Iterator[None]:
    """No secret is logged or printed, and asyncio logs nothing.

    asyncio logs an exception that was never retrieved when its task is collected.
    """
    yield
    gc.collect(0)
    printed = capfd.readouterr()
    for text in (caplog.text, printed.out, printed.err):
        assert MARK not in text
    assert not [record for record in caplog.records if record.name == "asyncio"]
