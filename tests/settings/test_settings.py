"""What the settings are, and which origin wins."""

from __future__ import annotations

import re
from pathlib import Path

import pydantic
import pytest

from bearerd.address import Address
from bearerd.errors import ConfigurationError
from bearerd.settings import Folders, describe, load_settings
from tests.settings.conftest import Load

KEY = "9f2c7a5be4d84e1fa3306b72"

# Of the published table, in its order: changing one breaks users.
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
ELSEWHERE = {"listen", "admin_listen", "store", "keys_file", "profiles"}


def test_the_defaults_are_the_published_ones(load: Load, folders: Folders) -> None:
    """Nothing set gives the table of defaults, and files in the user's data folder."""
    settings = load()
    assert {name: getattr(settings, name) for name in DEFAULTS} == DEFAULTS
    assert settings.listen == (Address("tcp", "127.0.0.1", 8787),)
    assert settings.admin_listen == (Address("tcp", "127.0.0.1", 8788),)
    assert settings.store == folders.data / "auth.json"
    assert settings.keys_file == folders.data / "keys.json"
    assert set(DEFAULTS) | ELSEWHERE == {about.name for about in describe()}


def test_a_flag_beats_the_environment_beats_the_file(load: Load) -> None:
    """Each origin gives way to the one above it."""
    toml = "drain_seconds = 1\nrefresh_burst = 1\nlog_level = 'debug'"
    environ = {"BEARERD_DRAIN_SECONDS": "2", "BEARERD_REFRESH_BURST": "2"}
    settings = load({"drain_seconds": "3"}, environ, toml)
    assert settings.drain_seconds == 3
    assert settings.refresh_burst == 2
    assert settings.log_level == "debug"


def test_the_users_own_file_is_read_when_none_is_named(folders: Folders) -> None:
    """`bearerd.toml` in the config folder counts, until another file is named."""
    folders.config.mkdir()
    (folders.config / "bearerd.toml").write_text("drain_seconds = 1")
    other = folders.config / "other.toml"
    other.write_text("drain_seconds = 2")
    third = folders.config / "third.toml"
    third.write_text("drain_seconds = 3")
    named = {"BEARERD_CONFIG": str(other)}
    assert load_settings(None, {}, folders=folders).drain_seconds == 1
    assert load_settings(None, named, folders=folders).drain_seconds == 2
    settings = load_settings(None, named, config=third, folders=folders)
    assert settings.drain_seconds == 3


def test_an_empty_variable_is_not_set(load: Load) -> None:
    """Compose files hand on variables that nobody has set."""
    settings = load(None, {"BEARERD_CLIENT_KEY": "", "BEARERD_CA_FILE": ""})
    assert settings.client_key is None
    assert settings.ca_file is None


@pytest.mark.parametrize("off", ["", "none"])
def test_the_admin_listener_can_be_switched_off(load: Load, off: str) -> None:
    """`none` and nothing mean that no admin listener is opened."""
    assert load(None, {"BEARERD_ADMIN_LISTEN": off}).admin_listen == ()


def test_a_services_links_are_not_taken_for_settings(load: Load) -> None:
    """Kubernetes puts these into every pod beside a Service named bearerd."""
    settings = load(
        None,
        {
            "BEARERD_SERVICE_HOST": "10.0.0.11",
            "BEARERD_SERVICE_PORT": "8787",
            "BEARERD_SERVICE_PORT_RELAY": "8787",
            "BEARERD_PORT": "tcp://10.0.0.11:8787",
            "BEARERD_PORT_8787_TCP": "tcp://10.0.0.11:8787",
            "BEARERD_PORT_8787_TCP_ADDR": "10.0.0.11",
            "BEARERD_ADMIN_SERVICE_HOST": "10.0.0.12",
            "BEARERD_ADMIN_PORT": "tcp://10.0.0.12:8788",
        },
    )
    assert settings == load()


def test_several_addresses_are_taken_apart(load: Load) -> None:
    """Commas in a string, or an array in the file."""
    wanted = (
        Address("tcp", "127.0.0.1", 0),
        Address("tcp", "::1", 9000),
        Address("tcp", "localhost", 9001),
        Address("unix", path="/run/bearerd.sock"),
    )
    text = "127.0.0.1:0, [::1]:9000,localhost:9001 ,unix:/run/bearerd.sock"
    array = ", ".join(f'"{word.strip()}"' for word in text.split(","))
    assert load({"listen": text}).listen == wanted
    assert load(toml=f"listen = [{array}]").listen == wanted


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("https://Example.COM/", "https://example.com"),
        (
            "https://example.com:8443/backend-api/",
            "https://example.com:8443/backend-api",
        ),
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("http://[::1]:9000/x", "http://[::1]:9000/x"),
        ("http://localhost:9000/x//", "http://localhost:9000/x"),
    ],
)
def test_a_url_is_put_into_one_form(load: Load, written: str, kept: str) -> None:
    """Host in lower case, no slash at the end."""
    assert load({"upstream_url": written}).upstream_url == kept


