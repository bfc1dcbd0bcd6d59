"""oidc-provider, a program of other authors, as the authority: installed and started."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sysconfig
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.clients.installation import CACHE, _digest, _once, _run

HERE = Path(__file__).parent / "node"
LOCKED = [HERE / name for name in ("package.json", "package-lock.json")]
PATIENCE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class ForeignAuthority:
    """One that runs. *client_id* is the only client it knows."""

    url: str
    client_id: str

    async def login(self) -> dict[str, Any]:
        """Return account and refresh token of a new family."""
        return await self._get("/login")

    async def report(self) -> dict[str, Any]:
        """Return what has happened so far, in numbers."""
        return await self._get("/report")

    async def _get(self, path: str) -> dict[str, Any]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(self.url + path) as response,
        ):
            found = await response.json()
        assert isinstance(found, dict)
        return found


def install() -> Path:
    """Return a folder that has the locked package, and the program beside it."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.fail(f"{program} is missing: apt-get install npm", pytrace=False)
    folder = CACHE / "oidc"

    def fill() -> None:
        for file in [*LOCKED, HERE / ".npmrc"]:
            shutil.copy(file, folder)
        _run("npm", "ci", "--loglevel=error", cwd=folder)

    _once(folder, f"{_digest(*LOCKED)} {sysconfig.get_platform()}", fill)
    shutil.copy(HERE / "authority.mjs", folder)
    return folder


@asynccontextmanager
async def foreign_authority(
    *, faults: float, seed: int
) -> AsyncIterator[ForeignAuthority]:
    """Give the authority; so large a share of the calls goes wrong."""
    folder = await asyncio.to_thread(install)
    process = await asyncio.create_subprocess_exec(
        "node",
        "authority.mjs",
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "FAULTS": str(faults),
            "SEED": str(seed),
        },
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
    )
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            started = await start_line(process)
        yield ForeignAuthority(**started)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def start_line(process: Process) -> dict[str, Any]:
    """Return what it prints at its start."""
    assert process.stdout is not None
    line = await process.stdout.readline()
    assert line, "it did not start; run `node authority.mjs` there to see why"
    found = json.loads(line)
    assert isinstance(found, dict)
    return found
