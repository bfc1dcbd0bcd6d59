"""Processes of bearerd, as an operator runs them, and ways to wait without sleeping."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import aiohttp

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "bearerd")
PATIENCE_SECONDS = 25.0
POLL_SECONDS = 0.02


async def until(
    is_true: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS
) -> None:
    """Return once *is_true* returns True; fail after *seconds*."""
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        await asyncio.sleep(POLL_SECONDS)


async def passed(seconds: float) -> None:
    """Return after some seconds, in which something must not happen."""
    end = time.monotonic() + seconds
    await until(lambda: time.monotonic() > end, "time passes", seconds + 5)


async def reached(
    ask: Callable[[], Awaitable[Reply]],
    is_good: Callable[[Reply], bool],
    what: str,
    seconds: float = PATIENCE_SECONDS,
    pause: float = 0.1,
) -> Reply:
    """Ask again and again until a reply is good. Return that reply."""
    deadline = time.monotonic() + seconds
    while True:
        reply = await ask()
        if is_good(reply):
            return reply
        assert time.monotonic() < deadline, f"{what}: {seconds} s on, still {reply}"
        await asyncio.sleep(pause)


@dataclass(frozen=True, slots=True)
class Reply:
    """One whole response of the relay, and how long it took."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float

    @property
    def code(self) -> str | None:
        """The value of `x-bearerd-error`."""
        return self.headers.get("x-bearerd-error")

    @property
    def message(self) -> str:
        """The message of an error in OpenAI's shape, or nothing."""
        with suppress(ValueError, KeyError, TypeError):
            return str(json.loads(self.body)["error"]["message"])
        return ""

    def __repr__(self) -> str:
        """Show what matters in a failed assertion."""
        text = self.message or self.body[:120]
        return f"<{self.status} {self.code} {text!r} in {self.seconds:.2f} s>"


@dataclass(frozen=True, slots=True)
class Finished:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Launcher:
    """How processes are started: their home, their settings and what goes before."""

    home: Path
    settings: Mapping[str, object]
    prefix: Sequence[str] = ()
    environ: Mapping[str, str] | None = None

    def environment(self, given: Mapping[str, object]) -> dict[str, str]:
        """Return the whole environment of a process."""
        settings = {**self.settings, **given}
        kept = {name: os.environ[name] for name in ("PATH",) if name in os.environ}
        return (
            kept
            | {"HOME": str(self.home), "PYTHONDONTWRITEBYTECODE": "1"}
            | {f"BEARERD_{key.upper()}": str(item) for key, item in settings.items()}
            | dict(self.environ or {})
        )

    async def start(self, *args: str, **given: object) -> Process:
        """Start `bearerd ARGS`, in a process group of its own."""
        return await asyncio.create_subprocess_exec(
            *self.prefix,
            *COMMAND,
            *args,
            cwd=ROOT,
            env=self.environment(given),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            start_new_session=True,
        )

    async def run(
        self, *args: str, patience: float = PATIENCE_SECONDS, **given: object
    ) -> Finished:
        """Run `bearerd ARGS` to its end; kill it when that does not come."""
        began = time.monotonic()
        process = await self.start(*args, **given)
        try:
            async with asyncio.timeout(patience):
                out, err = await process.communicate()
        finally:
            await end(process)
        took = time.monotonic() - began
        return Finished(process.returncode or 0, out.decode(), err.decode(), took)


async def end(process: Process) -> None:
    """Kill a process and the processes that it started, if it still runs."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


class Daemon:
    """A running `bearerd serve` and its log."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []
        self.relay_url = ""
        self.admin_url = ""
        self._reader = asyncio.create_task(self._read_log())

    @classmethod
    async def start(cls, launcher: Launcher, **given: object) -> Self:
        """Start one and return once it listens."""
        daemon = cls(await launcher.start("serve", **given))
        try:
            await until(
                lambda: bool(daemon.logged("service.started")) or daemon.has_ended,
                "service.started",
            )
        except BaseException:
            await daemon.kill()
            raise
        assert daemon.logged("service.started"), daemon.lines
        started = daemon.logged("service.started")[0]
        daemon.relay_url = f"http://{started['relay'][0]}"
        daemon.admin_url = f"http://{started['admin']}"
        return daemon

    @property
    def has_ended(self) -> bool:
        """Return True if the process has ended."""
        return self.process.returncode is not None

    @property
    def pid(self) -> int:
        """The process id of bearerd itself, behind strace or setpriv too."""
        pid = self.process.pid
        while "bearerd" not in (line := _command_line(pid))[:4]:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            assert children, f"no bearerd below {line}"
            pid = int(children[0])
        return pid

    def logged(self, event: str, **fields: object) -> list[dict[str, Any]]:
        """Return the lines of the log with this event and these fields."""
        return [
            line
            for line in self.lines
            if line.get("event") == event
            and all(line.get(key) == item for key, item in fields.items())
        ]

    def log_text(self, level: str = "") -> str:
        """Return the log as text, all of it or one level."""
        chosen = [line for line in self.lines if not level or line["level"] == level]
        return "\n".join(json.dumps(line) for line in chosen)

    async def ask(
        self,
        path: str = "/backend-api/codex/models",
        *,
        patience: float = PATIENCE_SECONDS,
        body: bytes | None = None,
    ) -> Reply:
        """Send one request to the relay."""
        return await _request(self.relay_url + path, patience, body)

    async def admin(self, path: str, patience: float = 5.0) -> Reply:
        """Send one request to the admin listener."""
        return await _request(self.admin_url + path, patience, None)

    async def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples that have these labels."""
        text = (await self.admin("/metrics")).body.decode()
        total = 0.0
        for line in text.splitlines():
            if line.startswith(name) and line[len(name)] in "{ ":
                wanted = [f'{key}="{item}"' for key, item in labels.items()]
                if all(item in line for item in wanted):
                    total += float(line.rsplit(" ", 1)[1])
        return total

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to bearerd itself."""
        os.kill(self.pid, number)

    async def stop(self, patience: float = PATIENCE_SECONDS) -> int:
        """Ask it to end, as a supervisor does. Return its exit code."""
        if not self.has_ended:
            self.signal(signal.SIGTERM)
        return await self.ended(patience)

    async def ended(self, patience: float = PATIENCE_SECONDS) -> int:
        """Wait until it has ended by itself. Return its exit code."""
        async with asyncio.timeout(patience):
            await self.process.wait()
        await self._reader
        return self.process.returncode or 0

    async def kill(self) -> None:
        """End it at once, as a crash does."""
        await end(self.process)
        await self._reader

    async def _read_log(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            try:
                document = json.loads(line)
            except ValueError:
                document = {"event": "", "level": "text", "text": line.decode()}
            self.lines.append(document)


def _command_line(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")


async def _request(url: str, patience: float, body: bytes | None) -> Reply:
    began = time.monotonic()
    timeout = aiohttp.ClientTimeout(total=patience)
    method = "GET" if body is None else "POST"
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.request(method, url, data=body) as response,
    ):
        content = await response.read()
        took = time.monotonic() - began
        return Reply(response.status, response.headers, content, took)
