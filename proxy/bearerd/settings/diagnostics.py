"""The errors for settings: one line each that says what to change.

A line names the setting, its value unless that is a secret, where the value comes from,
and what was expected. For an unknown name it suggests the nearest known one or, if none
is near, the command that lists all.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Mapping
from typing import Final

from bearerd.errors import ConfigurationError

SHOWN_CHARACTERS: Final = 80
"""A value is cut off here: a line is enough to recognise it."""


def invalid_value(
    name: str, value: object, expected: str, location: str, *, secret: bool = False
) -> ConfigurationError:
    """Return the error for an invalid *value*, which was read from *location*."""
    shown = _shown(value, secret=secret)
    return ConfigurationError(
        f"setting {name} = {shown} (from {location}): expected {expected}"
    )


def unknown_setting(
    name: str, names: Collection[str], location: str, *, table: str = ""
) -> ConfigurationError:
    """Return the error for a *name* that is not one of *names*.

    *table* is the prefix of a table in the file, such as `profiles.work.`. The value is
    not shown: it may be a secret under a misspelt name.
    """
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        hint = f"did you mean {table}{near[0]}?"
    else:
        hint = "see `bearerd serve --help` for all settings"
    return ConfigurationError(
        f"unknown setting {table}{_one_line(name)} (from {location}); {hint}"
    )


def _shown(value: object, *, secret: bool) -> str:
    if secret:
        return f"(hidden, {len(str(value))} characters)"
    if isinstance(value, Mapping):
        return "(a table)"
    # A user name and password in a URL are a secret in any setting.
    text = re.sub(r"//[^/@\s\"]*@", "//(hidden)@", json.dumps(value, default=str))
    return _one_line(text)


def _one_line(text: str) -> str:
    line = "".join(c if c.isprintable() else "?" for c in text)
    return line if len(line) <= SHOWN_CHARACTERS else line[:SHOWN_CHARACTERS] + "..."
