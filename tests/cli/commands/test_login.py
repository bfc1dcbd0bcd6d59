"""`bearerd login` and `bearerd logout`, as commands against a sandbox."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bearerd.cli.terminal import has_browser, typed_lines
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
    """A sandbox that lets every device in at once, as one chosen account."""
    async with Sandbox() as running:
        running.authority.sign_in.device_auto_approve = True
        running.authority.sign_in.account = Account("acct-chosen")
        canary.watches(running)
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Where the profile's login is kept."""
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


def spoken_of(finished: Finished, canary: Canary) -> str:
    """Show the canary all that a command said; return what was for a person."""
    canary.saw("stdout", finished.stdout)
    canary.saw("stderr", finished.stderr)
    return finished.stderr


def is_revoked(sandbox: Sandbox, document: dict[str, object]) -> bool:
    """Say whether the login in *document* was signed out by its refresh token."""
    refresh_token = tokens_of(document)["refresh_token"]
    return fingerprint(refresh_token) in sandbox.authority.revoked_fingerprints


def is_gone(store: Path) -> bool:
    """Say whether the login's file is not there any more."""
    return not store.exists()


async def test_a_device_code_signs_a_profile_in(
    sandbox: Sandbox, store: Path, canary: Canary
) -> None:
    """The code and the page are for a person, the response is one line on stdout."""
    ended = await bearerd(sandbox, store, "login", "--device")
    said = spoken_of(ended, canary)
    assert ended.code == 0, said
    assert ended.stdout == (f"profile default is signed in to acct-chosen: {store}\n")
    assert f"{sandbox.issuer_url}/codex/device" in said
    assert "SAND-" in said
    assert tokens_of(read_login(store))["account_id"] == "acct-chosen"
    assert sandbox.authority.records[0].user_agent.startswith("bearerd/")


async def test_a_new_login_signs_the_old_one_out(sandbox: Sandbox, store: Path) -> None:
    """It was this profile's own, and nobody else has it."""
    write_login(store, sandbox.auth_document("acct-before"))
    before = read_login(store)
    ended = await bearerd(sandbox, store, "login", "--device")
    assert ended.code == 0
    assert is_revoked(sandbox, before)
    assert not is_revoked(sandbox, read_login(store))


@pytest.mark.parametrize("is_copy", [True, False], ids=["a-copy", "its-own-file"])
async def test_a_login_that_codex_has_too_is_signed_out_only_on_demand(
    sandbox: Sandbox, store: Path, tmp_path: Path, is_copy: bool
) -> None:
    """Codex would be signed out in the middle of its work."""
    codex = tmp_path / "codex" / "auth.json" if is_copy else store
    write_login(store, sandbox.auth_document())
    before = read_login(store)
    write_login(codex, before)
    ended = await bearerd(sandbox, store, "login", "--device", codex_home=codex.parent)
    assert ended.code == 0
    assert "was not revoked" in ended.stderr
    assert not is_revoked(sandbox, before)
    again = read_login(store)
    asked = ("login", "--device", "--revoke-previous")
    await bearerd(sandbox, store, *asked, codex_home=codex.parent)
    assert is_revoked(sandbox, again)


async def test_a_running_daemon_takes_the_login_up_and_lets_it_go(
    sandbox: Sandbox, launch: Launch, tmp_path: Path
) -> None:
    """Without a restart, and though it is another account's: that was on purpose."""
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
    """One line, and the login that was there goes on."""
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
    """A second time there is nothing to do, and that is no failure."""
    write_login(store, sandbox.auth_document())
    before = read_login(store)
    ended = await bearerd(sandbox, store, "logout")
    spoken_of(ended, canary)
    assert ended.code == 0
    assert is_revoked(sandbox, before)
    assert is_gone(store)
    again = await bearerd(sandbox, store, "logout")
    assert again.code == 0
    assert "was not signed in" in again.stderr


async def test_logging_out_does_not_need_the_authority(
    sandbox: Sandbox, store: Path
) -> None:
    """The file goes, and a warning says what is left to do."""
    write_login(store, sandbox.auth_document())
    sandbox.authority.fault(
        AuthorityFault("answer", status=503, body="{}", path="/oauth/revoke")
    )
    ended = await bearerd(sandbox, store, "logout")
    assert ended.code == 0
    assert "warning" in ended.stderr
    assert is_gone(store)


async def test_a_profile_that_is_none_is_wrong_usage(
    sandbox: Sandbox, store: Path
) -> None:
    """Before anybody is asked for anything."""
    for command in ("login", "logout"):
        ended = await bearerd(sandbox, store, command, "--profile", "nobody")
        assert ended.code == 2
        assert "nobody" in ended.stderr


async def test_typed_lines_end_with_what_they_come_from() -> None:
    """Whole lines, however they were cut on the way."""
    receiver, sender = os.pipe()
    os.write(sender, b"one\ntwo")
    lines = typed_lines(receiver)
    try:
        assert await anext(lines) == "one"
        os.write(sender, b" parts\nrest")
        assert await anext(lines) == "two parts"
    finally:
        os.close(sender)
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(anext(lines), 20)
    os.close(receiver)


@pytest.mark.parametrize(
    ("environ", "platform", "shows"),
    [
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({"DISPLAY": ":0", "SSH_CONNECTION": "1 2 3 4"}, "linux", False),
        ({}, "linux", False),
        ({}, "darwin", True),
        ({"SSH_TTY": "/dev/pts/1"}, "darwin", False),
    ],
)
def test_a_browser_is_opened_only_where_it_shows(
    environ: dict[str, str], platform: str, shows: bool
) -> None:
    """Over ssh it would open on another screen, and without one in the terminal."""
    assert has_browser(environ, platform) is shows
