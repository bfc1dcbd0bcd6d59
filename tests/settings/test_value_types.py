"""Every way of being refused, as a table: what was given, and the line that follows."""

from __future__ import annotations

from pathlib import Path

import pytest

from bearerd.errors import ConfigurationError
from bearerd.settings import Folders, describe, load_settings
from tests.settings.conftest import Load

URL = "an https:// URL; http:// for a loopback host only"
ADDRESS = "127.0.0.1:PORT, [::1]:PORT, localhost:PORT or unix:/path"

# name, value, what the line says is allowed
BAD_VALUES = [
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
    ("upstream_url", "https://example.com?x=1", "without a query and a fragment"),
    ("upstream_url", "https://example.com/#x", "without a query and a fragment"),
    ("upstream_url", "https://example.com/?", "without a query and a fragment"),
    ("upstream_url", "https://example.com/a/../b", "has no . or .. in it"),
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
    ("store", "~nobody-of-that-name/x", "is not known here"),
    ("require_key", "perhaps", "true, and false where all listeners are loopback"),
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
    ("ca_file", __file__, "this one holds none"),
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


def refusal(load: Load, **origins: object) -> str:
    """Return the one line with which *origins* are refused."""
    with pytest.raises(ConfigurationError) as caught:
        load(**origins)  # type: ignore[arg-type]
    assert caught.value.exit_code == 2
    assert len(caught.value.message.splitlines()) == 1
    return caught.value.message


@pytest.mark.parametrize(("name", "value", "allowed"), BAD_VALUES)
def test_a_bad_value_is_named_with_what_is_allowed(
    load: Load, name: str, value: str, allowed: str
) -> None:
    """From a flag and from the environment, the line says which of them."""
    line = refusal(load, flags={name: value})
    assert line.startswith(f"setting {name} = ")
    assert allowed in line
    assert f"(from flag --{name.replace('_', '-')})" in line
    variable = f"BEARERD_{name.upper()}"
    assert f"(from environment {variable})" in refusal(load, environ={variable: value})


def test_every_setting_has_a_value_that_is_refused() -> None:
    """A setting without a row would take anything."""
    anything = {"keys_file"}  # every text but the empty one is a path
    named = {name for name, _, _ in BAD_VALUES}
    assert named | anything == {about.name for about in describe()}


@pytest.mark.parametrize(
    ("toml", "line"),
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
def test_a_bad_value_in_the_file_is_named_with_the_file(
    load: Load, tmp_path: Path, toml: str, line: str
) -> None:
    """The path is in the line, and so is the table of a profile."""
    said = refusal(load, toml=toml)
    assert said.startswith(line)
    assert f"(from file {tmp_path}/bearerd.toml): allowed is " in said
    assert not said.endswith("allowed is ")


def test_an_unknown_name_is_answered_with_the_nearest(
    load: Load, tmp_path: Path
) -> None:
    """In all three forms, and in a profile's table; its value may be a secret."""
    near = "; did you mean client_key?"
    said = refusal(load, environ={"BEARERD_CLIENT_KYE": "made-up-secret"})
    assert (
        said
        == f"unknown setting client_kye (from environment BEARERD_CLIENT_KYE){near}"
    )
    assert refusal(load, flags={"client_kye": "x"}).endswith(near)
    said = refusal(load, toml="client_kye = 'x'")
    assert (
        said == f"unknown setting client_kye (from file {tmp_path}/bearerd.toml){near}"
    )
    said = refusal(load, toml="[profiles.work]\nstroe = 'x'")
    assert said.startswith("unknown setting profiles.work.stroe (from file")
    assert said.endswith("; did you mean profiles.work.store?")


def test_an_unknown_name_that_is_near_none_is_answered_with_all(load: Load) -> None:
    """A table that other programs have is one of those."""
    said = refusal(load, toml="[server]\nhost = 'x'")
    assert said.startswith("unknown setting server (from file")
    assert "there are: " in said
    assert "upstream_url" in said


@pytest.mark.parametrize("value", ["1", "4"])
def test_a_removed_setting_is_an_unknown_name(
    load: Load, tmp_path: Path, value: str
) -> None:
    """An old file that sets `workers` stops the start, whatever its value was."""
    said = refusal(load, toml=f"workers = {value}")
    assert said.startswith(f"unknown setting workers (from file {tmp_path}/")
    assert refusal(load, environ={"BEARERD_WORKERS": value}).startswith(
        "unknown setting workers (from environment BEARERD_WORKERS)"
    )


def test_what_only_the_daemon_has_is_unknown_in_a_profile(load: Load) -> None:
    """A listener belongs to no profile, and a name is given by the table's header."""
    for key in ("listen", "name", "profiles"):
        said = refusal(load, toml=f"[profiles.work]\n{key} = 'x'")
        assert said.startswith(f"unknown setting profiles.work.{key} ")


@pytest.mark.parametrize(
    ("toml", "reason"),
    [("listen =", "this is no TOML"), ("\n\nx y", "line 3"), (None, "No such file")],
)
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, folders: Folders, toml: str | None, reason: str
) -> None:
    """Missing or broken, in one line, whoever named it."""
    path = tmp_path / "named.toml"
    if toml is not None:
        path.write_text(toml)
    with pytest.raises(ConfigurationError) as caught:
        load_settings(None, {"BEARERD_CONFIG": str(path)}, folders=folders)
    line = caught.value.message
    assert f"config file {path}: " in line
    assert reason in line
    assert len(line.splitlines()) == 1


def test_a_file_that_is_no_text_is_named(tmp_path: Path, folders: Folders) -> None:
    """TOML is UTF-8; other bytes are refused before they are parsed."""
    path = tmp_path / "bytes.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="this is no TOML"):
        load_settings(None, {}, config=path, folders=folders)


def test_no_key_is_needed_only_where_nobody_else_comes_in(load: Load) -> None:
    """Loopback and unix sockets may do without; one other listener is too many."""
    without = {"require_key": "false"}
    inside = "127.0.0.1:1,[::1]:1,localhost:2,unix:/run/x"
    assert not load({**without, "listen": inside}).require_key
    for outside in ("0.0.0.0:1", "[::]:1", "192.0.2.1:1"):
        said = refusal(load, flags={**without, "listen": f"127.0.0.1:1,{outside}"})
        assert said.startswith("setting require_key = false (from flag --require-key)")
        assert outside in said


def test_two_listeners_do_not_share_an_address(load: Load) -> None:
    """Port 0 is another port each time, so that one may be there twice."""
    said = refusal(load, flags={"listen": "127.0.0.1:8788"})
    assert said.startswith('setting admin_listen = "127.0.0.1:8788" (from default)')
    free = "127.0.0.1:0"
    assert load({"listen": free, "admin_listen": free}).listen[0].port == 0


def test_two_profiles_do_not_share_a_store(load: Load, tmp_path: Path) -> None:
    """Not by a link either: each would spend the other's refresh token."""
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "link.json").symlink_to("a.json")
    toml = f"""
        store = "{tmp_path}/a.json"
        [profiles.work]
        store = "{tmp_path}/link.json"
    """
    said = refusal(load, toml=toml)
    assert said.startswith("setting profiles.work.store = ")
    assert "profile default has this one" in said


