"""WebSocket ends in two independent stacks. Each is a program with one command per
line.

The stacks share no code, so what both agree on is no shared mistake.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import sysconfig
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.clients import installation

HERE = Path(__file__).parent
NODE_FILES = [HERE / "node" / name for name in ("package.json", "package-lock.json")]
PATIENCE_SECONDS = 30.0
"""16 MiB are compressed, forwarded and decompressed on two shared cores."""

LINE_LIMIT_BYTES = 1 << 20


class Stack:
    """One end. Owns its process; its events are read in order."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def do(self, command: str, **fields: object) -> None:
        """Send a command."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": command, **fields}).encode())
        self._process.stdin.write(b"\n")
        await self._process.stdin.drain()

    async def told(self, event: str) -> dict[str, Any]:
        """Return the next event, which must be *event*."""
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            line = await self._process.stdout.readline()
        assert line, f"it ended before it told of {event}"
        told: dict[str, Any] = json.loads(line)
        assert told.pop("event") == event, told
        return told


@asynccontextmanager
async def started(name: str) -> AsyncIterator[Stack]:
    """Start an end of the stack called *name*; its stderr is ours."""
    process = await asyncio.create_subprocess_exec(
        *command(name), stdin=PIPE, stdout=PIPE, limit=LINE_LIMIT_BYTES
    )
    try:
        yield Stack(process)
    finally:
        process.kill()
        await process.communicate()


def command(name: str) -> tuple[str, ...]:
    """Return the command line that starts a stack."""
    if name == "websockets":
        return (sys.executable, str(HERE / "websockets_peer.py"))
    return ("node", str(install_ws() / "peer.mjs"))


def install_ws() -> Path:
    """Return a folder with the locked `ws`, and the program that uses it."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.fail(f"{program} is not on the path", pytrace=False)
    folder = installation.CACHE / "ws"

    def install() -> None:
        for file in [*NODE_FILES, HERE / "node" / ".npmrc"]:
            shutil.copy(file, folder)
        installation._run("npm", "ci", "--loglevel=error", cwd=folder)

    digest = installation._digest(*NODE_FILES)
    installation._once(folder, f"{digest} {sysconfig.get_platform()}", install)
    shutil.copy(HERE / "node" / "peer.mjs", folder)
    return folder
