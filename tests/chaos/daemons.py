"""A real `bearerd serve` to do things to: its disk, its time, its system calls."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bearerd.sandbox import Sandbox
from tests.chaos.victims import injected
from tests.support import Canary, Client, ServeProcess
from tests.support.process import COMMAND, ROOT, environment


@asynccontextmanager
async def daemon(
    store: Path, sandbox: Sandbox, canary: Canary, home: Path, **given: object
) -> AsyncIterator[ServeProcess]:
    """Give a `bearerd serve` over *store* whose home, with its rescue place, is *home*.

    It runs without uvloop, which wakes its loop up by `write(2)`: where strace lets that
    call fail, files and the log are what fails.
    """
    (home / "without").mkdir(parents=True, exist_ok=True)
    (home / "without" / "uvloop.py").write_text("raise ImportError\n")
    settings = {
        "store": store,
        "issuer_url": sandbox.issuer_url,
        "upstream_url": sandbox.upstream_url,
        "listen": "127.0.0.1:0",
        "admin_listen": "127.0.0.1:0",
        "keys_file": home / "keys.json",
        "require_key": "false",
        "refresh_burst": 100,
        "drain_seconds": 5,
        "log_format": "json",
        **given,
    }
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        "serve",
        cwd=ROOT,
        env=environment(home, settings) | {"PYTHONPATH": str(home / "without")},
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
    )
    served = ServeProcess(process, canary)
    try:
        started = await served.wait_for("service.started")
        served.admin_url = f"http://{started['admin']}"
        url = f"http://{started['relay'][0]}"
        async with Client(url, "none-is-needed", canary) as client:
            served.client = client
            yield served
    finally:
        if process.returncode is None:
            process.kill()
        await served.ended()


@asynccontextmanager
async def failing(served: ServeProcess, call: str, error: str) -> AsyncIterator[None]:
    """Let each *call* of the daemon fail with *error*."""
    async with injected(served.process.pid, f"{call}:error={error}"):
        yield
