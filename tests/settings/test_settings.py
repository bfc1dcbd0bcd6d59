"""The defaults, and what the settings as a value promise."""

from __future__ import annotations

import pydantic
import pytest

from bearerd.address import Address
from bearerd.settings import Folders, list_settings
from tests.settings.conftest import Load

KEY = "9f2c7a5be4d84e1fa3306b72"

# As published, in the same order: a changed default breaks users.
DEFAULTS = {
    "upstream_url": "https://chatgpt.com/backend-api",
    "issuer_url": "https://auth.openai.com",
    "token_url": "https://auth.openai.com/oauth/token",
    "client_id": "app_EMoamEEZ73f0CkXaXp7hrann",
    "require_key": True,
    "client_key": None,
    "client_key_file": None,
    "allowed_hosts": (),
    "allowed_origins": (),
    "refresh_window_seconds": 300,
    "authority_timeout_seconds": 30,
    "replay_limit_bytes": 8 * 1024 * 1024,
    "replay_total_bytes": 256 * 1024 * 1024,
    "upstream_connect_timeout_seconds": 10,
    "upstream_tls_timeout_seconds": 10,
    "upstream_idle_timeout_seconds": 300,
    "upstream_first_byte_timeout_seconds": 300,
    "upstream_proxy": None,
    "ca_file": None,
    "via": False,
    "max_connections": 4096,
    "max_requests": 2048,
    "drain_seconds": 30,
    "refresh_burst": 5,
    "refresh_interval_seconds": 30,
    "log_format": "auto",
    "log_level": "info",
}
OTHERS = {"listen", "admin_listen", "store", "keys_file", "profiles"}


def test_the_defaults_are_the_published_ones(load: Load, folders: Folders) -> None:
    """Without any source; the files are in the user's data folder."""
    settings = load()
    assert {name: getattr(settings, name) for name in DEFAULTS} == DEFAULTS
    assert settings.listen == (Address("tcp", "127.0.0.1", 8787),)
    assert settings.admin_listen == (Address("tcp", "127.0.0.1", 8788),)
    assert settings.store == folders.data / "auth.json"
    assert settings.keys_file == folders.data / "keys.json"
    assert set(DEFAULTS) | OTHERS == {info.name for info in list_settings()}


def test_the_token_url_is_below_the_issuer_by_default(load: Load) -> None:
    """A token URL of its own has priority."""
    issuer = {"issuer_url": "http://127.0.0.1:9000"}
    assert load(issuer).token_url == "http://127.0.0.1:9000/oauth/token"
    own = {**issuer, "token_url": "http://127.0.0.1:9001/t"}
    assert load(own).token_url == "http://127.0.0.1:9001/t"


def test_a_timeout_that_follows_another_has_its_value_by_default(load: Load) -> None:
    """TLS follows connecting, and the first byte follows silence."""
    settings = load(
        {
            "upstream_connect_timeout_seconds": "7",
            "upstream_idle_timeout_seconds": "70",
        }
    )
    assert settings.upstream_tls_timeout_seconds == 7
    assert settings.upstream_first_byte_timeout_seconds == 70


def test_the_settings_are_frozen(load: Load) -> None:
    """The profiles as well."""
    settings = load()
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        settings.listen = ()  # type: ignore[misc]
    with pytest.raises(TypeError):
        settings.profiles["x"] = settings.profile("default")  # type: ignore[index]


def test_no_secret_is_in_the_printed_settings(load: Load) -> None:
    """Neither the operator's client key nor the password of a proxy."""
    proxy = "http://user:made-up-password@proxy.example:3128"
    settings = load({"client_key": KEY, "upstream_proxy": proxy})
    assert settings.upstream_proxy == proxy
    for printed in (repr(settings), str(settings)):
        assert KEY not in printed
        assert "made-up-password" not in printed
