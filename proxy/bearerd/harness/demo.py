"""The same work twice: agents with copies of one login, then agents behind bearerd.

In rounds: in each, every agent sends one request, all at once. Before some rounds the
upstream stops taking the access tokens given so far, which is what starts the race.
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
from bearerd.harness.agents import Agent, CopyHolder, KeyHolder, open_session
from bearerd.harness.daemon import start_daemon
from bearerd.harness.result import Tally, TurnResult, revoked_rounds
from bearerd.sandbox import AuthorityFault, Sandbox, StreamScript

AUTHORITY_SECONDS: Final = 0.2
"""A real authority takes about as long; meanwhile everybody else wants a refresh too."""

DELTA_SECONDS: Final = 0.03

Side: TypeAlias = Literal["without", "through"]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is done on each side, and how long it rests between two rounds."""

    agents: int
    requests: int
    rest_seconds: float

    @property
    def revocations(self) -> tuple[int, ...]:
        """Return the rounds before which the access tokens are revoked."""
        return revoked_rounds(self.requests)


@dataclass(frozen=True, slots=True)
class SideBegan:
    """The agents of one side are ready."""

    side: Side


@dataclass(frozen=True, slots=True)
class TokensRevoked:
    """The upstream takes none of the access tokens that were given so far."""

    side: Side


@dataclass(frozen=True, slots=True)
class TurnFinished:
    """One request is over. Agents are counted from 0."""

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
    """An agent can go on no more; `reason` is what it was told."""

    side: Side
    agent: int
    reason: str


Scene: TypeAlias = (
    SideBegan | TokensRevoked | TurnFinished | AgentRefreshed | AgentSignedOut
)
Notify: TypeAlias = Callable[[Scene], None]


@dataclass(frozen=True, slots=True)
class DemoResult:
    """Both sides, and what the second was to be."""

    plan: Plan
    without: Tally
    through: Tally

    @property
    def is_flawless(self) -> bool:
        """True when bearerd answered all, with one refresh for each revocation."""
        requests = self.plan.agents * self.plan.requests
        refreshes = len(self.plan.revocations)
        return self.through.is_flawless(requests=requests, refreshes=refreshes)


async def run_demo(
    plan: Plan,
    folder: Path,
    environ: Mapping[str, str],
    *,
    clock: Clock,
    notify: Notify,
) -> DemoResult:
    """Run both sides in *folder*, which is empty and private, and return the numbers.

    Raises:
        StartError: the daemon did not start.
    """
    without = await _without(plan, folder / "without", clock, notify)
    through = await _through(plan, folder / "through", environ, clock, notify)
    return DemoResult(plan, without, through)


async def _without(plan: Plan, folder: Path, clock: Clock, notify: Notify) -> Tally:
    async with _sandbox() as sandbox, open_session() as session:
        document = json.dumps(sandbox.auth_document()).encode()
        agents = [
            _copy_holder(
                folder / f"agent-{number + 1}",
                document,
                session,
                sandbox,
                partial(notify, AgentRefreshed("without", number)),
            )
            for number in range(plan.agents)
        ]
        return await _run(
            "without", plan, agents, sandbox=sandbox, clock=clock, notify=notify
        )


async def _through(
    plan: Plan, folder: Path, environ: Mapping[str, str], clock: Clock, notify: Notify
) -> Tally:
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
                KeyHolder(session, base_url=base_url, key=key)
                for _ in range(plan.agents)
            ]
            return await _run(
                "through", plan, agents, sandbox=sandbox, clock=clock, notify=notify
            )


async def _run(
    side: Side,
    plan: Plan,
    agents: Sequence[Agent],
    *,
    sandbox: Sandbox,
    clock: Clock,
    notify: Notify,
) -> Tally:
    """Send all rounds; count at the agents and at the authority."""
    answers: list[TurnResult] = []

    async def ask(number: int, agent: Agent) -> None:
        was_signed_out = agent.signed_out
        result = await agent.ask()
        answers.append(result)
        notify(TurnFinished(side, number, result))
        if agent.signed_out is not None and was_signed_out is None:
            notify(AgentSignedOut(side, number, agent.signed_out))

    notify(SideBegan(side))
    for turn in range(plan.requests):
        if turn in plan.revocations and sandbox.revoke_access_tokens():
            notify(TokensRevoked(side))
        await asyncio.gather(*(ask(*one) for one in enumerate(agents)))
        await clock.sleep(plan.rest_seconds)
    answered = sum(result.is_good for result in answers)
    return Tally(
        answered=answered,
        failed=len(answers) - answered,
        refreshes=sandbox.authority.refreshes,
        reused=sandbox.authority.reused,
        sign_ins=sum(agent.signed_out is not None for agent in agents),
    )


def _copy_holder(
    folder: Path,
    document: bytes,
    session: aiohttp.ClientSession,
    sandbox: Sandbox,
    refreshed: Callable[[], None],
) -> CopyHolder:
    atomic.replace(folder / "auth.json", document)
    return CopyHolder(
        session,
        folder,
        base_url=sandbox.upstream_url,
        token_url=sandbox.token_url,
        refreshed=refreshed,
    )


def _sandbox() -> Sandbox:
    sandbox = Sandbox()
    sandbox.authority.fault(AuthorityFault("delay", delay_seconds=AUTHORITY_SECONDS))
    sandbox.upstream.streams.script = StreamScript(interval_seconds=DELTA_SECONDS)
    return sandbox
