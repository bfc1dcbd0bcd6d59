"""Which source counts, and which config file is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from bearerd.settings import Folders, config_path, load_settings
from tests.settings.conftest import Load


def test_a_flag_beats_the_environment_and_the_environment_beats_the_file(
    load: Load,
) -> None:
    """Each setting by itself."""
    toml = "drain_seconds = 1\nrefresh_burst = 1\nlog_level = 'debug'"
    environ = {"BEARERD_DRAIN_SECONDS": "2", "BEARERD_REFRESH_BURST": "2"}
    settings = load({"drain_seconds": "3"}, environ, toml)
    assert settings.drain_seconds == 3
    assert settings.refresh_burst == 2
    assert settings.log_level == "debug"


@pytest.mark.parametrize(
    ("flag", "variable", "exists", "chosen"),
    [
        ("flag.toml", "variable.toml", True, "flag.toml"),
        (None, "variable.toml", True, "variable.toml"),
        (None, "", True, "config/bearerd.toml"),
        (None, None, True, "config/bearerd.toml"),
        (None, None, False, None),
        # A file that is named is read, so that its absence is an error.
        (None, "variable.toml", False, "variable.toml"),
    ],
)
def test_the_config_file_is_the_one_that_is_named_or_the_users_own(
    folders: Folders,
    flag: str | None,
    variable: str | None,
    exists: bool,
    chosen: str | None,
) -> None:
    """By the flag, by the environment, or by its place in the config folder."""
    if exists:
        folders.config.mkdir()
        folders.config_file.touch()
    root = folders.config.parent
    named = root / flag if flag else None
    environ = {}
    if variable is not None:
        environ["BEARERD_CONFIG"] = str(root / variable) if variable else ""
    path = config_path(named, environ, folders)
    assert path == (root / chosen if chosen else None)


def test_the_home_folder_of_the_config_file_is_expanded(folders: Folders) -> None:
    """A variable in a compose file has seen no shell."""
    environ = {"BEARERD_CONFIG": "~/x.toml"}
    assert config_path(None, environ, folders) == Path.home() / "x.toml"


def test_the_users_own_config_file_is_read(folders: Folders) -> None:
    """Without a flag or a variable."""
    folders.config.mkdir()
    folders.config_file.write_text("drain_seconds = 1")
    assert load_settings(None, {}, folders=folders).drain_seconds == 1
