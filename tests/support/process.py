"""bearerd in a process of its own, started by its console command.

Its environment holds what the test gives it, and nothing of the machine's but the path.
It is ready when its log says so; nobody sleeps for that.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from bearerd.sandbox import Sandbox
from bearerd.sandbox.gate import Notifier
from tests.support.canary import Canary
from tests.support.client import Client
from tests.support.daemon import ADMIN_PAGES, client_key

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "bearerd")
PATIENCE_SECONDS = 20.0


class Launch(Protocol):
    """Starts a `bearerd serve` that ends with the test."""

    async def __call__(
        self, *, store: Path | None = None, **settings: object
    ) -> ServeProcess: ...


@dataclass(frozen=True, slots=True)
class Finished:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


def environment(home: Path, settings: Mapping[str, object]) -> dict[str, str]:
    """Return the environment of a process: a home of its own, and these settings."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in {"PATH", "AIOHTTP_NO_EXTENSIONS"} or name.startswith("COVERAGE_")
    }
    given = {f"BEARERD_{name.upper()}": str(value) for name, value in settings.items()}
    return kept | {"HOME": str(home)} | given


async def run_command(
    home: Path,
    *args: str,
    settings: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Finished:
    """Run `bearerd ARGS` to its end; kill it when that does not come."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *args,
        cwd=ROOT,
        env=environment(home, settings or {}) | dict(environ or {}),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            stdout, stderr = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Finished(process.returncode or 0, stdout.decode(), stderr.decode())


class ServeProcess:
    """A running `bearerd serve`. Owns the process, and the lines of its log."""

    def __init__(self, process: Process, canary: Canary) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []
        self.client: Client
        self.admin_url = ""
        self._canary = canary
        self._notifier = Notifier()
        self._readers = [
            asyncio.create_task(self._read_log()),
            asyncio.create_task(self._read_stdout()),
        ]

    async def wait_for(self, name: str, **fields: object) -> dict[str, Any]:
        """Return the first line of the log with this name and these fields."""

        def matching() -> list[dict[str, Any]]:
            return [
                line
                for line in self.lines
                if line.get("event") == name
                and all(line.get(key) == value for key, value in fields.items())
            ]

        await self._notifier.wait_for(
            lambda: bool(matching()) or self.process.returncode is not None,
            description=f"{name} in the log",
            timeout_seconds=PATIENCE_SECONDS,
        )
        found = matching()
        assert found, f"it ended with {self.process.returncode}: {self.lines[-1:]}"
        return found[0]

    def terminate(self) -> None:
        """Ask it to end, as a supervisor does."""
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, as a crash does."""
        self.process.send_signal(signal.SIGKILL)

    async def ended(self) -> int:
        """Return its exit code once it has ended."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            code = await self.process.wait()
            await asyncio.gather(*self._readers)
        return code

    async def admin(self, path: str) -> tuple[int, str]:
        """Return status and text of an admin page."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(self.admin_url + path) as response,
        ):
            text = await response.text()
        self._canary.saw(f"the admin page {path}", text)
        return response.status, text

    async def look_around(self) -> None:
        """Show the canary everything that can be asked for."""
        if self.process.returncode is None:
            for page in ADMIN_PAGES:
                await self.admin(page)

    async def _read_log(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            text = line.decode()
            self._canary.saw("the log of a process", text)
            try:
                self.lines.append(json.loads(text))
            except ValueError:
                self.lines.append({"event": "", "said": text})
            self._notifier.notify()
        self._notifier.notify()

    async def _read_stdout(self) -> None:
        assert self.process.stdout is not None
        said = await self.process.stdout.read()
        self._canary.saw("the stdout of a process", said.decode())


@asynccontextmanager
async def serving(
    store: Path, sandbox: Sandbox, canary: Canary, **given: object
) -> AsyncIterator[ServeProcess]:
    """Give a `bearerd serve` that listens over *store*, and end it afterwards.

    *given* are settings, `key` apart: a client key that is good there already.
    """
    keys_file = store.with_name("keys.json")
    key = str(given.pop("key", "")) or client_key(keys_file)
    canary.knows("a client key", key)
    settings = {
        "store": store,
        "issuer_url": sandbox.issuer_url,
        "upstream_url": sandbox.upstream_url,
        "listen": "127.0.0.1:0",
        "admin_listen": "127.0.0.1:0",
        "drain_seconds": 5,
        "log_format": "json",
        "log_level": "debug",
        **given,
    }
    home = store.parent / "home"
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        "serve",
        cwd=ROOT,
        env=environment(home, settings),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
    )
    served = ServeProcess(process, canary)
    try:
        started = await served.wait_for("service.started")
        served.admin_url = f"http://{started['admin']}"
        async with Client(f"http://{started['relay'][0]}", key, canary) as client:
            served.client = client
            yield served
            with suppress(aiohttp.ClientError):
                await served.look_around()
    finally:
        if process.returncode is None:
            process.kill()
        await served.ended()
