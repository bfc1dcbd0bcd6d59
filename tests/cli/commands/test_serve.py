"""`bearerd serve` as a process: its start, its first key, its signals, its refusals."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import socket
import stat
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import pytest

from bearerd.sandbox import Sandbox
from tests.cli.conftest import Shell
from tests.support import (
    Canary,
    Client,
    Launch,
    ServeProcess,
    read_login,
    tokens_of,
    write_login,
)
from tests.support.process import COMMAND, ROOT, environment


def read_key(path: str) -> tuple[str, int]:
    """Return the key in a plain file, and the file's permissions."""
    return Path(path).read_text().strip(), stat.S_IMODE(Path(path).stat().st_mode)


async def test_it_runs_without_a_login_and_takes_one_up(
    shell: Shell, launch: Launch, sandbox: Sandbox
) -> None:
    """Unready with the remedy, and ready without a restart once the file is there."""
    daemon = await launch()
    status, text = await daemon.admin("/readyz")
    assert status == 503
    assert "bearerd login" in text
    refused = await daemon.client.get()
    assert (refused.status, refused.code) == (401, "login_required")
    write_login(shell.store, sandbox.auth_document())
    await daemon.wait_for("login.restored")
    assert (await daemon.admin("/readyz"))[0] == 200
    assert (await daemon.client.get()).status == 200


async def test_the_first_key_is_made_and_can_be_read(
    shell: Shell, signed_in: Mapping[str, object], launch: Launch, canary: Canary
) -> None:
    """Once, in a private file that the log names; it opens the relay."""
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
    assert signed_in


async def test_keys_come_and_go_without_a_restart(
    shell: Shell, signed_in: Mapping[str, object], launch: Launch, canary: Canary
) -> None:
    """A new one counts at once; a revoked one is dead within two seconds."""
    daemon = await launch()
    key = (await shell.run("key", "create", "ci")).stdout.strip()
    canary.knows("a made key", key)
    async with Client(daemon.client.base_url, key, canary) as client:
        assert (await client.get()).status == 200
        await shell.run("key", "revoke", "ci")
        # Asked again and again, so that the file is looked at on the way of hits too.
        began = time.monotonic()
        while (await client.get()).code != "client_key_invalid":
            assert time.monotonic() - began < 2
    assert (await daemon.client.get()).status == 200
    assert signed_in


async def test_the_operators_own_key_opens_the_relay(
    shell: Shell, signed_in: Mapping[str, object], launch: Launch, canary: Canary
) -> None:
    """From a secret mount; no other key is made then."""
    own = "9f2c7a5be4d84e1fa3306b72"
    canary.knows("the operator's key", own)
    mount = shell.folder / "client_key"
    mount.write_text(f"{own}\n")
    keys_file = shell.folder / "none" / "keys.json"
    daemon = await launch(client_key_file=mount, keys_file=keys_file)
    async with Client(daemon.client.base_url, own, canary) as client:
        assert (await client.get()).status == 200
    assert not keys_file.parent.exists()
    line = await daemon.wait_for("request.finished", status=200)
    assert line["client"] == "operator"
    assert signed_in


async def test_a_signal_lets_requests_in_flight_end(
    signed_in: Mapping[str, object], launch: Launch, sandbox: Sandbox
) -> None:
    """SIGTERM: the response is delivered whole, then the process ends with 0."""
    daemon = await launch(drain_seconds=20)
    sandbox.upstream.hold.close()
    asked = asyncio.create_task(daemon.client.send())
    await sandbox.upstream.wait_for_waiting(1)
    daemon.terminate()
    await daemon.wait_for("service.stopping")
    assert json.loads((await daemon.admin("/api/status"))[1])["draining"] is True
    assert (await daemon.admin("/readyz"))[0] == 503
    sandbox.upstream.hold.open()
    assert (await asked).status == 200
    assert await daemon.ended() == 0
    assert (await daemon.wait_for("service.stopped"))["aborted"] == 0
    assert signed_in


async def test_a_second_signal_breaks_requests_off(
    signed_in: Mapping[str, object], launch: Launch, sandbox: Sandbox
) -> None:
    """However long the drain may take; the end is in order all the same."""
    daemon = await launch(drain_seconds=3600)
    sandbox.upstream.hold.close()
    asked = asyncio.create_task(daemon.client.send())
    await sandbox.upstream.wait_for_waiting(1)
    daemon.terminate()
    await daemon.wait_for("service.stopping")
    daemon.terminate()
    assert await daemon.ended() == 0
    assert (await daemon.wait_for("service.stopped"))["aborted"] == 1
    with pytest.raises(aiohttp.ClientError):
        await asked
    assert signed_in


