"""The values that each setting rejects, and the form that it gives to the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from bearerd.address import Address
from bearerd.settings import list_settings
from tests.settings.conftest import ErrorLine, Load

URL = "an https:// URL, or an http:// URL of a loopback host"
ADDRESS = "127.0.0.1:PORT, [::1]:PORT, localhost:PORT or unix:/path"

# name, value, what the line says was expected
INVALID_VALUES = [
    ("listen", "8787", ADDRESS),
    ("listen", "example.com:8787", ADDRESS),
    ("listen", "[127.0.0.1]:1", ADDRESS),
    ("listen", "256.0.0.1:1", ADDRESS),
    ("listen", "127.0.0.1:65536", "a port from 0 to 65535"),
    ("listen", "unix:relative", "an absolute path after unix:"),
    ("listen", "unix:/" + "x" * 120, "a socket path of at most 103 bytes"),
    ("listen", ",", "at least one address"),
    ("listen", "127.0.0.1:1,127.0.0.1:1", "each address once"),
    ("admin_listen", "x", ADDRESS),
    ("upstream_url", "http://example.com", URL),
    ("upstream_url", "ftp://127.0.0.1", URL),
    ("upstream_url", "example.com", "a URL with a host"),
    ("upstream_url", "https://", "a URL with a host"),
    ("upstream_url", "https://exa mple.com", "a URL of visible ASCII characters"),
    ("upstream_url", "https://ex\u00e4mple.com", "a URL of visible ASCII characters"),
    ("upstream_url", "https://example.com?x=1", "without a query or a fragment"),
    ("upstream_url", "https://example.com/#x", "without a query or a fragment"),
    ("upstream_url", "https://example.com/?", "without a query or a fragment"),
    ("upstream_url", "https://example.com/a/../b", "without . or .. in its path"),
    (
        "upstream_url",
        "https://example.com:99999/",
        "a URL whose port is from 1 to 65535",
    ),
    ("upstream_url", "https://example.com:0/", "a URL whose port is from 1 to 65535"),
    ("issuer_url", "http://10.0.0.1", URL),
    ("token_url", "http://10.0.0.1", URL),
    ("client_id", "two words", "visible ASCII characters without spaces"),
    ("store", "redis://localhost/0", "a path"),
    ("store", "s3://bucket", "a path"),
    ("store", "~nobody-of-that-name/x", "a path whose `~` is a known home folder"),
    (
        "require_key",
        "perhaps",
        "true, or false if every listener is loopback or a unix socket",
    ),
    ("client_key", "short", "at least 24 characters"),
    (
        "client_key",
        "twenty four characters !",
        "visible ASCII characters without spaces",
    ),
    ("client_key", "a" * 30, "at least 8 different characters"),
    ("client_key", "changeme-changeme-changeme", "not one from a sample"),
    ("allowed_hosts", "https://example.com", "host names or addresses"),
    ("allowed_origins", "example.com", "a URL with a host"),
    ("allowed_origins", "https://example.com/path", "origins such as"),
    ("refresh_window_seconds", "ten", "a number of seconds from 0 to 86400"),
    ("refresh_window_seconds", "-1", "a number of seconds from 0 to 86400"),
    ("refresh_window_seconds", "nan", "a number of seconds from 0 to 86400"),
    ("authority_timeout_seconds", "0", "a number of seconds from 0.1 to 600"),
    ("replay_limit_bytes", "8MiB", "a number of bytes from 0 to 1073741824"),
    ("replay_total_bytes", "-1", "a number of bytes from 0 to 68719476736"),
    ("upstream_connect_timeout_seconds", "inf", "a number of seconds from 0.1 to 600"),
    ("upstream_tls_timeout_seconds", "0", "a number of seconds from 0.1 to 600"),
    ("upstream_first_byte_timeout_seconds", "x", "seconds from 0.1 to 86400"),
    ("upstream_idle_timeout_seconds", "0", "a number of seconds from 0.1 to 86400"),
    ("upstream_proxy", "socks5://proxy.example:1080", "an http:// URL of a proxy"),
    ("upstream_proxy", "http://proxy.example:3128/path", "a URL without a path"),
    ("ca_file", "/nonexistent/ca.pem", "No such file or directory"),
    ("ca_file", __file__, "this file has none"),
    ("via", "perhaps", "true or false"),
    ("max_connections", "0", "a number of connections from 1 to 1048576"),
    ("max_requests", "many", "a number of requests from 1 to 1048576"),
    ("drain_seconds", "-1", "a number of seconds from 0 to 86400"),
    ("refresh_burst", "0", "a number of refreshes from 1 to 1000"),
    ("refresh_burst", "1.5", "a number of refreshes from 1 to 1000"),
    ("refresh_interval_seconds", "0", "a number of seconds from 0.01 to 86400"),
    ("log_format", "xml", "auto, console or json"),
    ("log_level", "loud", "debug, info, warning or error"),
    ("profiles", "Work", "lower-case letters, digits"),
    ("profiles", "../x", "lower-case letters, digits"),
    ("client_key_file", "/nonexistent/key", "No such file or directory"),
]


@pytest.mark.parametrize(("name", "value", "expected"), INVALID_VALUES)
def test_an_invalid_value_is_an_error_that_says_what_was_expected(
    error_line: ErrorLine, name: str, value: str, expected: str
) -> None:
    """From a flag and from the environment; the line says which of them it was."""
    line = error_line(flags={name: value})
    assert line.startswith(f"setting {name} = ")
    assert expected in line.partition(": expected ")[2]
    assert f"(from flag --{name.replace('_', '-')})" in line
    variable = f"BEARERD_{name.upper()}"
    assert f"(from environment {variable})" in error_line(environ={variable: value})


def test_every_setting_has_an_invalid_value_in_the_table() -> None:
    """A setting that is not in the table might accept anything."""
    accepts_any_text = {"keys_file"}  # each text but the empty one is a path
    names = {name for name, _, _ in INVALID_VALUES}
    assert names | accepts_any_text == {info.name for info in list_settings()}


@pytest.mark.parametrize(
    ("toml", "start"),
    [
        ("listen = 3", "setting listen = 3 (from file"),
        ("upstream_url = true", "setting upstream_url = true (from file"),
        ("refresh_burst = true", "setting refresh_burst = true (from file"),
        ("store = ''", "setting store = "),
        ("keys_file = []", "setting keys_file = [] (from file"),
        ("allowed_hosts = 3", "setting allowed_hosts = 3"),
        ("allowed_origins = 3", "setting allowed_origins = 3"),
        ("profiles = 3", "setting profiles = 3 (from file"),
        ("[profiles]\nwork = 3", "setting profiles.work = 3 (from file"),
        ("[profiles.UP]", 'setting profiles = "UP" (from file'),
        (
            "[profiles.work]\nrefresh_burst = 0",
            "setting profiles.work.refresh_burst = 0",
        ),
        ("[profiles.'a.b']\nstore = ''", "setting profiles.a.b.store = "),
        ("[client_key]", "setting client_key = (hidden, 2 characters) (from file"),
        ("[log_level]", "setting log_level = (a table) (from file"),
    ],
)
def test_an_invalid_value_in_the_file_is_an_error_with_the_path_of_the_file(
    error_line: ErrorLine, tmp_path: Path, toml: str, start: str
) -> None:
    """TOML has numbers, arrays and tables where a variable has text only."""
    line = error_line(toml=toml)
    assert line.startswith(start)
    assert f"(from file {tmp_path}/bearerd.toml): expected " in line
    assert not line.endswith("expected ")


@pytest.mark.parametrize("name", ["upstream_url", "upstream_proxy", "listen"])
def test_no_password_and_no_control_character_is_in_an_error(
    error_line: ErrorLine, name: str
) -> None:
    """A password in a URL is hidden in every setting."""
    line = error_line({name: "https://user:made-up-password@host/\n\x1b[2J"})
    assert "made-up-password" not in line
    assert "\x1b" not in line


def test_several_addresses_are_separated_by_commas(load: Load) -> None:
    """In the file they may be an array too."""
    expected = (
        Address("tcp", "127.0.0.1", 0),
        Address("tcp", "::1", 9000),
        Address("tcp", "localhost", 9001),
        Address("unix", path="/run/bearerd.sock"),
    )
    text = "127.0.0.1:0, [::1]:9000,localhost:9001 ,unix:/run/bearerd.sock"
    array = ", ".join(f'"{item.strip()}"' for item in text.split(","))
    assert load({"listen": text}).listen == expected
    assert load(toml=f"listen = [{array}]").listen == expected


@pytest.mark.parametrize("off", ["", "none"])
def test_the_admin_listener_can_be_switched_off(load: Load, off: str) -> None:
    """By `none`, and by an empty variable."""
    assert load(None, {"BEARERD_ADMIN_LISTEN": off}).admin_listen == ()


@pytest.mark.parametrize(
    ("url", "normalised"),
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
def test_a_url_is_normalised(load: Load, url: str, normalised: str) -> None:
    """Host in lower case, no slash at the end."""
    assert load({"upstream_url": url}).upstream_url == normalised


def test_hosts_and_origins_are_in_lower_case(load: Load) -> None:
    """As browsers send them."""
    settings = load(
        {"allowed_hosts": "A.example, [::1]", "allowed_origins": "https://A.example"}
    )
    assert settings.allowed_hosts == ("a.example", "[::1]")
    assert settings.allowed_origins == ("https://a.example",)


def test_the_home_folder_in_a_path_is_expanded(load: Load) -> None:
    """No shell does it for a file or for a compose file."""
    settings = load(toml="store = '~/.codex/auth.json'")
    assert settings.store == Path.home() / ".codex" / "auth.json"
    assert settings.keys_file == Path.home() / ".codex" / "keys.json"
