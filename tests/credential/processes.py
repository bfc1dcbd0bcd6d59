"""Real processes that share a store with a test."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.credential.stand_ins import PATIENCE_SECONDS

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def process(
    code: str, *arguments: Path | str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run Python code in a process of its own, with pipes, and kill it at the end."""
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        *map(str, arguments),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield running
    finally:
        with suppress(ProcessLookupError):
            running.kill()
        await running.wait()


BECOME_USER = (
    "import os, encodings.idna; os.setgroups([]); os.setresgid({user}, {user}, {user}); "
    "os.setresuid({user}, {user}, {user})"
)


def as_user(user: int, code: str, *arguments: Path | str) -> str:
    """Run Python code as another user, and return what it prints.

    It becomes that user where *code* has the words BECOME_USER, else at once. What is
    imported before that may lie where the user has no access.
    """
    become = BECOME_USER.format(user=user)
    if "BECOME_USER" in code:
        code = code.replace("BECOME_USER", become)
    else:
        code = f"{become}\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def read_line(running: asyncio.subprocess.Process) -> str:
    """Return the next line of a process; fail if none comes."""
    assert running.stdout is not None
    line = await asyncio.wait_for(running.stdout.readline(), 2 * PATIENCE_SECONDS)
    return line.decode().rstrip("\n")


async def send_line(running: asyncio.subprocess.Process, line: str) -> None:
    """Send a line to a process."""
    assert running.stdin is not None
    running.stdin.write(f"{line}\n".encode())
    await running.stdin.drain()


HOLD_THE_LOCK = """
import asyncio, sys
from pathlib import Path
from bearerd.clock import Clock
from bearerd.credential.store.file_store import FileStore

async def main():
    async with FileStore(Path(sys.argv[1]), clock=Clock()).lock(10):
        print("held", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
    print("released", flush=True)

asyncio.run(main())
"""

ENTER_AND_LEAVE = """
import asyncio, os, sys
from pathlib import Path
from bearerd.clock import Clock
from bearerd.credential.store.file_store import FileStore

async def main():
    store = FileStore(Path(sys.argv[1]), clock=Clock())
    record = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    for _ in range(int(sys.argv[3])):
        async with store.lock(20):
            os.write(record, b"%d in\\n" % os.getpid())
            await asyncio.sleep(0.001)
            os.write(record, b"%d out\\n" % os.getpid())

asyncio.run(main())
"""

REFRESH_ONCE = """
import asyncio, sys
from dataclasses import replace
from pathlib import Path
from bearerd.clock import Clock
from bearerd.credential.store.file_store import FileStore

async def main():
    store = FileStore(Path(sys.argv[1]), clock=Clock())
    old = await store.load()
    async with store.lock(1):
        assert await store.load() == old, "the lock has changed the file"
        new = replace(old, refresh_token=sys.argv[2])
        print("won" if await store.replace(old, new) is None else "lost", flush=True)

asyncio.run(main())
"""
