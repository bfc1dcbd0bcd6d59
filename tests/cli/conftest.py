"""Commands in processes of their own, and a sandbox for them to talk to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from bearerd.sandbox import Sandbox
from tests.support import (
    Canary,
    Finished,
    Launch,
    ServeProcess,
    run_command,
    write_login,
)
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
        self.home.mkdir(exist_ok=True)
        given = {"store": self.store, "admin_listen": "none", **settings}
        finished = await run_command(self.home, *args, settings=given)
        self._canary.saw(f"the stderr of {args}", finished.stderr)
        return finished


@pytest.fixture
def shell(tmp_path: Path, canary: Canary) -> Shell:
    """A shell over a store that is not there yet."""
    return Shell(tmp_path, canary)


@pytest.fixture
async def sandbox(canary: Canary) -> AsyncIterator[Sandbox]:
    """A sandbox that listens."""
    async with Sandbox() as running:
        canary.watches(running)
        yield running


@pytest.fixture
def signed_in(shell: Shell, sandbox: Sandbox) -> Mapping[str, object]:
    """A login in the store; gives the settings that lead to its authority."""
    write_login(shell.store, sandbox.auth_document())
    return {"issuer_url": sandbox.issuer_url, "upstream_url": sandbox.upstream_url}


@pytest.fixture
async def launch(
    sandbox: Sandbox, canary: Canary, shell: Shell
) -> AsyncIterator[Launch]:
    """Start `bearerd serve` as a process over the shell's store."""
    async with AsyncExitStack() as stack:

        async def launched(
            *, store: Path | None = None, **settings: object
        ) -> ServeProcess:
            return await stack.enter_async_context(
                serving(store or shell.store, sandbox, canary, **settings)
            )

        yield launched
