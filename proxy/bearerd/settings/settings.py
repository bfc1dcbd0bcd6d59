"""Every setting: its name, unit, default and meaning; the one reader of the environment.

One name each, in three forms: flag `--name`, environment `BEARERD_NAME`, key `name` in
a TOML file; the first of these that is given counts. Rules:

1. What is unknown or bad stops the start, with one line that says where it stands.
2. The result is frozen. Rooms get plain values from it, never the whole.
3. What profiles may differ in stands in `ProfileFields`, what the process has for all
   of them in `ProcessFields`; here is who may come in, and what reads it all.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

from platformdirs import user_config_path, user_data_path
from pydantic import AfterValidator, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
)

from bearerd.errors import ConfigurationError
from bearerd.settings.metadata import GROUPS, About, about, setting
from bearerd.settings.process import ProcessFields
from bearerd.settings.profile import (
    DEFAULT_PROFILE,
    ProfileFields,
    ProfileSettings,
    filled_in,
)
from bearerd.settings.sources import (
    CONFIG,
    Origin,
    from_environment,
    from_file,
    from_flags,
    origin_of,
    with_key_file,
    with_profile_tables,
)
from bearerd.settings.validation import (
    check_distinct,
    check_open_door,
    check_stores,
    explained,
)
from bearerd.settings.value_types import (
    Addresses,
    AddressesOrNone,
    ClientKey,
    FilePath,
    Hosts,
    Origins,
)


class Settings(ProfileFields, ProcessFields, BaseSettings):
    """All settings, checked and in one form."""

    listen: Addresses = setting(
        "Listeners",
        "Where agents come in; several addresses with commas between them.",
        default="127.0.0.1:8787",
        allowed="127.0.0.1:PORT, [::1]:PORT, localhost:PORT or unix:/path",
    )
    admin_listen: AddressesOrNone = setting(
        "Listeners",
        "Status page, health and metrics, for people and monitoring; `none`: off.",
        default="127.0.0.1:8788",
        allowed="127.0.0.1:PORT, [::1]:PORT, localhost:PORT, unix:/path or none",
    )
    allowed_hosts: Hosts = setting(
        "Clients",
        "Host names that clients may use beside the loopback names; while there are "
        "none, any on a listener that is not loopback, since there the key guards.",
        default=(),
        shown="loopback names",
        allowed="host names or addresses, without a port",
    )
    allowed_origins: Origins = setting(
        "Clients",
        "Origins of web pages that may send requests.",
        default=(),
        shown="none",
        allowed="origins such as https://app.example or http://localhost:3000",
    )
    require_key: bool = setting(
        "Clients",
        "Whether a request needs a client key.",
        default=True,
        allowed="true, and false where all listeners are loopback or unix sockets",
    )
    keys_file: FilePath = setting(
        "Clients",
        "The client keys, as SHA-256.",
        derive=lambda above: above["store"].with_name("keys.json"),
        shown="keys.json beside the store",
        allowed="a path",
    )
    client_key: ClientKey | None = setting(
        "Clients",
        "A client key of the operator's own, for containers.",
        allowed="at least 24 random characters",
        secret=True,
    )
    client_key_file: FilePath | None = setting(
        "Clients",
        "A file that holds the operator's own client key, for secret mounts.",
        allowed="a path",
    )
    profiles: Annotated[
        Mapping[str, ProfileSettings], AfterValidator(MappingProxyType)
    ] = setting(
        "Profiles",
        "Several logins in one daemon: names, or in the file a table "
        "[profiles.NAME] each, with what the profile has of its own.",
        default={},
        shown="default",
        allowed="names, or in the file a table [profiles.NAME] each",
    )

    @field_validator("profiles", mode="before")
    @classmethod
    def _fill_in(
        cls, given: Mapping[str, Mapping[str, Any]], info: ValidationInfo
    ) -> dict[str, dict[str, Any]]:
        """Give each profile what it does not have of its own."""
        fields = set(ProfileFields.model_fields)
        if not fields <= info.data.keys():
            return {}  # one of them was refused, which is reported
        shared = {name: info.data[name] for name in fields}
        names = dict.fromkeys((DEFAULT_PROFILE, *given))
        return {name: filled_in(name, shared, given.get(name, {})) for name in names}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take the values from the origins that are handed in, and nowhere else."""
        del env_settings, dotenv_settings, file_secret_settings
        given = init_settings()
        return tuple(InitSettingsSource(settings_cls, part) for part in given.values())

    def profile(self, name: str) -> ProfileSettings:
        """Return the settings of the profile *name*.

        Raises:
            ConfigurationError: there is no such profile.
        """
        try:
            return self.profiles[name]
        except KeyError:
            there_are = ", ".join(self.profiles)
            raise ConfigurationError(
                f"there is no profile {name!r}; there are: {there_are}"
            ) from None


@dataclass(frozen=True, slots=True)
class Folders:
    """Where this user keeps configuration, and where data."""

    config: Path = field(default_factory=lambda: user_config_path("bearerd"))
    data: Path = field(default_factory=lambda: user_data_path("bearerd"))


def load_settings(
    flags: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    config: Path | None = None,
    folders: Folders | None = None,
) -> Settings:
    """Return the settings: flag over environment over file over default.

    *environ* is this process's unless it is given. *config* is the file from the
    command line; without it the environment's `BEARERD_CONFIG` counts, and without that
    `bearerd.toml` in the user's config folder, if it is there.

    Raises:
        ConfigurationError: a name is unknown, a value bad, or the file unreadable.
    """
    environ = os.environ if environ is None else environ
    folders = folders or Folders()
    names = tuple(Settings.model_fields)
    found = [from_flags(flags or {}, names), from_environment(environ, names)]
    path = config or _config_file(environ.get(CONFIG), folders)
    if path is not None:
        found.append(from_file(path, names))
    fields = tuple(ProfileFields.model_fields)
    found = with_key_file([with_profile_tables(origin, fields) for origin in found])
    found.append(Origin({"store": folders.data / "auth.json"}, lambda _: "default"))
    given: dict[str, Any] = {str(rank): o.values for rank, o in enumerate(found)}
    try:
        settings = Settings(**given)
    except ValidationError as error:
        raise explained(error, found, Settings.model_fields) from None
    _check(settings, lambda name: origin_of(name, found).where(name))
    return settings


def describe() -> Iterator[About]:
    """Give for each setting what people are told about it, group by group."""
    told = [about(name, fields) for name, fields in Settings.model_fields.items()]
    yield from sorted(told, key=lambda one: GROUPS.index(one.group))


def _check(settings: Settings, where: Callable[[str], str]) -> None:
    if not settings.require_key:
        check_open_door(settings.listen, where("require_key"))
    check_distinct(settings.listen, settings.admin_listen, where("admin_listen"))
    check_stores(settings.profiles.values(), where)


def _config_file(named: str | None, folders: Folders) -> Path | None:
    if named:
        return Path(named).expanduser()
    usual = folders.config / "bearerd.toml"
    return usual if usual.exists() else None
