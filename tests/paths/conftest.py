"""A sandbox, and daemons in front of it: in this process, or in processes of their own.

The processes run on uvloop, as `bearerd serve` does; this process runs on asyncio's own
loop.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from bearerd.clock import Clock
from bearerd.sandbox import Sandbox
from tests.support import Canary, Daemon, ManualClock, ServeProcess
from tests.support.daemon import A_LOGIN, Start, running_daemon
from tests.support.process import Launch, serving

LOOPS = 2
"""The background loops of each profile: `bearerd.credential.background`."""


@pytest.fixture
def clock() -> ManualClock:
    """A clock that the test moves; `timed_sandbox` uses it."""
    return ManualClock()


@pytest.fixture
async def sandbox(canary: Canary) -> AsyncIterator[Sandbox]:
    """A sandbox that listens, on real time."""
    async with Sandbox() as running:
        canary.watches(running)
        yield running


@pytest.fixture
async def timed_sandbox(canary: Canary, clock: ManualClock) -> AsyncIterator[Sandbox]:
    """A sandbox whose tokens live on the test's clock."""
    async with Sandbox(now=clock.now) as running:
        canary.watches(running)
        yield running


async def _start(
    stack: AsyncExitStack, sandbox: Sandbox, canary: Canary, tmp_path: Path
) -> Start:
    async def start(
        *,
        login: Mapping[str, object] | None = A_LOGIN,
        clock: Clock | None = None,
        folder: Path | None = None,
        **settings: object,
    ) -> Daemon:
        document = sandbox.auth_document() if login is A_LOGIN else login
        return await stack.enter_async_context(
            running_daemon(
                folder or tmp_path,
                sandbox,
                canary,
                login=document,
                clock=clock,
                **settings,
            )
        )

    return start


@pytest.fixture
async def start(
    sandbox: Sandbox, canary: Canary, tmp_path: Path
) -> AsyncIterator[Start]:
    """Start a daemon in this process, with a new login unless another is given."""
    async with AsyncExitStack() as stack:
        yield await _start(stack, sandbox, canary, tmp_path)


@pytest.fixture
async def timed_start(
    timed_sandbox: Sandbox, canary: Canary, tmp_path: Path, clock: ManualClock
) -> AsyncIterator[Start]:
    """Start a daemon in this process that runs on the test's clock.

    Its background loops have run once when it is returned, and sleep.
    """
    async with AsyncExitStack() as stack:
        start = await _start(stack, timed_sandbox, canary, tmp_path)
        manual = clock

        async def timed(
            *,
            login: Mapping[str, object] | None = A_LOGIN,
            clock: Clock | None = None,
            folder: Path | None = None,
            **settings: object,
        ) -> Daemon:
            before = manual.sleepers
            daemon = await start(
                login=login, clock=clock or manual.clock, folder=folder, **settings
            )
            loops = LOOPS * len(daemon.settings.profiles)
            await manual.wait_for_sleepers(before + loops)
            return daemon

        yield timed


@pytest.fixture
async def launch(
    sandbox: Sandbox, canary: Canary, tmp_path: Path
) -> AsyncIterator[Launch]:
    """Start `bearerd serve` as a process with `auth.json` in the test's folder."""
    async with AsyncExitStack() as stack:

        async def launched(
            *, store: Path | None = None, **settings: object
        ) -> ServeProcess:
            store = store or tmp_path / "auth.json"
            return await stack.enter_async_context(
                serving(store, sandbox, canary, **settings)
            )

        yield launched
