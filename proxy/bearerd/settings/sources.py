"""The sources of settings: flags, the environment, and a TOML file.

A source holds raw values under known names, and the place of each. Whether a value is
valid is decided later, by the types of the settings.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from bearerd.errors import ConfigurationError
from bearerd.settings.diagnostics import invalid_value, unknown_setting

PREFIX: Final = "BEARERD_"
"""The prefix of every environment variable that is a setting."""

CONFIG_VARIABLE: Final = "BEARERD_CONFIG"
"""The environment variable that names the config file; it is no setting itself."""

PROFILE_NAME_EXPECTED: Final = (
    "lower-case letters, digits, '.', '_' and '-', at most 63, first a letter or digit"
)
_PROFILE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")

# Kubernetes describes a Service named bearerd to every pod of its namespace in these
# variables, in the form of Docker's old container links. They are not settings.
_SERVICE_LINK = re.compile(
    r"BEARERD_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)"
)
_SERVICE_LINK_URL = re.compile(r"(tcp|udp|sctp)://\S+")


@dataclass(frozen=True, slots=True)
class Source:
    """Raw values by name. `location(name)` describes where the value of *name* is."""

    values: Mapping[str, object] = field(repr=False)
    location: Callable[[str], str] = field(repr=False)


def from_flags(flags: Mapping[str, str], names: Collection[str]) -> Source:
    """Return the source of the command line's flags, which are keyed by setting name.

    Raises:
        ConfigurationError: a flag is not one of *names*.
    """

    def location(name: str) -> str:
        return f"flag --{name.replace('_', '-')}"

    for name in flags:
        if name not in names:
            raise unknown_setting(name, names, location(name))
    return Source(flags, location)


def from_environment(environ: Mapping[str, str], names: Collection[str]) -> Source:
    """Return the source of the variables that begin with `PREFIX`.

    An empty variable counts as not set, since compose files pass such variables on. Only
    for `admin_listen` an empty value has a meaning.

    Raises:
        ConfigurationError: such a variable is neither one of *names* nor a service link.
    """
    values: dict[str, object] = {}
    for variable, value in environ.items():
        if not variable.startswith(PREFIX) or variable == CONFIG_VARIABLE:
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name in names:
            if value or name == "admin_listen":
                values[name] = value
        elif not _is_service_link(variable, value):
            raise unknown_setting(name, names, f"environment {variable}")
    return Source(values, lambda name: f"environment {PREFIX}{name.upper()}")


def from_file(path: Path, names: Collection[str]) -> Source:
    """Return the source of the TOML file at *path*.

    Raises:
        ConfigurationError: it cannot be read, is not TOML, or has an unknown name.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"config file {path}: cannot be read: {error.strerror}; name another with "
            f"--config or {CONFIG_VARIABLE}"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigurationError(
            f"config file {path}: this is not TOML: {reason}"
        ) from error
    for name in document:
        if name not in names:
            raise unknown_setting(name, names, f"file {path}")
    return Source(document, lambda _: f"file {path}")


def with_profile_tables(source: Source, fields: Collection[str]) -> Source:
    """Return *source* with its `profiles` as a table of tables.

    A list of names, or names separated by commas, become empty tables. *fields* are the
    settings that a profile may have.

    Raises:
        ConfigurationError: a profile's name or a name in its table is not allowed.
    """
    given = source.values.get("profiles")
    if given is None:
        return source
    location = source.location("profiles")
    names = given.split(",") if isinstance(given, str) else given
    if isinstance(names, list):
        tables: object = {str(name).strip(): {} for name in names if str(name).strip()}
    else:
        tables = names
    if not isinstance(tables, dict):
        expected = "names, or in the file one table [profiles.NAME] each"
        raise invalid_value("profiles", given, expected, location)
    for name, table in tables.items():
        if not _PROFILE_NAME.fullmatch(name):
            raise invalid_value("profiles", name, PROFILE_NAME_EXPECTED, location)
        if not isinstance(table, dict):
            raise invalid_value(f"profiles.{name}", table, "a table", location)
        for key in table:
            if key not in fields:
                raise unknown_setting(key, fields, location, table=f"profiles.{name}.")
    return replace(source, values={**source.values, "profiles": tables})


def with_client_key_file(sources: Sequence[Source]) -> list[Source]:
    """Return *sources*, preceded by the content of `client_key_file` if that is set.

    Raises:
        ConfigurationError: the file cannot be read, or `client_key` is set as well.
    """
    naming = next((s for s in sources if s.values.get("client_key_file")), None)
    if naming is None:
        return list(sources)
    path, location = (
        naming.values["client_key_file"],
        naming.location("client_key_file"),
    )
    other = next((s for s in sources if s.values.get("client_key")), None)
    if other is not None:
        place = other.location("client_key")
        expected = f"only one of client_key_file and client_key (from {place})"
        raise invalid_value("client_key_file", path, expected, location)
    try:
        content = Path(str(path)).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, ValueError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        expected = f"a readable file ({reason})"
        raise invalid_value("client_key_file", path, expected, location) from error
    key = Source({"client_key": content}, lambda _: f"client_key_file {path}")
    return [key, *sources]


def source_of(name: str, sources: Sequence[Source]) -> Source:
    """Return the first of *sources* that has *name*, or one located at `default`."""
    for source in sources:
        if raw_value(name, source) is not None:
            return source
    return Source({}, lambda _: "default")


def raw_value(name: str, source: Source) -> object:
    """Return the raw value of *name*, a path of keys separated by dots, or None.

    The path has one key, or three: `profiles`, the profile's name, which may contain dots
    itself, and the name of a setting.
    """
    first, *rest = name.split(".")
    keys = [first, ".".join(rest[:-1]), rest[-1]] if rest else [first]
    value: object = source.values
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _is_service_link(variable: str, value: str) -> bool:
    if _SERVICE_LINK.fullmatch(variable):
        return True
    return variable.endswith("_PORT") and bool(_SERVICE_LINK_URL.fullmatch(value))
