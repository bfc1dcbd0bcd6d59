"""Settings as flags: which flags a command has, and what it gets."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from bearerd.cli.flags import with_settings
from bearerd.settings import Settings, list_settings


def names_of(command: object) -> set[str]:
    """Return the names of a command's parameters."""
    return set(inspect.signature(command).parameters)  # type: ignore[arg-type]


def test_a_command_has_the_flags_that_it_asks_for_and_its_own() -> None:
    """Also `--config`, and no others."""

    @with_settings("store", "profiles")
    def command(settings: Settings, name: str, *, json: bool = False) -> int:
        raise NotImplementedError

    assert names_of(command) == {"name", "json", "config", "store", "profiles"}


def test_a_command_without_names_has_a_flag_for_every_setting() -> None:
    """As `serve` has."""

    @with_settings()
    def command(settings: Settings) -> int:
        raise NotImplementedError

    assert names_of(command) == {"config", *(info.name for info in list_settings())}


def test_a_help_text_can_be_that_of_the_command() -> None:
    """A setting about requests means something else to a command that makes none."""

    @with_settings("store", help_texts={"drain_seconds": "Of this command."})
    def command(settings: Settings) -> int:
        raise NotImplementedError

    assert names_of(command) == {"config", "store", "drain_seconds"}
    flag = inspect.signature(command).parameters["drain_seconds"]
    (option,) = flag.annotation.__metadata__
    assert option.help == "Of this command. Default: 30 seconds."


def test_the_settings_are_loaded_with_the_flags_and_the_config_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flag that is not given is no value."""
    monkeypatch.setenv("HOME", str(tmp_path))
    config = tmp_path / "b.toml"
    config.write_text("drain_seconds = 7")

    @with_settings("store", "profiles")
    def command(settings: Settings, *, json: bool = False) -> int:
        assert json
        assert settings.store == tmp_path / "x.json"
        assert settings.drain_seconds == 7
        return 5

    given = {"store": str(tmp_path / "x.json"), "profiles": None, "config": config}
    assert command(**given, json=True) == 5
