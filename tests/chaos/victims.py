"""Starts victims, and strace on their system calls.

Victims are forked from a server that has imported everything, so that a hundred of them
cost no more than their work. Only processes that are started here are ended here.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import shutil
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any

import pytest

from tests.chaos.victim import ARM, ARMED, GO, PAUSED, Ready, Spec, live

PATIENCE_SECONDS = 30.0
SELF_END_SECONDS = 0.5


class Victim:
    """A bearerd that is going to die. Owns its process and the line to it."""

    def __init__(self, process: ForkServerProcess, line: Any) -> None:
        self._process = process
        self._line = line
        self.ready: Ready

    async def listening(self) -> Ready:
        """Return where it listens, once it does."""
        self.ready = await self._received()
        return self.ready

    async def arm(self) -> None:
        """Let it die, or pause, at its point from now on."""
        self._line.send(ARM)
        assert await self._received() == ARMED

    async def paused(self) -> None:
        """Return once it has paused at its point."""
        assert await self._received() == PAUSED

    def go_on(self) -> None:
        """End the pause."""
        self._line.send(GO)

    def kill(self) -> None:
        """End it from outside."""
        self._process.kill()

    async def died(self) -> int | None:
        """Return how it ended, once it has; None if it does not."""
        # In the loop's own thread: two that ask for one exit code get half of it each.
        if self._process.exitcode is None:
            await readable(self._process.sentinel)
        return self._process.exitcode

    async def end(self) -> None:
        """Make sure that nothing is left of it."""
        self._process.kill()
        await self.died()
        self._process.close()
        self._line.close()

    async def _received(self) -> Any:
        await readable(self._line.fileno())
        return self._line.recv()


async def readable(descriptor: int) -> None:
    """Return once there is something to read, or the other end is gone."""
    loop, there = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, there.set)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await there.wait()
    finally:
        loop.remove_reader(descriptor)


def nursery() -> ForkServerContext:
    """Return what victims are forked from."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.chaos.victim"])
    return context


@asynccontextmanager
async def victim(context: ForkServerContext, spec: Spec) -> AsyncIterator[Victim]:
    """Give a victim that listens; whatever happens, it is gone afterwards."""
    ours, theirs = context.Pipe()
    process = context.Process(target=live, args=(spec, theirs))
    process.start()
    theirs.close()
    doomed = Victim(process, ours)
    try:
        await doomed.listening()
        yield doomed
    finally:
        await doomed.end()


def needs_strace() -> None:
    """Fail, in one line, where there is no strace."""
    if shutil.which("strace") is None:
        pytest.fail("strace is missing: apt-get install strace", pytrace=False)


@asynccontextmanager
async def injected(pid: int, *injections: str) -> AsyncIterator[None]:
    """Let system calls of a process go wrong as strace's *injections* say.

    An injection is what follows `-e inject=`, such as `fsync:error=EIO:when=3`. Threads
    that are there and new ones are traced; `when` counts the calls of each by itself.
    """
    needs_strace()
    names = ",".join(dict.fromkeys(one.split(":")[0] for one in injections))
    flags = [flag for one in injections for flag in ("-e", f"inject={one}")]
    command = ["strace", "-f", "-o", "/dev/null", "-e", f"trace={names}", *flags]
    process = await asyncio.create_subprocess_exec(
        *command, "-p", str(pid), stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            line = await process.stderr.readline()
        assert b"attached" in line, line.decode()
        yield
    finally:
        await detach(process)


async def detach(process: asyncio.subprocess.Process) -> None:
    """End a strace; one whose process has died ends by itself, and is not disturbed."""
    assert process.stderr is not None
    try:
        await asyncio.wait_for(process.wait(), SELF_END_SECONDS)
    except TimeoutError:
        process.terminate()  # it lets its process go on
    await process.stderr.read()
    await process.wait()
