"""`bearerd serve`: its start, its first key, its banner, and why it may not start.

The log and the terminal belong to the process, so the tests of these start one.
"""

from __future__ import annotations

import asyncio
import os
import pty
import socket
import stat
from pathlib import Path

import pytest

from bearerd.events import LoginRestored
from bearerd.sandbox import Sandbox
from tests.cli.conftest import Shell
from tests.support import (
    Canary,
    Client,
    Launch,
    Start,
    write_login,
)
from tests.support.process import COMMAND, ROOT, environment

OPERATOR_KEY = "9f2c7a5be4d84e1fa3306b72"


def read_key(path: str) -> tuple[str, int]:
    """Return the key in a file, and the permissions of the file."""
    return Path(path).read_text().strip(), stat.S_IMODE(Path(path).stat().st_mode)


async def test_it_starts_without_a_login_and_uses_one_that_appears(
    shell: Shell, start: Start, sandbox: Sandbox
) -> None:
    """Not ready, with the remedy; and ready without a restart once the file exists."""
    daemon = await start()
    status, text = await daemon.admin("/readyz")
    assert status == 503
    assert "bearerd login" in text
    refused = await daemon.client.get()
    assert (refused.status, refused.code) == (401, "login_required")
    write_login(shell.store, sandbox.auth_document())
    await daemon.wait_for(LoginRestored)
    assert (await daemon.admin("/readyz"))[0] == 200
    assert (await daemon.client.get()).status == 200


@pytest.mark.usefixtures("signed_in")
async def test_it_creates_the_first_key(
    shell: Shell, launch: Launch, canary: Canary
) -> None:
    """Once, in a private file that the log names; the relay accepts the key."""
    keys_file = shell.folder / "made" / "keys.json"
    daemon = await launch(keys_file=keys_file)
    line = await daemon.wait_for("key.created")
    assert line["path"] == str(keys_file.with_name("client-key"))
    key, mode = read_key(line["path"])
    assert mode == 0o600
    canary.knows("the first key", key)
    async with Client(daemon.client.base_url, key, canary) as client:
        assert (await client.get()).status == 200
    async with Client(daemon.client.base_url, key + "x", canary) as client:
        assert (await client.get()).code == "client_key_invalid"
    again = await launch(keys_file=keys_file)
    assert not [one for one in again.lines if one["event"] == "key.created"]
    assert read_key(line["path"]) == (key, mode)


@pytest.mark.usefixtures("signed_in")
async def test_an_operators_key_replaces_the_first_key(
    shell: Shell, launch: Launch, canary: Canary
) -> None:
    """From a secret mount; no key file is created then."""
    canary.knows("the operator's key", OPERATOR_KEY)
    mount = shell.folder / "client_key"
    mount.write_text(f"{OPERATOR_KEY}\n")
    keys_file = shell.folder / "none" / "keys.json"
    daemon = await launch(client_key_file=mount, keys_file=keys_file)
    async with Client(daemon.client.base_url, OPERATOR_KEY, canary) as client:
        assert (await client.get()).status == 200
    assert not keys_file.parent.exists()
    line = await daemon.wait_for("request.finished", status=200)
    assert line["client"] == "operator"


@pytest.mark.parametrize("name", ["listen", "admin_listen"])
async def test_a_port_in_use_is_one_line(shell: Shell, name: str) -> None:
    """With the setting to change; exit code 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        given: dict[str, object] = {"listen": "127.0.0.1:0", name: address}
        done = await shell.run("serve", **given, log_level="error")
    assert done.code == 1
    line = done.stderr.splitlines()[-1]
    assert line.startswith("bearerd: ")
    assert address in line
    assert name in line
    assert "Traceback" not in done.stderr


async def test_a_folder_that_cannot_be_written_is_one_line(shell: Shell) -> None:
    """Before any listener is open; exit code 1."""
    (shell.folder / "file").write_text("not a folder")
    store = shell.folder / "file" / "auth.json"
    done = await shell.run("serve", store=store, listen="127.0.0.1:0")
    assert done.code == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("bearerd: ")
    assert str(store.parent) in line


async def test_an_invalid_key_file_is_one_line(shell: Shell) -> None:
    """A daemon that accepts no client would be hard to understand; exit code 1."""
    keys = shell.folder / "keys.json"
    keys.write_text("{")
    done = await shell.run("serve", listen="127.0.0.1:0")
    assert done.code == 1
    assert done.stderr == (
        f"bearerd: {keys}: this is not a file of client keys; move it away, and make new "
        "keys with `bearerd key create NAME`\n"
    )
    assert keys.read_text() == "{"


async def test_a_terminal_shows_a_banner(shell: Shell, canary: Canary) -> None:
    """The addresses, the file of the first key, and the profile without a login."""
    master, slave = pty.openpty()
    shell.home.mkdir()
    settings = {
        "store": shell.store,
        "listen": "127.0.0.1:0,localhost:0",
        "admin_listen": "127.0.0.1:0",
    }
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        "serve",
        cwd=ROOT,
        env=environment(shell.home, settings),
        stdin=asyncio.subprocess.DEVNULL,
        stderr=slave,
    )
    os.close(slave)
    text = ""
    async with asyncio.timeout(20):
        while "  profile default" not in text:
            text += (await asyncio.to_thread(os.read, master, 65536)).decode()
        process.terminate()
        assert await process.wait() == 0
    os.close(master)
    canary.saw("the terminal", text)
    assert "listens on 127.0.0.1:" in text
    assert f"cat {shell.folder}/client-key" in text
