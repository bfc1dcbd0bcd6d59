"""A real agent: a program of somebody else, in a process and a home of its own.

It is given a path, a home and what the test adds, and no way out: every proxy variable
leads to the snare, and only loopback is exempt.
"""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.clients.snare import Snare
from tests.support import Canary, Finished

PATIENCE_SECONDS = 60.0
"""A turn takes one or two; a busy machine may need many more."""


class Agent:
    """Runs programs with the home *home*. Owns no process: each ends before `run` does."""

    def __init__(self, home: Path, snare: Snare, canary: Canary) -> None:
        self.home = home
        self._snare = snare
        self._canary = canary

    async def run(self, *command: str | Path, **environ: str) -> Finished:
        """Run *command* to its end; kill it with its children when that does not come.

        What it says is shown to the canary.
        """
        folder = self.home / "work"
        folder.mkdir(parents=True, exist_ok=True)
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=folder,
            env=self._environment(environ),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            start_new_session=True,  # `codex` is a script that starts the program
        )
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                stdout, stderr = await process.communicate()
        except TimeoutError:
            os.killpg(process.pid, signal.SIGKILL)
            stdout, stderr = await process.communicate()
            said = stderr.decode(errors="replace")[-2000:]
            pytest.fail(
                f"{command[0]} was not done after {PATIENCE_SECONDS} s:\n{said}"
            )
        finished = Finished(
            process.returncode or 0,
            stdout.decode(errors="replace"),
            stderr.decode(errors="replace"),
        )
        self._canary.saw("an agent", finished.stdout + finished.stderr)
        return finished

    def _environment(self, given: Mapping[str, str]) -> dict[str, str]:
        exempt = "127.0.0.1,localhost"
        proxies = dict.fromkeys(
            ("http_proxy", "https_proxy", "all_proxy"), self._snare.url
        ) | {"no_proxy": exempt}
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            **proxies,
            **{name.upper(): value for name, value in proxies.items()},
            **given,
        }
