"""Commands over one store, a sandbox for them to talk to, and daemons beside them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from bearerd.clock import Clock
from bearerd.sandbox import Sandbox
from tests.support import (
    Canary,
    Daemon,
    Finished,
    Launch,
    ServeProcess,
    Start,
    run_in_process,
    write_login,
)
from tests.support.daemon import A_LOGIN, running_daemon
from tests.support.process import serving


class Shell:
    """Runs commands over one store, as one user."""

    def __init__(self, folder: Path, canary: Canary) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.store = folder / "auth.json"
        self._canary = canary

    async def run(self, *args: str, **settings: object) -> Finished:
        """Run `bearerd ARGS` to its end, with these settings in its environment."""
        given = {"store": self.store, "admin_listen": "none", **settings}
        finished = await run_in_process(self.home, *args, settings=given)
        self._canary.saw(f"the stderr of {args}", finished.stderr)
        return finished


@pytest.fixture
def shell(tmp_path: Path, canary: Canary) -> Shell:
    """A shell over a store that does not exist yet."""
    return Shell(tmp_path, canary)


@pytest.fixture
async def sandbox(canary: Canary) -> AsyncIterator[Sandbox]:
    """A sandbox that listens."""
    async with Sandbox() as running:
        canary.watches(running)
        yield running


@pytest.fixture
def signed_in(shell: Shell, sandbox: Sandbox) -> Mapping[str, object]:
    """The settings that lead to the sandbox, with a login of it in the shell's store."""
    write_login(shell.store, sandbox.auth_document())
    return {"issuer_url": sandbox.issuer_url, "upstream_url": sandbox.upstream_url}


@pytest.fixture
async def start(sandbox: Sandbox, canary: Canary, shell: Shell) -> AsyncIterator[Start]:
    """Start a daemon in this process over the shell's store, as it is by default."""
    async with AsyncExitStack() as stack:

        async def started(
            *,
            login: Mapping[str, object] | None = None,
            clock: Clock | None = None,
            folder: Path | None = None,
            **settings: object,
        ) -> Daemon:
            document = sandbox.auth_document() if login is A_LOGIN else login
            return await stack.enter_async_context(
                running_daemon(
                    folder or shell.folder,
                    sandbox,
                    canary,
                    login=document,
                    clock=clock,
                    **settings,
                )
            )

        yield started


@pytest.fixture
async def launch(
    sandbox: Sandbox, canary: Canary, shell: Shell
) -> AsyncIterator[Launch]:
    """Start `bearerd serve` as a process of its own over the shell's store."""
    async with AsyncExitStack() as stack:

        async def launched(
            *, store: Path | None = None, **settings: object
        ) -> ServeProcess:
            return await stack.enter_async_context(
                serving(store or shell.store, sandbox, canary, **settings)
            )

        yield launched
