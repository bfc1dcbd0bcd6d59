"""`bearerd sandbox`: a process that other programs' tests can use."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.support import Canary, call_command, read_login, tokens_of
from tests.support.process import COMMAND, ROOT, environment


@asynccontextmanager
async def sandbox(home: Path, *args: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the command with *args*; kill it at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, "sandbox", *args),
        cwd=ROOT,
        env=environment(home, {}),
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line_of(process: asyncio.subprocess.Process) -> str:
    """Return the next line of stdout."""
    assert process.stdout is not None
    async with asyncio.timeout(20):
        return (await process.stdout.readline()).decode()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)]
)
async def test_it_serves_until_a_signal(
    tmp_path: Path, canary: Canary, number: int, code: int
) -> None:
    """It prints JSON, writes a private file, and reports what it was sent."""
    login = tmp_path / "auth.json"
    async with sandbox(tmp_path, "--json", "--auth-file", str(login)) as process:
        line = await line_of(process)
        canary.saw("stdout", line)
        addresses = json.loads(line)
        tokens = tokens_of(read_login(login))
        async with aiohttp.ClientSession() as session:
            async with session.get(
                f"{addresses['upstream_url']}/codex/models",
                headers={"Authorization": f"Bearer {tokens['access_token']}"},
            ) as response:
                assert response.status == 200
            async with session.get(
                f"{addresses['issuer_url']}/sandbox/report"
            ) as report:
                assert (await report.json())["upstream"]["requests"] == 1
        process.send_signal(number)
        async with asyncio.timeout(20):
            assert await process.wait() == code
    assert addresses["auth_file"] == str(login)
    assert login.stat().st_mode & 0o777 == 0o600


async def test_a_shell_can_evaluate_stdout(tmp_path: Path) -> None:
    """Settings on stdout, and the next steps on stderr."""
    async with sandbox(tmp_path) as process:
        first, second = await line_of(process), await line_of(process)
        process.terminate()
        _, advice = await process.communicate()
    assert first.startswith("export BEARERD_ISSUER_URL=http://127.0.0.1:")
    assert second.startswith("export BEARERD_UPSTREAM_URL=http://127.0.0.1:")
    assert b"/sandbox/login" in advice
    assert b"revoke_access_tokens" in advice


async def test_another_client_can_be_registered(tmp_path: Path) -> None:
    """Besides Codex's; the control paths serve another process."""
    async with sandbox(tmp_path, "--json", "--client-id", "app_mine") as process:
        addresses = json.loads(await line_of(process))
        issuer_url = addresses["issuer_url"]
        async with aiohttp.ClientSession() as session:
            async with session.post(f"{issuer_url}/sandbox/login") as response:
                login = await response.json()
            grant = {
                "client_id": "app_mine",
                "grant_type": "refresh_token",
                "refresh_token": login["tokens"]["refresh_token"],
            }
            command = {"do": "authority_fault", "kind": "challenge", "times": 1}
            async with session.post(
                f"{issuer_url}/sandbox/control", json=command
            ) as response:
                assert response.status == 200
            for status in (403, 200, 401):
                async with session.post(addresses["token_url"], json=grant) as response:
                    assert response.status == status


def test_an_existing_file_is_not_overwritten(tmp_path: Path) -> None:
    """It might be a real login."""
    login = tmp_path / "auth.json"
    login.write_text("mine")
    done = call_command(tmp_path, "sandbox", "--auth-file", str(login))
    assert done.code == 2
    assert str(login) in done.stderr
    assert login.read_text() == "mine"


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    """With the reason and the remedy."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        done = call_command(tmp_path, "sandbox", "--upstream-port", port)
    assert done.code == 1
    assert len(done.stderr.splitlines()) == 1
    assert "choose other ports" in done.stderr
