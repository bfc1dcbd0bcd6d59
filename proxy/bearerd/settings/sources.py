"""Where the value of a setting comes from: flags, the environment, a TOML file.

Each origin gives raw values under names that exist. Whether a value is good is not
judged here.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from bearerd.errors import ConfigurationError
from bearerd.settings.diagnostics import refused, unknown

PREFIX = "BEARERD_"
CONFIG = "BEARERD_CONFIG"

PROFILE_NAME_ALLOWED = (
    "lower-case letters, digits, '.', '_' and '-', at most 63, first a letter or digit"
)
_PROFILE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")

# Kubernetes describes a Service named bearerd to every pod of its namespace in these
# variables, as links between containers once did; none of them is meant for us.
_SERVICE_LINK = re.compile(
    r"BEARERD_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)"
)
_SERVICE_LINK_URL = re.compile(r"(tcp|udp|sctp)://\S+")


@dataclass(frozen=True, slots=True)
class Origin:
    """Raw values, and the words that say where one of them stands."""

    values: Mapping[str, object] = field(repr=False)
    where: Callable[[str], str] = field(repr=False)


def from_flags(flags: Mapping[str, str], names: Collection[str]) -> Origin:
    """Return what the command line gives."""

    def where(name: str) -> str:
        return f"flag --{name.replace('_', '-')}"

    for name in flags:
        if name not in names:
            raise unknown(name, names, where(name))
    return Origin(flags, where)


def from_environment(environ: Mapping[str, str], names: Collection[str]) -> Origin:
    """Return what the variables with our prefix give.

    An empty variable is one that is not set, as compose files leave them; only
    `admin_listen` means something when empty.
    """
    values: dict[str, object] = {}
    for variable, value in environ.items():
        if not variable.startswith(PREFIX) or variable == CONFIG:
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name in names:
            if value or name == "admin_listen":
                values[name] = value
        elif not _is_service_link(variable, value):
            raise unknown(name, names, f"environment {variable}")
    return Origin(values, lambda name: f"environment {PREFIX}{name.upper()}")


def from_file(path: Path, names: Collection[str]) -> Origin:
    """Return what the TOML file at *path* gives.

    Raises:
        ConfigurationError: it cannot be read, is no TOML, or names what is unknown.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"config file {path}: cannot be read: {error.strerror}; name another with "
            f"--config or {CONFIG}"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        line = " ".join(str(error).split())
        raise ConfigurationError(
            f"config file {path}: this is no TOML: {line}"
        ) from error
    for name in document:
        if name not in names:
            raise unknown(name, names, f"file {path}")
    return Origin(document, lambda _: f"file {path}")


def with_profile_tables(origin: Origin, fields: Collection[str]) -> Origin:
    """Return *origin* with its profiles as tables: a name alone is an empty table.

    Raises:
        ConfigurationError: a name is none, or a table has what no profile has.
    """
    given = origin.values.get("profiles")
    if given is None:
        return origin
    where = origin.where("profiles")
    names = given.split(",") if isinstance(given, str) else given
    if isinstance(names, list):
        tables: object = {str(name).strip(): {} for name in names if str(name).strip()}
    else:
        tables = names
    if not isinstance(tables, dict):
        allowed = "names, or in the file a table [profiles.NAME] each"
        raise refused("profiles", given, allowed, where)
    for name, table in tables.items():
        if not _PROFILE_NAME.fullmatch(name):
            raise refused("profiles", name, PROFILE_NAME_ALLOWED, where)
        if not isinstance(table, dict):
            raise refused(f"profiles.{name}", table, "a table", where)
        for key in table:
            if key not in fields:
                raise unknown(key, fields, where, within=f"profiles.{name}.")
    return replace(origin, values={**origin.values, "profiles": tables})


def with_key_file(origins: list[Origin]) -> list[Origin]:
    """Return *origins* with the client key that `client_key_file` holds, if one is set.

    Raises:
        ConfigurationError: the file cannot be read, or the key is given twice.
    """
    first = next((o for o in origins if o.values.get("client_key_file")), None)
    if first is None:
        return origins
    path, where = first.values["client_key_file"], first.where("client_key_file")
    key = next((o for o in origins if o.values.get("client_key")), None)
    if key is not None:
        there = key.where("client_key")
        raise refused(
            "client_key_file", path, f"one of it and client_key (from {there})", where
        )
    try:
        content = Path(str(path)).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, ValueError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        allowed = f"a readable file, and here: {reason}"
        raise refused("client_key_file", path, allowed, where) from error
    held = Origin({"client_key": content}, lambda _: f"client_key_file {path}")
    return [held, *origins]


def origin_of(name: str, found: list[Origin]) -> Origin:
    """Return the strongest origin that gives *name*, or one that says `default`."""
    for origin in found:
        if value_of(name, origin) is not None:
            return origin
    return Origin({}, lambda _: "default")


def value_of(name: str, origin: Origin) -> object:
    """Return the raw value under *name*, in which dots go down into tables."""
    value: object = origin.values
    # The name of a profile may have dots itself.
    first, *rest = name.split(".")
    path = [first, ".".join(rest[:-1]), rest[-1]] if rest else [first]
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _is_service_link(variable: str, value: str) -> bool:
    if _SERVICE_LINK.fullmatch(variable):
        return True
    return variable.endswith("_PORT") and bool(_SERVICE_LINK_URL.fullmatch(value))
