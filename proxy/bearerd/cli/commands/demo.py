"""`bearerd demo`: what happens to agents that share a login, without and with us."""

from __future__ import annotations

import dataclasses
import json as json_text
import os
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from bearerd.cli.program import complain
from bearerd.errors import ExitCode

if TYPE_CHECKING:
    from bearerd.harness.demo import DemoResult, Plan

REST_SECONDS: Final = 0.25
"""Between two rounds, so that a person can follow."""

NEXT: Final = (
    "Next, with your own account: `bearerd login`, then `bearerd serve`; it says which "
    "base URL and key to give to your agents."
)


def register(program: typer.Typer) -> None:
    """Add the command to *program*."""
    epilog = "Example: bearerd demo --agents 20 --requests 9"
    program.command("demo", epilog=epilog)(demo)


def demo(
    *,
    agents: Annotated[
        int, typer.Option(min=2, max=100, help="How many agents share one login.")
    ] = 8,
    requests: Annotated[
        int, typer.Option(min=1, max=30, help="How many requests each of them sends.")
    ] = 6,
    json: Annotated[
        bool, typer.Option("--json", help="Print the numbers as JSON.")
    ] = False,
) -> int:
    """Show agents that share one login: first as today, then through bearerd.

    It needs no account and no network: the authority and the upstream are stand-ins on
    this machine, and all tokens are made up. Twice while the agents work, the upstream
    revokes every access token. Exit code 0 means that bearerd answered every request
    with one refresh for each revocation.
    """
    from rich.console import Console

    from bearerd.cli.demo_view import table
    from bearerd.harness.demo import Plan

    result = _play(Plan(agents, requests, REST_SECONDS))
    if json:
        typer.echo(json_text.dumps(_document(result), indent=2))
    else:
        Console().print(table(result))
        typer.echo(f"\n{NEXT}", err=True)
    if not result.is_flawless:
        expected = len(result.plan.revocations)
        complain(f"this was to be all answered, with {expected} refreshes and 0 reused")
    return ExitCode.OK if result.is_flawless else ExitCode.FAILED


def _play(plan: Plan) -> DemoResult:
    from rich.console import Console
    from rich.live import Live

    from bearerd.cli.demo_view import Board, plain
    from bearerd.cli.one_shot import run_async
    from bearerd.clock import Clock
    from bearerd.harness.demo import run_demo

    console = Console(stderr=True)
    live = Live(console=console)
    notify = Board(plan, live) if console.is_terminal else plain(console)
    with (
        tempfile.TemporaryDirectory(prefix="bearerd-demo-") as folder,
        live if console.is_terminal else nullcontext(),
    ):
        return run_async(
            run_demo(plan, Path(folder), os.environ, clock=Clock(), notify=notify)
        )


def _document(result: DemoResult) -> dict[str, object]:
    return {
        "agents": result.plan.agents,
        "requests": result.plan.requests,
        "without": dataclasses.asdict(result.without),
        "through": dataclasses.asdict(result.through),
        "expected_refreshes": len(result.plan.revocations),
        "ok": result.is_flawless,
    }
