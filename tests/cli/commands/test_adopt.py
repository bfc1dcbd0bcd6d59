"""`bearerd adopt`: another account in the store becomes the account of the profile."""

from __future__ import annotations

from collections.abc import Mapping

from bearerd.events import LoginNeeded, LoginRestored
from bearerd.sandbox import Sandbox
from tests.cli.conftest import Shell
from tests.support import Start, write_login


async def test_another_account_is_used_once_it_is_adopted(
    shell: Shell, signed_in: Mapping[str, object], sandbox: Sandbox
) -> None:
    """Before that it is refused, with the command that confirms it."""
    assert (await shell.run("token", **signed_in)).code == 0
    write_login(shell.store, sandbox.auth_document("acct-sandbox-2"))
    refused = await shell.run("token", **signed_in)
    assert refused.code == 3
    assert "bearerd adopt" in refused.stderr
    done = await shell.run("adopt", **signed_in)
    assert (done.code, done.stderr) == (0, "")
    assert "acct-sandbox-2" in done.stdout
    assert (await shell.run("token", **signed_in)).code == 0


async def test_an_empty_store_cannot_be_adopted(shell: Shell) -> None:
    """A sign-in is needed."""
    done = await shell.run("adopt")
    assert (done.code, done.stdout) == (3, "")
    assert len(done.stderr.splitlines()) == 1


async def test_a_running_daemon_uses_the_adopted_account(
    shell: Shell, signed_in: Mapping[str, object], sandbox: Sandbox, start: Start
) -> None:
    """Without a restart."""
    daemon = await start()
    assert (await daemon.client.get()).status == 200
    write_login(shell.store, sandbox.auth_document("acct-sandbox-2"))
    (needed,) = await daemon.wait_for(LoginNeeded)
    assert needed.code == "account_changed"
    assert (await daemon.client.get()).code == "account_changed"
    assert (await shell.run("adopt", **signed_in)).code == 0
    await daemon.wait_for(LoginRestored)
    assert (await daemon.client.get()).status == 200