def test_a_key_and_a_key_file_are_one_too_many(load: Load, tmp_path: Path) -> None:
    """Whichever won, somebody would wonder; the line names both places."""
    path = tmp_path / "key"
    path.write_text("9f2c7a5be4d84e1fa3306b72")
    said = refusal(
        load,
        environ={"BEARERD_CLIENT_KEY_FILE": str(path)},
        toml="client_key = '9f2c7a5be4d84e1fa3306b72'",
    )
    assert "environment BEARERD_CLIENT_KEY_FILE" in said
    assert "client_key (from file" in said


def test_a_weak_key_in_a_key_file_is_named_with_that_file(
    load: Load, tmp_path: Path
) -> None:
    """And its value is hidden, as weak as it is."""
    path = tmp_path / "key"
    path.write_text("hunter2\n")
    said = refusal(load, environ={"BEARERD_CLIENT_KEY_FILE": str(path)})
    assert f"(from client_key_file {path}): allowed is at least 24 characters" in said
    assert "hunter2" not in said


def test_no_secret_is_in_a_refusal(load: Load) -> None:
    """A password in a URL is hidden in any setting, and control characters are not."""
    for name in ("upstream_url", "upstream_proxy", "listen"):
        said = refusal(
            load, flags={name: "https://user:made-up-password@host/\n\x1b[2J"}
        )
        assert "made-up-password" not in said
        assert "\x1b" not in said