def test_the_token_url_follows_the_issuer(load: Load) -> None:
    """Unless it is set itself."""
    issuer = {"issuer_url": "http://127.0.0.1:9000"}
    assert load(issuer).token_url == "http://127.0.0.1:9000/oauth/token"
    own = {**issuer, "token_url": "http://127.0.0.1:9001/t"}
    assert load(own).token_url == "http://127.0.0.1:9001/t"


def test_a_home_folder_is_expanded(load: Load) -> None:
    """As a shell would, since a file and a compose file have no shell."""
    settings = load(toml="store = '~/.codex/auth.json'")
    assert settings.store == Path.home() / ".codex" / "auth.json"
    assert settings.keys_file == Path.home() / ".codex" / "keys.json"


def test_the_operators_key_can_come_from_a_file(load: Load, tmp_path: Path) -> None:
    """The file's end of line is not part of the key."""
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n")
    settings = load(None, {"BEARERD_CLIENT_KEY_FILE": str(path)})
    assert settings.client_key is not None
    assert settings.client_key.get_secret_value() == KEY


def test_the_settings_are_frozen(load: Load) -> None:
    """Nobody changes them under somebody else's feet, profiles included."""
    settings = load()
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        settings.listen = ()  # type: ignore[misc]
    with pytest.raises(TypeError):
        settings.profiles["x"] = settings.profile("default")  # type: ignore[index]


def test_no_secret_is_in_the_settings_printed(load: Load) -> None:
    """Neither the operator's key nor a proxy's password."""
    proxy = "http://user:made-up-password@proxy.example:3128"
    settings = load({"client_key": KEY, "upstream_proxy": proxy})
    assert settings.upstream_proxy == proxy
    for printed in (repr(settings), str(settings)):
        assert KEY not in printed
        assert "made-up-password" not in printed


def test_each_setting_is_described() -> None:
    """A help text of one sentence or two; numbers have a unit and bounds."""
    for about in describe():
        assert re.search(r"[.]$", about.help), about.name
        assert about.default, about.name
        assert about.allowed, about.name
        if about.name.endswith(("_seconds", "_bytes")):
            assert about.name.endswith(about.unit), about.name
            assert re.search(r"from [\d.]+ to [\d.e+]+", about.allowed), about.name


def test_a_profile_has_its_own_and_shares_the_rest(
    load: Load, folders: Folders
) -> None:
    """Store and authority of its own, the window of all; `default` is always there."""
    settings = load(
        toml="""
        refresh_window_seconds = 120
        token_url = "http://127.0.0.1:9000/t"
        [profiles.work]
        issuer_url = "http://127.0.0.1:9001"
        refresh_burst = 2
        """
    )
    work, default = settings.profile("work"), settings.profile("default")
    assert (work.name, default.name) == ("work", "default")
    assert work.refresh_window_seconds == default.refresh_window_seconds == 120
    assert (work.refresh_burst, default.refresh_burst) == (2, 5)
    assert work.store == folders.data / "profiles" / "work" / "auth.json"
    assert default.store == folders.data / "auth.json"
    assert default.token_url == "http://127.0.0.1:9000/t"
    assert work.token_url == "http://127.0.0.1:9001/oauth/token"


def test_profiles_can_be_named_without_a_file(load: Load) -> None:
    """Names from a flag or the environment come on top of those in the file."""
    toml = "[profiles.work]\nrefresh_burst = 2"
    settings = load({"profiles": "home"}, {"BEARERD_PROFILES": "a, b.c"}, toml)
    assert set(settings.profiles) == {"default", "work", "home", "a", "b.c"}
    assert settings.profile("work").refresh_burst == 2
    assert set(load(toml='profiles = ["x"]').profiles) == {"default", "x"}


def test_the_default_profile_can_have_a_table(load: Load, tmp_path: Path) -> None:
    """It is a profile like the others."""
    settings = load(toml=f"[profiles.default]\nstore = '{tmp_path}/other.json'")
    assert settings.profile("default").store == tmp_path / "other.json"


def test_an_unknown_profile_is_answered_with_those_there_are(load: Load) -> None:
    """Wrong use: exit code 2."""
    with pytest.raises(ConfigurationError, match="'x'; there are: default, work") as e:
        load({"profiles": "work"}).profile("x")
    assert e.value.exit_code == 2
