"""Reads the settings from flags, environment and file. The one reader of the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bearerd.settings.folders import Folders
from bearerd.settings.metadata import GROUPS, SettingInfo, setting_info
from bearerd.settings.profile import ProfileFields
from bearerd.settings.settings import Settings
from bearerd.settings.sources import (
    CONFIG_VARIABLE,
    Source,
    from_environment,
    from_file,
    from_flags,
    source_of,
    with_client_key_file,
    with_profile_tables,
)
from bearerd.settings.validation import (
    check_distinct_addresses,
    check_distinct_stores,
    check_key_requirement,
    first_error,
)


def load_settings(
    flags: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    config: Path | None = None,
    folders: Folders | None = None,
) -> Settings:
    """Return the settings: flag over environment over file over default.

    *environ* defaults to the environment of this process, *folders* to the user's.
    *config* is the file that the command line names; see `config_path`.

    Raises:
        ConfigurationError: a name is unknown, a value invalid, or the file unreadable.
    """
    environ = os.environ if environ is None else environ
    folders = folders or Folders()
    names = tuple(Settings.model_fields)
    sources = [from_flags(flags or {}, names), from_environment(environ, names)]
    path = config_path(config, environ, folders)
    if path is not None:
        sources.append(from_file(path, names))
    fields = tuple(ProfileFields.model_fields)
    sources = with_client_key_file([with_profile_tables(s, fields) for s in sources])
    sources.append(Source({"store": folders.data / "auth.json"}, lambda _: "default"))
    try:
        settings = Settings(**_ranked(sources))
    except ValidationError as error:
        raise first_error(error, sources, Settings.model_fields) from None
    _check(settings, sources)
    return settings


def config_path(
    flag: Path | None, environ: Mapping[str, str], folders: Folders | None = None
) -> Path | None:
    """Return the config file to read, or None if there is none.

    1. The file that the command line names.
    2. The file that `BEARERD_CONFIG` names.
    3. `bearerd.toml` in the user's config folder, if it exists.
    """
    if flag is not None:
        return flag
    variable = environ.get(CONFIG_VARIABLE)
    if variable:
        return Path(variable).expanduser()
    usual = (folders or Folders()).config_file
    return usual if usual.exists() else None


def list_settings() -> list[SettingInfo]:
    """Return the documentation of every setting, group by group."""
    infos = [setting_info(name, field) for name, field in Settings.model_fields.items()]
    return sorted(infos, key=lambda info: GROUPS.index(info.group))


def _ranked(sources: Sequence[Source]) -> dict[str, Any]:
    """Return the values of all sources as keyword arguments for `Settings`.

    pydantic-settings merges the sources that `settings_customise_sources` returns, and
    hands that method nothing but the arguments of the constructor. So the sources travel
    as arguments whose names are their ranks: `"0"` is the strongest.
    """
    return {str(rank): source.values for rank, source in enumerate(sources)}


def _check(settings: Settings, sources: Sequence[Source]) -> None:
    def location(name: str) -> str:
        return source_of(name, sources).location(name)

    if not settings.require_key:
        check_key_requirement(settings.listen, location("require_key"))
    check_distinct_addresses(
        settings.listen, settings.admin_listen, location("admin_listen")
    )
    check_distinct_stores(settings.profiles.values(), location)
