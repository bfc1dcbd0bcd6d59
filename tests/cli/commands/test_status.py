"""`bearerd status` and `bearerd adopt`, with a daemon and without."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from urllib.parse import urlsplit

import pytest

from bearerd.sandbox import AuthorityFault, Sandbox
from tests.cli.conftest import Shell
from tests.support import Launch, ServeProcess, write_login


def admin_of(daemon: ServeProcess) -> str:
    """Return the address of a daemon's admin listener."""
    return urlsplit(daemon.admin_url).netloc


async def test_without_a_daemon_the_store_is_read(
    shell: Shell, signed_in: Mapping[str, object], sandbox: Sandbox
) -> None:
    """It says so; `--check` is 1, for agents get nothing."""
    done = await shell.run("status", **signed_in)
    assert done.code == 0
    assert done.stdout.startswith("bearerd is not running")
    assert "default: ready" in done.stdout
    assert "acct-sandbox-1" in done.stdout
    document = json.loads((await shell.run("status", "--json", **signed_in)).stdout)
    assert document["running"] is False
    assert [one["state"] for one in document["profiles"]] == ["ready"]
    assert (await shell.run("status", "--check", **signed_in)).code == 1
    assert sandbox.authority.calls == 0


async def test_without_a_login_the_remedy_is_named(shell: Shell) -> None:
    """`--check` is 3 then; the status itself was told, so that is 0."""
    done = await shell.run("status")
    assert (done.code, done.stderr) == (0, "")
    assert "default: login required (missing)" in done.stdout
    assert "bearerd login" in done.stdout
    checked = await shell.run("status", "--check")
    assert (checked.code, checked.stdout) == (3, done.stdout)


async def test_the_daemon_is_asked_if_it_runs(
    shell: Shell, signed_in: Mapping[str, object], launch: Launch
) -> None:
    """What it holds, not what the file says; `--check` is 0."""
    daemon = await launch()
    given = {**signed_in, "admin_listen": admin_of(daemon)}
    done = await shell.run("status", "--check", **given)
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.startswith("bearerd ")
    assert " is running\n" in done.stdout
    document = json.loads((await shell.run("status", "--json", **given)).stdout)
    assert document["running"] is True
    assert document["admin"] == [admin_of(daemon)]
    (profile,) = document["profiles"]
    assert (profile["state"], profile["generation"]) == ("ready", 1)


async def test_a_daemon_without_a_login_is_3(shell: Shell, launch: Launch) -> None:
    """For whoever watches it."""
    daemon = await launch()
    done = await shell.run("status", "--check", admin_listen=admin_of(daemon))
    assert done.code == 3
    assert "bearerd login" in done.stdout


async def test_a_daemon_that_waits_for_an_authority_is_1(
    shell: Shell, sandbox: Sandbox, launch: Launch
) -> None:
    """That passes by itself, so it is no 3."""
    sandbox.tokens.access_lifetime_seconds = -60
    write_login(shell.store, sandbox.auth_document())
    sandbox.authority.fault(
        AuthorityFault("answer", status=500, body="oops"), times=100
    )
    daemon = await launch()
    await daemon.wait_for("refresh.failed")
    done = await shell.run("status", "--check", admin_listen=admin_of(daemon))
    assert done.code == 1
    assert "last error" in done.stdout


async def test_one_profile_can_be_asked_for(
    shell: Shell, signed_in: Mapping[str, object], launch: Launch
) -> None:
    """What ails another one does not count then."""
    daemon = await launch(profiles="work")
    given = {**signed_in, "admin_listen": admin_of(daemon), "profiles": "work"}
    assert (await shell.run("status", "--check", **given)).code == 3
    done = await shell.run("status", "--check", "--profile", "default", **given)
    assert done.code == 0
    assert "work" not in done.stdout
    assert (await shell.run("status", "--profile", "home", **given)).code == 2


async def test_a_unix_socket_is_asked_too(
    shell: Shell, signed_in: Mapping[str, object], launch: Launch
) -> None:
    """The first address that answers is enough."""
    path = shell.folder / "a.sock"
    if len(str(path).encode()) > 100:
        pytest.skip("the folder's path is too long for a socket")
    await launch(admin_listen=f"127.0.0.1:0,unix:{path}")
    done = await shell.run(
        "status", "--check", **signed_in, admin_listen=f"unix:{path}"
    )
    assert done.code == 0


async def test_another_program_on_the_port_is_no_daemon(
    shell: Shell, signed_in: Mapping[str, object]
) -> None:
    """Whatever it answers, the store is read."""

    async def response(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()

    async with await asyncio.start_server(response, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        given = {**signed_in, "admin_listen": f"127.0.0.1:{port}"}
        done = await shell.run("status", **given)
    assert done.code == 0
    assert done.stdout.startswith("bearerd is not running")


async def test_another_account_is_served_once_it_is_adopted(
    shell: Shell, signed_in: Mapping[str, object], sandbox: Sandbox
) -> None:
    """Until then it is refused with the command that says it is meant."""
    assert (await shell.run("token", **signed_in)).code == 0
    write_login(shell.store, sandbox.auth_document("acct-sandbox-2"))
    refused = await shell.run("token", **signed_in)
    assert refused.code == 3
    assert "bearerd adopt" in refused.stderr
    done = await shell.run("adopt", **signed_in)
    assert (done.code, done.stderr) == (0, "")
    assert "acct-sandbox-2" in done.stdout
    assert (await shell.run("token", **signed_in)).code == 0


async def test_nothing_can_be_adopted_where_there_is_nothing(shell: Shell) -> None:
    """A sign-in is what is needed then."""
    done = await shell.run("adopt")
    assert (done.code, done.stdout) == (3, "")
    assert len(done.stderr.splitlines()) == 1


async def test_a_running_daemon_follows_an_adoption(
    shell: Shell, signed_in: Mapping[str, object], sandbox: Sandbox, launch: Launch
) -> None:
    """Without a restart, as it follows a login."""
    daemon = await launch()
    assert (await daemon.client.get()).status == 200
    write_login(shell.store, sandbox.auth_document("acct-sandbox-2"))
    await daemon.wait_for("login.needed", code="account_changed")
    assert (await daemon.client.get()).code == "account_changed"
    assert (await shell.run("adopt", **signed_in)).code == 0
    await daemon.wait_for("login.restored")
    assert (await daemon.client.get()).status == 200
