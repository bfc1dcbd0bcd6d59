"""A daemon as a process: its environment, and a start that fails."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bearerd.errors import StartError
from bearerd.harness.daemon import child_environment, start_daemon


async def test_a_daemon_that_does_not_start_is_an_error_with_the_reason(
    tmp_path: Path,
) -> None:
    """The last line of its log is the reason."""
    settings = {"upstream_url": "nonsense"}
    async with start_daemon(tmp_path / "auth.json", settings, os.environ) as daemon:
        with pytest.raises(StartError, match="upstream_url"):
            await daemon.base_url()


def test_a_daemon_has_none_of_this_users_settings() -> None:
    """Variables of bearerd are replaced, the others are kept."""
    environ = {"BEARERD_STORE": "/mine", "HOME": "/home"}
    child = child_environment(environ, {"listen": "127.0.0.1:0"})
    assert child["BEARERD_LISTEN"] == "127.0.0.1:0"
    assert child["HOME"] == "/home"
    assert "BEARERD_STORE" not in child
