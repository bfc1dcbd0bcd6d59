"""Flags, environment and file: names, locations, and files that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from bearerd.errors import ConfigurationError
from bearerd.settings import Folders, load_settings
from tests.settings.conftest import ErrorLine, Load

KEY = "9f2c7a5be4d84e1fa3306b72"


def test_an_unknown_name_is_an_error_in_every_source(
    error_line: ErrorLine, tmp_path: Path
) -> None:
    """With the location and the nearest name, and without the value."""
    hint = "; did you mean client_key?"
    line = error_line(environ={"BEARERD_CLIENT_KYE": "made-up-secret"})
    assert line == (
        f"unknown setting client_kye (from environment BEARERD_CLIENT_KYE){hint}"
    )
    assert error_line(flags={"client_kye": "x"}).endswith(hint)
    line = error_line(toml="client_kye = 'x'")
    assert line == (
        f"unknown setting client_kye (from file {tmp_path}/bearerd.toml){hint}"
    )
    line = error_line(toml="[profiles.work]\nstroe = 'x'")
    assert line.startswith("unknown setting profiles.work.stroe (from file")
    assert line.endswith("; did you mean profiles.work.store?")


def test_a_table_of_another_program_is_an_unknown_name(error_line: ErrorLine) -> None:
    """No name is near it, so the line names the command that lists all."""
    line = error_line(toml="[server]\nhost = 'x'")
    assert line.startswith("unknown setting server (from file")
    assert line.endswith("; see `bearerd serve --help` for all settings")


@pytest.mark.parametrize("value", ["1", "4"])
def test_a_removed_setting_is_an_unknown_name(
    error_line: ErrorLine, tmp_path: Path, value: str
) -> None:
    """An old file that sets `workers` stops the start, whatever the value is."""
    line = error_line(toml=f"workers = {value}")
    assert line.startswith(f"unknown setting workers (from file {tmp_path}/")
    line = error_line(environ={"BEARERD_WORKERS": value})
    assert line.startswith("unknown setting workers (from environment BEARERD_WORKERS)")


def test_an_empty_variable_counts_as_not_set(load: Load) -> None:
    """Compose files pass on variables that have no value."""
    settings = load(None, {"BEARERD_CLIENT_KEY": "", "BEARERD_CA_FILE": ""})
    assert settings.client_key is None
    assert settings.ca_file is None


def test_kubernetes_service_links_are_not_settings(load: Load) -> None:
    """Every pod beside a Service named bearerd has these variables."""
    settings = load(
        None,
        {
            "BEARERD_SERVICE_HOST": "10.0.0.11",
            "BEARERD_SERVICE_PORT": "8787",
            "BEARERD_SERVICE_PORT_RELAY": "8787",
            "BEARERD_PORT": "tcp://10.0.0.11:8787",
            "BEARERD_PORT_8787_TCP": "tcp://10.0.0.11:8787",
            "BEARERD_PORT_8787_TCP_ADDR": "10.0.0.11",
            "BEARERD_ADMIN_SERVICE_HOST": "10.0.0.12",
            "BEARERD_ADMIN_PORT": "tcp://10.0.0.12:8788",
        },
    )
    assert settings == load()


@pytest.mark.parametrize(
    ("toml", "reason"),
    [
        (b"listen =", "this is not TOML"),
        (b"\n\nx y", "line 3"),
        (b"\xff\xfe", "this is not TOML"),
        (None, "No such file"),
    ],
    ids=["cut off", "bad line", "not UTF-8", "missing"],
)
def test_a_file_that_cannot_be_read_is_an_error(
    tmp_path: Path, folders: Folders, toml: bytes | None, reason: str
) -> None:
    """One line with the path and the reason."""
    path = tmp_path / "named.toml"
    if toml is not None:
        path.write_bytes(toml)
    with pytest.raises(ConfigurationError) as caught:
        load_settings(None, {"BEARERD_CONFIG": str(path)}, folders=folders)
    line = caught.value.message
    assert f"config file {path}: " in line
    assert reason in line
    assert len(line.splitlines()) == 1


def test_the_client_key_can_come_from_a_file(load: Load, tmp_path: Path) -> None:
    """Without the end of line at its end."""
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n")
    settings = load(None, {"BEARERD_CLIENT_KEY_FILE": str(path)})
    assert settings.client_key is not None
    assert settings.client_key.get_secret_value() == KEY


def test_a_client_key_and_a_client_key_file_exclude_each_other(
    error_line: ErrorLine, tmp_path: Path
) -> None:
    """The line names the location of both."""
    path = tmp_path / "key"
    path.write_text(KEY)
    line = error_line(
        environ={"BEARERD_CLIENT_KEY_FILE": str(path)}, toml=f"client_key = '{KEY}'"
    )
    assert "environment BEARERD_CLIENT_KEY_FILE" in line
    assert "client_key (from file" in line


def test_a_weak_key_in_a_file_is_an_error_with_the_path_of_that_file(
    error_line: ErrorLine, tmp_path: Path
) -> None:
    """The key is hidden, although it is too weak to be used."""
    path = tmp_path / "key"
    path.write_text("hunter2\n")
    line = error_line(environ={"BEARERD_CLIENT_KEY_FILE": str(path)})
    assert f"(from client_key_file {path}): expected at least 24 characters" in line
    assert "hunter2" not in line
