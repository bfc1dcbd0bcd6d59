"""The documentation that each setting has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bearerd.settings import Settings, list_settings
from bearerd.settings.metadata import GROUPS, SettingInfo
from tests.support.source_code import PACKAGE, attributes_read

EVERY_SETTING = pytest.mark.parametrize(
    "info", list_settings(), ids=lambda info: info.name
)


@EVERY_SETTING
def test_a_setting_is_documented(info: SettingInfo) -> None:
    """Help in whole sentences, a default, and what is expected."""
    assert info.help.endswith(".")
    assert info.default
    assert info.expected
    assert info.group in GROUPS


@EVERY_SETTING
def test_a_number_with_a_unit_has_the_unit_in_its_name_and_bounds(
    info: SettingInfo,
) -> None:
    """Seconds and bytes; both bounds are in the text of an error."""
    if info.name.endswith(("_seconds", "_bytes")):
        assert info.name.endswith(info.unit)
        assert info.default_with_unit == f"{info.default} {info.unit}"
        assert re.search(r"from [\d.]+ to [\d.e+]+", info.expected)


@pytest.mark.parametrize(
    ("name", "metavar"),
    [
        ("listen", "ADDRESS,..."),
        ("store", "PATH"),
        ("ca_file", "PATH"),
        ("client_key_file", "PATH"),
        ("client_key", "KEY"),
        ("token_url", "URL"),
        ("upstream_proxy", "URL"),
        ("allowed_hosts", "HOST,..."),
        ("allowed_origins", "ORIGIN,..."),
        ("profiles", "NAME,..."),
        ("client_id", "TEXT"),
        ("require_key", "true|false"),
        ("via", "true|false"),
        ("log_level", "debug|info|warning|error"),
        ("log_format", "auto|console|json"),
        ("drain_seconds", "SECONDS"),
        ("replay_limit_bytes", "BYTES"),
        ("max_requests", "REQUESTS"),
    ],
)
def test_the_placeholder_of_a_value_follows_from_its_type(
    name: str, metavar: str
) -> None:
    """Not from the setting's name or default; optional ones have that of their type."""
    by_name = {info.name: info for info in list_settings()}
    assert by_name[name].metavar == metavar


def test_settings_are_listed_by_group() -> None:
    """Each once, and the groups in their order."""
    infos = list_settings()
    assert {info.name for info in infos} == set(Settings.model_fields)
    ranks = [GROUPS.index(info.group) for info in infos]
    assert ranks == sorted(ranks)


def test_secrets_are_marked() -> None:
    """Their values are in no error and in no `repr`."""
    secrets = {info.name for info in list_settings() if info.secret}
    assert secrets == {"client_key", "upstream_proxy"}


def test_every_setting_is_read_somewhere() -> None:
    """A setting without an effect would be a promise that is not kept.

    `client_key_file` becomes `client_key` when the settings are loaded.
    """

    def gets_settings(module: Path) -> bool:
        text = (PACKAGE / module).read_text()
        return module.parts[0] != "settings" and "bearerd.settings" in text

    read = attributes_read(gets_settings)
    unread = [info.name for info in list_settings() if info.name not in read]
    assert unread == ["client_key_file"]