async def spend_under_way(launch: Launch, sandbox: Sandbox) -> ServeProcess:
    """Return a daemon asked to end twice whose token is spent, and not yet answered."""
    daemon = await launch(drain_seconds=3600)
    sandbox.authority.holds_after_rotation = True
    sandbox.authority.hold.close()
    sandbox.revoke_access_tokens()
    asked = asyncio.create_task(daemon.client.send())
    await sandbox.authority.wait_for_waiting(1)
    for _ in range(2):
        daemon.terminate()
        await daemon.wait_for("service.stopping")
    with pytest.raises(aiohttp.ClientError):
        await asked  # broken off by the second signal
    return daemon


async def test_a_second_signal_lets_a_refresh_land(
    shell: Shell, signed_in: Mapping[str, object], launch: Launch, sandbox: Sandbox
) -> None:
    """Its token is spent: the response is waited for, and stored."""
    daemon = await spend_under_way(launch, sandbox)
    assert daemon.process.returncode is None
    sandbox.authority.hold.open()
    assert await daemon.ended() == 0
    stored = tokens_of(read_login(shell.store))
    assert sandbox.tokens.introspect(stored["access_token"]).state == "live"
    assert sandbox.authority.refreshes == 1
    assert signed_in


async def test_a_third_signal_ends_it_at_once(
    signed_in: Mapping[str, object], launch: Launch, sandbox: Sandbox
) -> None:
    """Whatever that may cost."""
    daemon = await spend_under_way(launch, sandbox)
    daemon.terminate()
    assert await daemon.ended() == 128 + signal.SIGTERM
    sandbox.authority.hold.open()
    assert signed_in


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 0), (signal.SIGHUP, 0), (signal.SIGINT, 130)],
)
async def test_a_signal_ends_an_idle_daemon_quietly(
    launch: Launch, number: signal.Signals, code: int
) -> None:
    """By a supervisor, a closed terminal, or Ctrl-C; the log ends in order."""
    daemon = await launch()
    daemon.process.send_signal(number)
    assert await daemon.ended() == code
    assert daemon.lines[-1]["event"] == "service.stopped"


async def test_a_taken_port_is_one_line(shell: Shell) -> None:
    """With the setting that moves it; exit code 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for name in ("listen", "admin_listen"):
            given: dict[str, object] = {"listen": "127.0.0.1:0", name: address}
            done = await shell.run("serve", **given, log_level="error")
            assert done.code == 1
            line = done.stderr.splitlines()[-1]
            assert line.startswith("bearerd: ")
            assert address in line
            assert name in line
            assert "Traceback" not in done.stderr


async def test_a_folder_that_cannot_be_written_is_one_line(shell: Shell) -> None:
    """Named, before anything listens; exit code 1."""
    (shell.folder / "file").write_text("not a folder")
    store = shell.folder / "file" / "auth.json"
    done = await shell.run("serve", store=store, listen="127.0.0.1:0")
    assert done.code == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("bearerd: ")
    assert str(store.parent) in line


async def test_broken_keys_are_one_line(shell: Shell) -> None:
    """A daemon that let nobody in would be a riddle; exit code 1."""
    keys = shell.folder / "keys.json"
    keys.write_text("{")
    done = await shell.run("serve", listen="127.0.0.1:0")
    assert done.code == 1
    assert done.stderr == (
        f"bearerd: {keys}: this is no file of client keys; move it away, and make new "
        "keys with `bearerd key create NAME`\n"
    )
    assert keys.read_text() == "{"


async def test_on_a_terminal_it_says_what_to_do_next(
    shell: Shell, canary: Canary
) -> None:
    """Where it listens, the base URLs, where the first key is, and what is missing."""
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
    said = ""
    async with asyncio.timeout(20):
        while "needs a sign-in" not in said:
            said += (await asyncio.to_thread(os.read, master, 65536)).decode()
        process.terminate()
        assert await process.wait() == 0
    os.close(master)
    canary.saw("the terminal", said)
    assert "listens on 127.0.0.1:" in said
    assert "/v1" in said
    assert "/backend-api" in said
    assert f"cat {shell.folder}/client-key" in said
    assert "status page" in said
    assert f"{shell.store}: there is no credential file" in said


async def test_it_starts_within_a_second_or_so(launch: Launch) -> None:
    """From the command to open listeners, with room for a busy machine."""
    began = time.monotonic()
    await launch()
    assert time.monotonic() - began < 5
    assert sys.version_info >= (3, 11)
