"""The locks that Codex takes around its own writes to `auth.json`.

Codex 0.169 holds `auth.lock` and then `auth.json.lock` in the file's folder, both by
flock, while it reads the file again and replaces it; it holds neither while it talks to
the authority. So do we: held any longer, they would keep Codex from storing a token that
it has just been given. Observed with strace on Codex CLI 0.169.0.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from bearerd.clock import Clock
from bearerd.files.flock import flock

CODEX_FILE = "auth.json"
CODEX_LOCKS = ("auth.lock", "auth.json.lock")

TIMEOUT_SECONDS = 5.0
"""Codex holds them for some milliseconds."""


@asynccontextmanager
async def codex_locks(target: Path, clock: Clock) -> AsyncIterator[None]:
    """Hold Codex's locks, in Codex's order, if *target* is named as Codex's file is.

    Raises:
        TimeoutError: somebody does not let go.
        OSError: the folder takes no lock file.
    """
    async with AsyncExitStack() as held:
        if target.name == CODEX_FILE:
            for name in CODEX_LOCKS:
                path = target.with_name(name)
                await held.enter_async_context(flock(path, clock, TIMEOUT_SECONDS))
        yield
