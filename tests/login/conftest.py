"""One world for each test."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.login.clocks import build_library
from tests.login.world import World


@pytest.fixture(scope="session")
def clock_library(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """The library of the fast clock; None without a compiler."""
    if shutil.which("cc") is None:
        return None
    return build_library(tmp_path_factory.mktemp("clock"))


@pytest.fixture
async def world(clock_library: Path | None) -> AsyncIterator[World]:
    """Give an authority, an upstream and an empty folder that any user may enter."""
    with tempfile.TemporaryDirectory(
        prefix="login-", ignore_cleanup_errors=True
    ) as name:
        os.chmod(name, 0o755)  # noqa: PTH101, S103 - the service's user reads it
        async with World(Path(name), clock_library) as made:
            yield made
