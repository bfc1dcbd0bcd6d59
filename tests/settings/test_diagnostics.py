"""The lines for invalid values and unknown names."""

from __future__ import annotations

import pytest

from bearerd.settings.diagnostics import (
    SHOWN_CHARACTERS,
    invalid_value,
    unknown_setting,
)

NAMES = ("listen", "upstream_url", "client_key")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("ten", '"ten"'),
        (3, "3"),
        (True, "true"),
        (["a", 1], '["a", 1]'),
        ({"a": 1}, "(a table)"),
        ("x" * 200, '"' + "x" * (SHOWN_CHARACTERS - 1) + "..."),
        ("https://user:made-up@host/", '"https://(hidden)@host/"'),
        ("a\n\x1b[2J", r'"a\n\u001b[2J"'),
    ],
)
def test_a_line_shows_the_value_shortened_and_without_passwords(
    value: object, shown: str
) -> None:
    """As JSON, so that text and number differ and no control character is printed."""
    error = invalid_value("listen", value, "an address", "flag --listen")
    assert error.message == (
        f"setting listen = {shown} (from flag --listen): expected an address"
    )


def test_a_line_shows_only_the_length_of_a_secret() -> None:
    """The length is enough to notice a truncated copy."""
    error = invalid_value("client_key", "hunter2", "x", "default", secret=True)
    assert "(hidden, 7 characters)" in error.message
    assert "hunter2" not in error.message


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("lisen", "did you mean listen?"),
        ("server", "see `bearerd serve --help` for all settings"),
    ],
)
def test_an_unknown_name_gets_the_nearest_name_or_the_command_that_lists_all(
    name: str, hint: str
) -> None:
    """The location is in the line; the value is not, as it may be a secret."""
    error = unknown_setting(name, NAMES, "file /x")
    assert error.message == f"unknown setting {name} (from file /x); {hint}"


def test_an_unknown_name_in_a_table_is_shown_with_the_table() -> None:
    """In both places of the line."""
    error = unknown_setting("lisen", NAMES, "file /x", table="profiles.work.")
    assert "unknown setting profiles.work.lisen " in error.message
    assert "did you mean profiles.work.listen?" in error.message


def test_an_unknown_name_cannot_break_the_line() -> None:
    """A key of a TOML file may contain any character."""
    error = unknown_setting("a\n\x1b[2J" + "x" * 200, NAMES, "file /x")
    assert "unknown setting a??[2Jxxx" in error.message
    assert "\n" not in error.message
