"""Faults of the operating system, by strace and by the file system."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.login.processes import end, until

READS = "open,openat,openat2,stat,lstat,fstat,newfstatat,statx,access,faccessat,read"
STATS = "stat,lstat,newfstatat,statx,access,faccessat,faccessat2"
NOBODY = 65534

needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

AS_NOBODY = (
    "setpriv",
    f"--reuid={NOBODY}",
    f"--regid={NOBODY}",
    "--clear-groups",
    "--",
)
"""What goes before a command that runs as another user."""


@asynccontextmanager
async def injected(
    pid: int, calls: str, fault: str, *paths: Path
) -> AsyncIterator[None]:
    """Let system calls of a process fail, on some paths or on all, and mend it afterwards.

    *fault* is strace's form, such as `error=ESTALE` or `delay_enter=5000000`.
    """
    known = await _known(calls)
    chosen = [part for path in paths for part in ("-P", str(path))]
    command = ["strace", "-f", "-q", "-o", "/dev/null", "-e", f"trace={known}"]
    process = await asyncio.create_subprocess_exec(
        *command,
        *("-e", f"inject={known}:{fault}"),
        *chosen,
        *("-p", str(pid)),
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=PIPE,
    )
    try:
        await until(lambda: _is_traced(pid), "strace attached")
        yield
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        try:
            async with asyncio.timeout(5):
                await process.wait()
        except TimeoutError:
            await end(process)


def _is_traced(pid: int) -> bool:
    tasks = list(Path(f"/proc/{pid}/task").iterdir())
    return all("TracerPid:\t0\n" not in (t / "status").read_text() for t in tasks)


async def _known(calls: str) -> str:
    """Return those of the calls that exist on this machine; `?` lets strace skip others."""
    return ",".join(f"?{call}" for call in calls.split(","))
