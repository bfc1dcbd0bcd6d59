"""The settings as one frozen value.

Each has one name in three forms: flag `--name`, environment `BEARERD_NAME`, and key `name`
in a TOML file; the first of these that is given counts.

1. An unknown name or an invalid value stops the start, with one line that says where it is.
2. The value is frozen. Other packages get plain values from it, never the whole.
3. `ProfileFields` declares what profiles may have of their own, `ProcessFields` what the
   process has once. Listeners and clients are declared here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import AfterValidator, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
)

from bearerd.errors import ConfigurationError
from bearerd.settings.metadata import Metavar, setting
from bearerd.settings.process import ProcessFields
from bearerd.settings.profile import (
    DEFAULT_PROFILE,
    ProfileFields,
    ProfileSettings,
    profile_values,
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
    """All settings, validated and normalised. Made by `load_settings`."""

    listen: Addresses = setting(
        "Listeners",
        "The addresses that agents connect to; several are separated by commas.",
        default="127.0.0.1:8787",
        expected="127.0.0.1:PORT, [::1]:PORT, localhost:PORT or unix:/path",
    )
    admin_listen: AddressesOrNone = setting(
        "Listeners",
        "The addresses of the status page, health checks and metrics; `none` for no "
        "such listener.",
        default="127.0.0.1:8788",
        expected="127.0.0.1:PORT, [::1]:PORT, localhost:PORT, unix:/path or none",
    )
    allowed_hosts: Hosts = setting(
        "Clients",
        "Host names that clients may use besides the loopback names. While none is set, "
        "a listener that is not on loopback accepts any, since a client key protects it.",
        default=(),
        default_text="loopback names",
        expected="host names or addresses, without a port",
    )
    allowed_origins: Origins = setting(
        "Clients",
        "Origins of web pages that may send requests.",
        default=(),
        default_text="none",
        expected="origins such as https://app.example or http://localhost:3000",
    )
    require_key: bool = setting(
        "Clients",
        "Whether a request needs a client key.",
        default=True,
        expected="true, or false if every listener is loopback or a unix socket",
    )
    keys_file: FilePath = setting(
        "Clients",
        "The file of client keys, which are stored as SHA-256.",
        default_from=lambda above: above["store"].with_name("keys.json"),
        default_text="keys.json beside the store",
        expected="a path",
    )
    client_key: ClientKey | None = setting(
        "Clients",
        "A client key that the operator chooses, for containers.",
        expected="at least 24 random characters",
        secret=True,
    )
    client_key_file: FilePath | None = setting(
        "Clients",
        "A file that contains the operator's client key, for secret mounts.",
        expected="a path",
    )
    profiles: Annotated[
        Mapping[str, ProfileSettings],
        AfterValidator(MappingProxyType),
        Metavar("NAME,..."),
    ] = setting(
        "Profiles",
        "Several logins in one daemon: names, or in the file one table "
        "[profiles.NAME] each, with the settings of that profile.",
        default={},
        default_text="default",
        expected="names, or in the file one table [profiles.NAME] each",
    )

    @field_validator("profiles", mode="before")
    @classmethod
    def _complete_profiles(
        cls, given: Mapping[str, Mapping[str, Any]], info: ValidationInfo
    ) -> dict[str, dict[str, Any]]:
        """Return the values of every profile, `default` included.

        The fields above this one are validated already. If one of them is invalid it is
        missing from *info*, and pydantic reports it; then there is nothing to complete.
        """
        fields = set(ProfileFields.model_fields)
        if not fields <= info.data.keys():
            return {}
        shared = {name: info.data[name] for name in fields}
        names = dict.fromkeys((DEFAULT_PROFILE, *given))
        return {
            name: profile_values(name, shared, given.get(name, {})) for name in names
        }

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources that `load_settings` passes, strongest first, and no other.

        Each argument of the constructor is a source, and its name is its rank.
        """
        del env_settings, dotenv_settings, file_secret_settings
        ranked = init_settings()
        return tuple(
            InitSettingsSource(settings_cls, values) for values in ranked.values()
        )

    def profile(self, name: str) -> ProfileSettings:
        """Return the settings of the profile *name*.

        Raises:
            ConfigurationError: there is no such profile.
        """
        try:
            return self.profiles[name]
        except KeyError:
            names = ", ".join(self.profiles)
            raise ConfigurationError(
                f"there is no profile {name!r}; there are: {names}"
            ) from None
