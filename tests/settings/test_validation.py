"""Settings that are valid by themselves and contradict each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.settings.conftest import ErrorLine, Load


def test_loopback_listeners_may_require_no_key(load: Load) -> None:
    """Unix sockets may as well."""
    listen = "127.0.0.1:1,[::1]:1,localhost:2,unix:/run/x"
    assert not load({"require_key": "false", "listen": listen}).require_key


@pytest.mark.parametrize("address", ["0.0.0.0:1", "[::]:1", "192.0.2.1:1"])
def test_a_listener_open_to_other_machines_requires_a_key(
    error_line: ErrorLine, address: str
) -> None:
    """One such listener among others is enough; the line names it."""
    flags = {"require_key": "false", "listen": f"127.0.0.1:1,{address}"}
    line = error_line(flags)
    assert line.startswith("setting require_key = false (from flag --require-key)")
    assert address in line


def test_two_listeners_cannot_share_an_address(error_line: ErrorLine) -> None:
    """The line names the setting to change."""
    line = error_line({"listen": "127.0.0.1:8788"})
    assert line.startswith('setting admin_listen = "127.0.0.1:8788" (from default)')


def test_two_listeners_can_both_have_port_0(load: Load) -> None:
    """The system chooses another port each time."""
    free = "127.0.0.1:0"
    assert load({"listen": free, "admin_listen": free}).listen[0].port == 0


def test_a_store_that_is_a_circle_of_links_is_no_wrong_setting(
    load: Load, tmp_path: Path
) -> None:
    """The daemon starts, and takes up the login that is put there."""
    store = tmp_path / "auth.json"
    store.symlink_to(store.name)
    assert load({"store": str(store)}).profiles["default"].store == store


def test_two_profiles_cannot_share_a_store(
    error_line: ErrorLine, tmp_path: Path
) -> None:
    """Also if a link hides it: each would spend the other's refresh token."""
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "link.json").symlink_to("a.json")
    toml = f"""
        store = "{tmp_path}/a.json"
        [profiles.work]
        store = "{tmp_path}/link.json"
    """
    line = error_line(toml=toml)
    assert line.startswith("setting profiles.work.store = ")
    assert "profile default has this one" in line
