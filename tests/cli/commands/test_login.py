"""`bearerd login` and `bearerd logout`, as commands against a sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bearerd.sandbox import Account, AuthorityFault, Sandbox, fingerprint
from tests.support import (
    Canary,
    Finished,
    Launch,
    read_login,
    run_command,
    tokens_of,
    write_login,
)


@pytest.fixture
async def sandbox(canary: Canary) -> AsyncIterator[Sandbox]:
    """A sandbox that approves every device at once, as one chosen account."""
    async with Sandbox() as running:
        running.authority.sign_in.device_auto_approve = True
        running.authority.sign_in.account = Account("acct-chosen")
        canary.watches(running)
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The place of the profile's login, without a login."""
    return tmp_path / "data" / "auth.json"


async def bearerd(
    sandbox: Sandbox, store: Path, *args: str, codex_home: Path | None = None
) -> Finished:
    """Run a command on *store* and *sandbox*."""
    return await run_command(
        store.parent.parent,
        *args,
        settings={"store": store, "issuer_url": sandbox.issuer_url},
        environ={"CODEX_HOME": str(codex_home)} if codex_home else {},
    )


def stderr_of(finished: Finished, canary: Canary) -> str:
    """Return what a command printed for a person, after the canary has seen it all."""
    canary.saw("stdout", finished.stdout)
    canary.saw("stderr", finished.stderr)
    return finished.stderr


def is_revoked(sandbox: Sandbox, document: dict[str, object]) -> bool:
    """Return True if the login in *document* was revoked by its refresh token."""
    refresh_token = tokens_of(document)["refresh_token"]
    return fingerprint(refresh_token) in sandbox.authority.revoked_fingerprints


def is_gone(store: Path) -> bool:
    """Return True if the login's file does not exist."""
    return not store.exists()


async def test_a_device_code_signs_a_profile_in(
    sandbox: Sandbox, store: Path, canary: Canary
) -> None:
    """The code and the page go to stderr, and the result is one line on stdout."""
    ended = await bearerd(sandbox, store, "login", "--device")
    stderr = stderr_of(ended, canary)
    assert ended.code == 0, stderr
    assert ended.stdout == (f"profile default is signed in to acct-chosen: {store}\n")
    assert f"{sandbox.issuer_url}/codex/device" in stderr
    assert "SAND-" in stderr
    assert tokens_of(read_login(store))["account_id"] == "acct-chosen"
    assert sandbox.authority.records[0].user_agent.startswith("bearerd/")


async def test_a_new_login_revokes_the_previous_one(
    sandbox: Sandbox, store: Path
) -> None:
    """No other program has it."""
    write_login(store, sandbox.auth_document("acct-before"))
    before = read_login(store)
    ended = await bearerd(sandbox, store, "login", "--device")
    assert ended.code == 0
    assert is_revoked(sandbox, before)
    assert not is_revoked(sandbox, read_login(store))


@pytest.mark.parametrize("is_copy", [True, False], ids=["a-copy", "its-own-file"])
async def test_a_login_that_codex_has_too_is_revoked_only_on_demand(
    sandbox: Sandbox, store: Path, tmp_path: Path, is_copy: bool
) -> None:
    """Else Codex would be signed out in the middle of its work."""
    codex = tmp_path / "codex" / "auth.json" if is_copy else store
    write_login(store, sandbox.auth_document())
    before = read_login(store)
    write_login(codex, before)
    ended = await bearerd(sandbox, store, "login", "--device", codex_home=codex.parent)
    assert ended.code == 0
    assert "was not revoked" in ended.stderr
    assert not is_revoked(sandbox, before)
    again = read_login(store)
    on_demand = ("login", "--device", "--revoke-previous")
    await bearerd(sandbox, store, *on_demand, codex_home=codex.parent)
    assert is_revoked(sandbox, again)


async def test_a_running_daemon_follows_login_and_logout(
    sandbox: Sandbox, launch: Launch, tmp_path: Path
) -> None:
    """Without a restart. The new account is accepted, since it was chosen on purpose."""
    store = tmp_path / "auth.json"
    write_login(store, sandbox.auth_document("acct-before"))
    daemon = await launch()
    assert (await daemon.client.get()).status == 200
    settings = {"store": store, "issuer_url": sandbox.issuer_url}
    ended = await run_command(tmp_path, "login", "--device", settings=settings)
    assert ended.code == 0
    await daemon.wait_for("credential.loaded", account_id="acct-chosen")
    assert (await daemon.client.get()).status == 200
    await run_command(tmp_path, "logout", settings=settings)
    await daemon.wait_for("login.needed", reason="missing")
    assert (await daemon.client.get()).code == "login_required"


async def test_a_sign_in_that_fails_changes_nothing(
    sandbox: Sandbox, store: Path
) -> None:
    """One line names the reason, and the previous login stays valid."""
    write_login(store, sandbox.auth_document())
    before = read_login(store)
    sandbox.authority.fault(AuthorityFault("answer", status=500, body="{}"))
    ended = await bearerd(sandbox, store, "login", "--device")
    assert ended.code == 1
    assert ended.stderr.splitlines()[-1].startswith("bearerd: ")
    assert "status 500" in ended.stderr
    assert read_login(store) == before
    assert not is_revoked(sandbox, before)


async def test_logging_out_revokes_and_removes(
    sandbox: Sandbox, store: Path, canary: Canary
) -> None:
    """A second logout has nothing to do, and exits with 0."""
    write_login(store, sandbox.auth_document())
    before = read_login(store)
    ended = await bearerd(sandbox, store, "logout")
    stderr_of(ended, canary)
    assert ended.code == 0
    assert is_revoked(sandbox, before)
    assert is_gone(store)
    again = await bearerd(sandbox, store, "logout")
    assert again.code == 0
    assert "was not signed in" in again.stderr


async def test_logging_out_does_not_need_the_authority(
    sandbox: Sandbox, store: Path
) -> None:
    """The file is removed, and a warning says that the login stays valid there."""
    write_login(store, sandbox.auth_document())
    sandbox.authority.fault(
        AuthorityFault("answer", status=503, body="{}", path="/oauth/revoke")
    )
    ended = await bearerd(sandbox, store, "logout")
    assert ended.code == 0
    assert "not revoked and stays valid at the authority" in ended.stderr
    assert "status 503" in ended.stderr
    assert is_gone(store)


async def test_an_unknown_profile_is_wrong_usage(sandbox: Sandbox, store: Path) -> None:
    """The exit code is 2, and no sign-in starts."""
    for command in ("login", "logout"):
        ended = await bearerd(sandbox, store, command, "--profile", "unknown")
        assert ended.code == 2
        assert "unknown" in ended.stderr
