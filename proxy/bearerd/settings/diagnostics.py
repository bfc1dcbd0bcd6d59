"""How a bad setting is reported: one line that can be acted on.

It has the name, the value unless that is a secret, what is allowed, and where it came
from. An unknown name is answered with the nearest one there is.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Mapping

from bearerd.errors import ConfigurationError

_SHOWN_CHARACTERS = 80


def refused(
    name: str, value: object, allowed: str, where: str, *, secret: bool = False
) -> ConfigurationError:
    """Return the error for a bad value."""
    said = _shown(value, secret=secret)
    return ConfigurationError(
        f"setting {name} = {said} (from {where}): allowed is {allowed}"
    )


def unknown(
    name: str, names: Collection[str], where: str, *, within: str = ""
) -> ConfigurationError:
    """Return the error for a name that is none; *within* is a prefix, such as a table.

    The value is not shown: it may be a secret under a misspelt name.
    """
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        hint = f"did you mean {within}{near[0]}?"
    else:
        hint = f"there are: {', '.join(names)}"
    return ConfigurationError(
        f"unknown setting {within}{_short(name)} (from {where}); {hint}"
    )


def _shown(value: object, *, secret: bool) -> str:
    if secret:
        return f"(hidden, {len(str(value))} characters)"
    if isinstance(value, Mapping):
        return "(a table)"
    # A user name and password in a URL are a secret in any setting.
    text = re.sub(r"//[^/@\s\"]*@", "//(hidden)@", json.dumps(value, default=str))
    return _short(text)


def _short(text: str) -> str:
    line = "".join(c if c.isprintable() else "?" for c in text)
    return line if len(line) <= _SHOWN_CHARACTERS else line[:_SHOWN_CHARACTERS] + "..."
