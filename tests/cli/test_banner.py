"""What the daemon prints on a terminal once it listens."""

from __future__ import annotations

from pathlib import Path

import pytest

from bearerd.cli.banner import banner
from bearerd.keys.ring import KeyRing
from bearerd.settings import Folders, Settings, load_settings
from tests.admin.conftest import missing, service, source
from tests.support import Canary

OPERATOR_KEY = "9f2c7a5be4d84e1fa3306b72"


def settings_with(folder: Path, **flags: str) -> Settings:
    """Return settings whose files are in *folder*."""
    return load_settings(flags, {}, folders=Folders(folder, folder))


def test_it_has_the_addresses_and_the_base_urls(tmp_path: Path) -> None:
    """Of the first listener that has a URL; a unix socket has none."""
    status = service(relay=("unix:/run/b.sock", "127.0.0.1:8787", "[::1]:8787"))
    text = banner(status, KeyRing.load(tmp_path / "k"), settings_with(tmp_path))
    assert text.startswith(
        "bearerd 1.2.3 listens on unix:/run/b.sock, 127.0.0.1:8787, [::1]:8787\n"
    )
    assert "http://127.0.0.1:8787/v1\n" in text
    assert "http://127.0.0.1:8787/backend-api\n" in text
    assert "status page                     http://127.0.0.1:8788\n" in text


def test_it_has_the_state_of_each_profile(tmp_path: Path) -> None:
    """The store of a valid login, and the remedy for a missing one."""
    status = service(source(), missing(profile="work"))
    text = banner(status, KeyRing.load(tmp_path / "k"), settings_with(tmp_path))
    *_, default, work = text.splitlines()
    assert default == "  profile default has a login: /data/auth.json"
    assert work == (
        "  profile work: /data/auth.json: there is no credential file; sign in"
    )


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"require_key": "false"}, "none is needed (require_key = false)"),
        ({"client_key": OPERATOR_KEY}, "the client_key in the settings"),
    ],
)
def test_it_says_where_the_client_key_is(
    tmp_path: Path, canary: Canary, flags: dict[str, str], expected: str
) -> None:
    """Never the key itself."""
    canary.knows("the operator's key", OPERATOR_KEY)
    keys = KeyRing.load(tmp_path / "keys.json", operator_key=flags.get("client_key"))
    text = banner(service(), keys, settings_with(tmp_path, **flags))
    canary.saw("the banner", text)
    assert f"  client key                      {expected}\n" in text


def test_it_has_the_command_that_prints_the_first_key(tmp_path: Path) -> None:
    """As long as the file of the first key exists; then the names of the keys."""
    keys = KeyRing.load(tmp_path / "keys.json")
    path = keys.create_first()
    assert path is not None
    settings = settings_with(tmp_path)
    assert f"cat {path}\n" in banner(service(), keys, settings)
    path.unlink()
    assert "one of default; create another with" in banner(service(), keys, settings)
