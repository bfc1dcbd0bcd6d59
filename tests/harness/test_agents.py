"""The two kinds of agent, against the sandbox's upstream and authority."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from bearerd.harness.agents import CopyAgent, KeyAgent, open_session
from bearerd.harness.result import TurnResult
from bearerd.sandbox import AuthorityFault, Sandbox, UpstreamFault
from tests.support import Canary, read_login, tokens_of, write_login


@pytest.fixture
async def sandbox(canary: Canary) -> AsyncIterator[Sandbox]:
    """A sandbox that listens."""
    async with Sandbox() as running:
        canary.watches(running)
        yield running


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """The session of the agents."""
    async with open_session() as opened:
        yield opened


@pytest.fixture
def refreshed() -> list[str]:
    """Gets an entry for each refresh of a copy agent."""
    return []


@pytest.fixture
def copy(
    tmp_path: Path,
    sandbox: Sandbox,
    session: aiohttp.ClientSession,
    refreshed: list[str],
) -> CopyAgent:
    """An agent with a copy of a login of the sandbox."""
    write_login(tmp_path / "auth.json", sandbox.auth_document())
    return CopyAgent(
        session,
        tmp_path,
        base_url=sandbox.upstream_url,
        token_url=sandbox.token_url,
        on_refreshed=lambda: refreshed.append("refreshed"),
    )


async def test_a_copy_agent_refreshes_after_a_401_and_sends_again(
    copy: CopyAgent, sandbox: Sandbox, tmp_path: Path, refreshed: list[str]
) -> None:
    """The new tokens are stored."""
    before = tokens_of(read_login(tmp_path / "auth.json"))
    sandbox.revoke_access_tokens()
    assert await copy.send_turn() == TurnResult(200)
    after = tokens_of(read_login(tmp_path / "auth.json"))
    assert after["refresh_token"] != before["refresh_token"]
    assert refreshed == ["refreshed"]
    assert copy.signed_out is None


async def test_a_copy_agent_is_signed_out_when_its_refresh_is_refused(
    copy: CopyAgent, sandbox: Sandbox
) -> None:
    """It does not call the authority again."""
    sandbox.authority.fault(AuthorityFault("refuse"))
    sandbox.revoke_access_tokens()
    for _ in range(2):
        assert (await copy.send_turn()).status == 401
    assert copy.signed_out
    assert sandbox.authority.calls == 1


async def test_a_key_agent_is_signed_out_while_bearerd_reports_it(
    session: aiohttp.ClientSession, sandbox: Sandbox
) -> None:
    """A later success ends that."""
    token = str(sandbox.auth_document()["tokens"]["access_token"])  # type: ignore[index]
    agent = KeyAgent(session, base_url=sandbox.upstream_url, key=token)
    sandbox.upstream.extra_headers["x-bearerd-error"] = "login_required"
    sandbox.upstream.fault(UpstreamFault("answer", status=401), times=1)
    assert await agent.send_turn() == TurnResult(401, "login_required")
    assert agent.signed_out == "login_required"
    assert await agent.send_turn() == TurnResult(200)
    assert agent.signed_out is None


async def test_an_upstream_that_is_gone_is_a_result(
    session: aiohttp.ClientSession,
) -> None:
    """Status 0, with the kind of the error."""
    agent = KeyAgent(session, base_url="http://127.0.0.1:9", key="k")
    result = await agent.send_turn()
    assert result.status == 0
    assert result.code == "ClientConnectorError"
