"""Turns pydantic's errors into bearerd's, and checks settings that depend on each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from bearerd.address import Address
from bearerd.errors import ConfigurationError
from bearerd.files.atomic import real_path
from bearerd.settings.diagnostics import invalid_value
from bearerd.settings.metadata import setting_info
from bearerd.settings.profile import ProfileSettings
from bearerd.settings.sources import Source, raw_value, source_of


def first_error(
    error: ValidationError, sources: Sequence[Source], fields: Mapping[str, FieldInfo]
) -> ConfigurationError:
    """Return the first of pydantic's errors as the line that an operator reads.

    A `ValueError` of a type's own check says what was expected; otherwise the setting's
    documentation does.
    """
    first = error.errors(include_url=False)[0]
    keys = [str(key) for key in first["loc"]]
    name = ".".join(keys)
    info = setting_info(keys[-1], fields[keys[-1]])
    source = source_of(name, sources)
    return invalid_value(
        name,
        raw_value(name, source),
        str(first.get("ctx", {}).get("error", "")) or info.expected,
        source.location(name),
        secret=info.secret,
    )


def check_key_requirement(listen: Iterable[Address], location: str) -> None:
    """Raise if `require_key = false` is combined with a listener open to other machines.

    *location* is where `require_key` is set.
    """
    for address in listen:
        if not address.is_loopback:
            raise ConfigurationError(
                f"setting require_key = false (from {location}): expected true, unless "
                "every address of listen is loopback or a unix socket; "
                f"{address} is neither"
            )


def check_distinct_addresses(
    listen: Iterable[Address], admin_listen: Iterable[Address], location: str
) -> None:
    """Raise if both listeners have the same address. Port 0 is a new port each time."""
    for address in set(listen) & set(admin_listen):
        if address.kind == "unix" or address.port:
            raise invalid_value(
                "admin_listen",
                str(address),
                "an address that is not in listen",
                location,
            )


def check_distinct_stores(
    profiles: Iterable[ProfileSettings], location: Callable[[str], str]
) -> None:
    """Raise if two profiles have the same store: each would spend the other's token."""
    owners: dict[Path, str] = {}
    for profile in profiles:
        owner = owners.setdefault(real_path(profile.store), profile.name)
        if owner != profile.name:
            name = f"profiles.{profile.name}.store"
            expected = f"a store of its own; profile {owner} has this one"
            raise invalid_value(name, profile.store, expected, location(name))
