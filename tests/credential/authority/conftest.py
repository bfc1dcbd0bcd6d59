"""A sandbox at which one chosen account signs in, and the client for it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from bearerd.credential.authority.client import AuthorityClient
from bearerd.sandbox import CODEX_CLIENT_ID, Account, Sandbox

AGENT = "bearerd/test (made up)"
CHOSEN = "acct-chosen"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox that listens."""
    async with Sandbox() as running:
        running.authority.sign_in.account = Account(CHOSEN)
        yield running


@pytest.fixture
async def session(sandbox: Sandbox) -> AsyncIterator[aiohttp.ClientSession]:
    """A session as the builders make it; closed before the sandbox stops."""
    assert sandbox.issuer_url
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(force_close=True), headers={"User-Agent": AGENT}
    ) as made:
        yield made


@pytest.fixture
def client(sandbox: Sandbox, session: aiohttp.ClientSession) -> AuthorityClient:
    """The client for the sandbox."""
    return client_of(session, sandbox)


def client_of(session: aiohttp.ClientSession, sandbox: Sandbox) -> AuthorityClient:
    """Return a client for *sandbox*."""
    return AuthorityClient(
        session,
        issuer_url=sandbox.issuer_url,
        token_url=sandbox.token_url,
        client_id=CODEX_CLIENT_ID,
        timeout_seconds=5.0,
    )
