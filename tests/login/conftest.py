"""One world for each test."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.login.world import World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Give an authority, an upstream and an empty folder that any user may enter."""
    folder = Path(tempfile.mkdtemp(prefix="login-"))
    folder.chmod(0o755)
    try:
        async with World(folder) as made:
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)
