"""All checks together, for each profile."""

from __future__ import annotations

from pathlib import Path

from bearerd.doctor.findings import exit_code
from bearerd.doctor.runner import run_checks
from bearerd.errors import ExitCode
from bearerd.settings import Folders, Settings, load_settings
from tests.doctor.conftest import MakeMachine, block_folder, messages, verdicts


def settings_at(store: Path, **flags: str) -> Settings:
    """Return settings with *store* and listeners on any free port."""
    folder = store.parent
    listeners = {"listen": "127.0.0.1:0", "admin_listen": "[::1]:0"}
    return load_settings(
        {"store": str(store), **listeners, **flags},
        {},
        folders=Folders(folder, folder),
    )


async def test_a_valid_login_has_no_failure(store: Path, machine: MakeMachine) -> None:
    """That no daemon runs is a warning. No other machine is contacted."""
    findings = await run_checks(settings_at(store), machine(), is_online=False)
    assert exit_code(findings) == ExitCode.OK
    assert verdicts(findings, "network") == ["skipped"]
    assert verdicts(findings, "daemon") == ["warning"]


async def test_a_folder_to_repair_comes_before_a_missing_login(
    store: Path, machine: MakeMachine
) -> None:
    """Both are found; the exit code is that of the folder."""
    block_folder(store)
    settings = settings_at(store)
    findings = await run_checks(settings, machine(), is_online=False)
    assert verdicts(findings, "folder") == ["failed"]
    assert "failed" in verdicts(findings, "login")
    assert exit_code(findings) == ExitCode.FAILED


async def test_each_profile_is_checked(store: Path, machine: MakeMachine) -> None:
    """A finding has the name of its profile, or none if it is about the machine."""
    settings = settings_at(store, profiles="work")
    findings = await run_checks(settings, machine(), is_online=False)
    by_profile = {
        name: exit_code(one for one in findings if one.profile == name)
        for name in ("default", "work", None)
    }
    assert by_profile == {
        "default": ExitCode.OK,
        "work": ExitCode.SIGN_IN_NEEDED,
        None: ExitCode.OK,
    }


async def test_the_environment_of_the_machine_is_checked(
    store: Path, machine: MakeMachine
) -> None:
    """Its proxies, its variables, and the config file."""
    environ = {"BEARERD_DRAIN_SECONDS": "1", "HTTPS_PROXY": "http://p:1"}
    findings = await run_checks(
        settings_at(store),
        machine(environ=environ, config=Path("/etc/bearerd.toml")),
        is_online=False,
    )
    (sources,) = messages(findings, "settings")
    assert "BEARERD_DRAIN_SECONDS" in sources
    assert "/etc/bearerd.toml" in sources
    assert verdicts(findings, "proxy") == ["warning"]
