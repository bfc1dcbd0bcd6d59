"""The same work twice: by agents with copies of one login, then by agents behind bearerd.

The work is done in rounds. In each, every agent sends one request, all at the same time.
Before some rounds the upstream revokes all access tokens, which starts the race between
the copies.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal, TypeAlias

import aiohttp

from bearerd.clock import Clock
from bearerd.files import atomic
from bearerd.harness.agents import Agent, CopyAgent, KeyAgent, open_session
from bearerd.harness.daemon import start_daemon
from bearerd.harness.result import RunCounts, TurnResult
from bearerd.sandbox import AuthorityFault, Sandbox, StreamScript

REFRESH_SECONDS: Final = 0.2
"""A real authority takes about as long. All other agents want a refresh in that time."""

DELTA_SECONDS: Final = 0.03

Side: TypeAlias = Literal["without", "through"]
"""One of the two runs: without bearerd, or through it."""


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """The work of each run: so many agents, with so many requests each.

    `pause_seconds` is the pause after each round.
    """

    agents: int
    requests: int
    pause_seconds: float

    @property
    def revocations(self) -> tuple[int, ...]:
        """The rounds before which the access tokens are revoked: after each third."""
        return tuple(sorted({self.requests // 3, 2 * self.requests // 3}))


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The agents of one run are ready."""

    side: Side


@dataclass(frozen=True, slots=True)
class TokensRevoked:
    """The upstream rejects all access tokens that were issued so far."""

    side: Side


@dataclass(frozen=True, slots=True)
class TurnFinished:
    """One request of an agent has ended. Agents are numbered from 0."""

    side: Side
    agent: int
    result: TurnResult


@dataclass(frozen=True, slots=True)
class AgentRefreshed:
    """An agent has refreshed the login by itself."""

    side: Side
    agent: int


@dataclass(frozen=True, slots=True)
class AgentSignedOut:
    """No request of this agent can succeed any more; `reason` is the error code."""

    side: Side
    agent: int
    reason: str


DemoEvent: TypeAlias = (
    RunStarted | TokensRevoked | TurnFinished | AgentRefreshed | AgentSignedOut
)
Notify: TypeAlias = Callable[[DemoEvent], None]


@dataclass(frozen=True, slots=True)
class DemoResult:
    """The counts of both runs."""

    plan: DemoPlan
    without: RunCounts
    through: RunCounts

    @property
    def is_flawless(self) -> bool:
        """Return True if, through bearerd, every request succeeded and every revocation
        led to exactly one refresh.
        """
        requests = self.plan.agents * self.plan.requests
        refreshes = len(self.plan.revocations)
        return self.through.is_flawless(requests=requests, refreshes=refreshes)


async def run_demo(
    plan: DemoPlan,
    folder: Path,
    environ: Mapping[str, str],
    *,
    clock: Clock,
    notify: Notify,
) -> DemoResult:
    """Run both sides in *folder*, which is empty and private, and return the counts.

    Raises:
        StartError: the daemon did not start.
    """
    without = await _run_without(plan, folder / "without", clock, notify)
    through = await _run_through(plan, folder / "through", environ, clock, notify)
    return DemoResult(plan, without, through)


async def _run_without(
    plan: DemoPlan, folder: Path, clock: Clock, notify: Notify
) -> RunCounts:
    async with _sandbox() as sandbox, open_session() as session:
        document = json.dumps(sandbox.auth_document()).encode()
        agents = [
            _copy_agent(
                folder / f"agent-{number + 1}",
                document,
                session,
                sandbox,
                partial(notify, AgentRefreshed("without", number)),
            )
            for number in range(plan.agents)
        ]
        return await _run_rounds(
            "without", plan, agents, sandbox=sandbox, clock=clock, notify=notify
        )


async def _run_through(
    plan: DemoPlan,
    folder: Path,
    environ: Mapping[str, str],
    clock: Clock,
    notify: Notify,
) -> RunCounts:
    store, key = folder / "auth.json", secrets.token_urlsafe(32)
    async with _sandbox() as sandbox, open_session() as session:
        atomic.replace(store, json.dumps(sandbox.auth_document()).encode())
        settings = {
            "client_key": key,
            "upstream_url": sandbox.upstream_url,
            "issuer_url": sandbox.issuer_url,
        }
        async with start_daemon(store, settings, environ) as daemon:
            base_url = await daemon.base_url()
            agents = [
                KeyAgent(session, base_url=base_url, key=key)
                for _ in range(plan.agents)
            ]
            return await _run_rounds(
                "through", plan, agents, sandbox=sandbox, clock=clock, notify=notify
            )


async def _run_rounds(
    side: Side,
    plan: DemoPlan,
    agents: Sequence[Agent],
    *,
    sandbox: Sandbox,
    clock: Clock,
    notify: Notify,
) -> RunCounts:
    """Run all rounds of one side, and count at the agents and at the authority."""
    results: list[TurnResult] = []

    async def send_turn(number: int, agent: Agent) -> None:
        was_signed_out = agent.signed_out
        result = await agent.send_turn()
        results.append(result)
        notify(TurnFinished(side, number, result))
        if agent.signed_out is not None and was_signed_out is None:
            notify(AgentSignedOut(side, number, agent.signed_out))

    notify(RunStarted(side))
    for turn in range(plan.requests):
        if turn in plan.revocations and sandbox.revoke_access_tokens():
            notify(TokensRevoked(side))
        await asyncio.gather(*(send_turn(*one) for one in enumerate(agents)))
        await clock.sleep(plan.pause_seconds)
    answered = sum(result.is_success for result in results)
    return RunCounts(
        answered=answered,
        failed=len(results) - answered,
        refreshes=sandbox.authority.refreshes,
        reused=sandbox.authority.reused,
        sign_ins=sum(agent.signed_out is not None for agent in agents),
    )


def _copy_agent(
    folder: Path,
    document: bytes,
    session: aiohttp.ClientSession,
    sandbox: Sandbox,
    on_refreshed: Callable[[], None],
) -> CopyAgent:
    atomic.replace(folder / "auth.json", document)
    return CopyAgent(
        session,
        folder,
        base_url=sandbox.upstream_url,
        token_url=sandbox.token_url,
        on_refreshed=on_refreshed,
    )


def _sandbox() -> Sandbox:
    sandbox = Sandbox()
    sandbox.authority.fault(AuthorityFault("delay", delay_seconds=REFRESH_SECONDS))
    sandbox.upstream.streams.script = StreamScript(interval_seconds=DELTA_SECONDS)
    return sandbox
