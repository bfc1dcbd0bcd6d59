"""Real agents before a real bearerd before a sandbox.

The sandbox runs in the process of the tests, which read its records; bearerd and the
agents are processes of their own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from bearerd.sandbox import Sandbox
from tests.clients.agent import Agent
from tests.clients.codex import Codex
from tests.clients.installation import install_codex, install_sdk
from tests.clients.scene import Open, Scene
from tests.clients.sdk import OpenAI
from tests.clients.snare import Snare
from tests.support import Canary, write_login
from tests.support.process import serving


@pytest.fixture(scope="session")
def codex_command() -> Path:
    """The command of the locked Codex CLI."""
    return install_codex()


@pytest.fixture(scope="session")
def sdk_python() -> Path:
    """A Python with the locked OpenAI SDK."""
    return install_sdk()


@pytest.fixture
async def sandbox(canary: Canary) -> AsyncIterator[Sandbox]:
    """A sandbox that listens."""
    async with Sandbox() as running:
        canary.watches(running)
        yield running


@pytest.fixture
async def snare() -> AsyncIterator[Snare]:
    """Where every call ends that an agent makes past bearerd."""
    async with Snare() as waiting:
        yield waiting


@pytest.fixture
async def open_scene(
    sandbox: Sandbox, snare: Snare, canary: Canary, tmp_path: Path
) -> AsyncIterator[Open]:
    """Start `bearerd serve` over a login in a file."""
    async with AsyncExitStack() as stack:

        async def opened(*, login: Mapping[str, object] | None = None) -> Scene:
            store = tmp_path / "bearerd" / "auth.json"
            write_login(store, login or sandbox.auth_document())
            served = await stack.enter_async_context(serving(store, sandbox, canary))
            return Scene(sandbox, served, snare, store)

        yield opened


@pytest.fixture
async def scene(open_scene: Open) -> Scene:
    """A scene with a new login."""
    return await open_scene()


@pytest.fixture
def codex(codex_command: Path, tmp_path: Path, snare: Snare, canary: Canary) -> Codex:
    """Codex in a home of its own."""
    return Codex(codex_command, Agent(tmp_path / "codex", snare, canary))


@pytest.fixture
def openai(sdk_python: Path, tmp_path: Path, snare: Snare, canary: Canary) -> OpenAI:
    """The OpenAI SDK in a process of its own."""
    return OpenAI(sdk_python, Agent(tmp_path / "sdk", snare, canary))
