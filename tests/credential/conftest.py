"""The home of a login, and the watch that no test lets a secret out."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.credential.stand_ins import MARK, Hands, Home


@pytest.fixture
def hands() -> Hands:
    """Hands that stand still until a test moves them."""
    return Hands()


@pytest.fixture
def home(tmp_path: Path, hands: Hands) -> Iterator[Home]:
    """An empty home; at the end, nothing that it announced holds a secret."""
    made = Home(tmp_path, hands)
    yield made
    assert MARK not in repr(made.events)


@pytest.fixture(autouse=True)
def nothing_leaks(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> Iterator[None]:
    """No secret is logged or printed, and asyncio has nothing to complain of.

    asyncio speaks of an exception that nobody saw when its task is collected.
    """
    yield
    gc.collect(0)
    printed = capfd.readouterr()
    for text in (caplog.text, printed.out, printed.err):
        assert MARK not in text
    assert not [record for record in caplog.records if record.name == "asyncio"]
