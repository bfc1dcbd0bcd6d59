"""`bearerd status`, with a daemon and without one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from urllib.parse import urlsplit

import pytest

from bearerd.events import RefreshFailed
from bearerd.sandbox import AuthorityFault, Sandbox
from tests.cli.conftest import Shell
from tests.support import Daemon, Start, write_login


def admin_of(daemon: Daemon) -> str:
    """Return the address of a daemon's admin listener."""
    return urlsplit(daemon.admin_url).netloc


async def test_without_a_daemon_the_store_is_read(
    shell: Shell, signed_in: Mapping[str, object], sandbox: Sandbox
) -> None:
    """`--check` is 1, because no agent is served. The authority is not called."""
    done = await shell.run("status", **signed_in)
    assert done.code == 0
    assert done.stdout.startswith("bearerd is not running")
    assert "default: usable" in done.stdout
    assert "acct-sandbox-1" in done.stdout
    document = json.loads((await shell.run("status", "--json", **signed_in)).stdout)
    assert document["running"] is False
    assert [one["since"] for one in document["profiles"]] == [None]
    assert [one["state"] for one in document["profiles"]] == ["usable"]
    assert (await shell.run("status", "--check", **signed_in)).code == 1
    assert sandbox.authority.calls == 0


async def test_without_a_login_the_remedy_is_printed(shell: Shell) -> None:
    """`--check` is 3. Without it the exit code is 0, because the status was printed."""
    done = await shell.run("status")
    assert (done.code, done.stderr) == (0, "")
    assert "default: blocked (login_required: missing)" in done.stdout
    assert "bearerd login" in done.stdout
    checked = await shell.run("status", "--check")
    assert (checked.code, checked.stdout) == (3, done.stdout)


async def test_a_running_daemon_is_asked(
    shell: Shell, signed_in: Mapping[str, object], start: Start
) -> None:
    """The status is that of the daemon, not of the file; `--check` is 0."""
    daemon = await start()
    given = {**signed_in, "admin_listen": admin_of(daemon)}
    done = await shell.run("status", "--check", **given)
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.startswith("bearerd ")
    assert " is running\n" in done.stdout
    document = json.loads((await shell.run("status", "--json", **given)).stdout)
    assert document["running"] is True
    assert document["admin"] == [admin_of(daemon)]
    (profile,) = document["profiles"]
    assert (profile["state"], profile["generation"]) == ("usable", 1)


async def test_check_is_3_for_a_daemon_without_a_login(
    shell: Shell, start: Start
) -> None:
    """The remedy is printed as well."""
    daemon = await start()
    done = await shell.run("status", "--check", admin_listen=admin_of(daemon))
    assert done.code == 3
    assert "bearerd login" in done.stdout


async def test_check_is_1_for_a_daemon_whose_authority_fails(
    shell: Shell, sandbox: Sandbox, start: Start
) -> None:
    """A sign-in would not help."""
    sandbox.tokens.access_lifetime_seconds = -60
    write_login(shell.store, sandbox.auth_document())
    sandbox.authority.fault(
        AuthorityFault("answer", status=500, body="oops"), times=100
    )
    daemon = await start()
    await daemon.wait_for(RefreshFailed)
    done = await shell.run("status", "--check", admin_listen=admin_of(daemon))
    assert done.code == 1
    assert "last error" in done.stdout


async def test_the_status_can_be_limited_to_one_profile(
    shell: Shell, signed_in: Mapping[str, object], start: Start
) -> None:
    """`--check` then ignores the other profiles; an unknown one is wrong usage."""
    daemon = await start(profiles="work")
    given = {**signed_in, "admin_listen": admin_of(daemon), "profiles": "work"}
    assert (await shell.run("status", "--check", **given)).code == 3
    done = await shell.run("status", "--check", "--profile", "default", **given)
    assert done.code == 0
    assert "work" not in done.stdout
    assert (await shell.run("status", "--profile", "home", **given)).code == 2


async def test_a_daemon_is_asked_by_its_unix_socket(
    shell: Shell, signed_in: Mapping[str, object], start: Start
) -> None:
    """As by any other address of its admin listener."""
    path = shell.folder / "a.sock"
    if len(str(path).encode()) > 100:
        pytest.skip("the folder's path is too long for a socket")
    await start(admin_listen=f"127.0.0.1:0,unix:{path}")
    done = await shell.run(
        "status", "--check", **signed_in, admin_listen=f"unix:{path}"
    )
    assert done.code == 0


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nServer: bearerd\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nServer: bearerd\r\nContent-Length: 4\r\n\r\noops",
        b"220 mail.example ESMTP\r\n",
        b"",
    ],
    ids=["another server", "no object", "no JSON", "no HTTP", "nothing"],
)
async def test_another_program_on_the_port_is_not_taken_for_a_daemon(
    shell: Shell, signed_in: Mapping[str, object], response: bytes
) -> None:
    """Whatever it responds, the store is read."""

    async def respond(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response)
        writer.close()

    async with await asyncio.start_server(respond, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        given = {**signed_in, "admin_listen": f"127.0.0.1:{port}"}
        done = await shell.run("status", **given)
    assert done.code == 0
    assert done.stdout.startswith("bearerd is not running")
