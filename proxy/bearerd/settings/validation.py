"""What is wrong with settings: each by itself, as pydantic found, and among each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from bearerd.address import Address
from bearerd.errors import ConfigurationError
from bearerd.settings.diagnostics import refused
from bearerd.settings.metadata import about
from bearerd.settings.profile import ProfileSettings
from bearerd.settings.sources import Origin, origin_of, value_of


def explained(
    error: ValidationError, found: list[Origin], fields: Mapping[str, FieldInfo]
) -> ConfigurationError:
    """Return the first refusal that pydantic found, in our words."""
    first = error.errors(include_url=False)[0]
    parts = [str(part) for part in first["loc"]]
    name = ".".join(parts)
    told = about(parts[-1], fields[parts[-1]])
    own_words = str(first.get("ctx", {}).get("error", ""))
    origin = origin_of(name, found)
    value = value_of(name, origin)
    allowed = own_words or told.allowed
    return refused(name, value, allowed, origin.where(name), secret=told.secret)


def check_open_door(listen: Iterable[Address], where: str) -> None:
    """Refuse `require_key = false` where others than this machine can come in."""
    for address in listen:
        if not address.is_loopback:
            raise ConfigurationError(
                f"setting require_key = false (from {where}): allowed only while all of "
                f"listen is loopback or a unix socket, and {address} is neither"
            )


def check_distinct(
    listen: Iterable[Address], admin_listen: Iterable[Address], where: str
) -> None:
    """Refuse an address for both listeners; port 0 is another port each time."""
    both = set(listen) & set(admin_listen)
    for address in both:
        if address.kind == "unix" or address.port:
            raise ConfigurationError(
                f'setting admin_listen = "{address}" (from {where}): allowed is an '
                "address that listen does not have"
            )


def check_stores(
    profiles: Iterable[ProfileSettings], where: Callable[[str], str]
) -> None:
    """Refuse two profiles on one store: they would log each other out."""
    owners: dict[Path, str] = {}
    for profile in profiles:
        path = profile.store.resolve()
        owner = owners.setdefault(path, profile.name)
        if owner != profile.name:
            name = f"profiles.{profile.name}.store"
            raise ConfigurationError(
                f'setting {name} = "{profile.store}" (from {where(name)}): allowed is a '
                f"store of its own, and profile {owner} has this one"
            )
