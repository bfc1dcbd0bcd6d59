"""`bearerd demo`: agents that share a login, without bearerd and through it."""

from __future__ import annotations

import dataclasses
import json as json_text
import os
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from bearerd.cli.program import print_stderr
from bearerd.errors import ExitCode

if TYPE_CHECKING:
    from bearerd.harness.demo import DemoPlan, DemoResult

PAUSE_SECONDS: Final = 0.25
"""The pause between two rounds: long enough for a reader to follow."""

NEXT_STEPS: Final = (
    "Next, with your own account: `bearerd login`, then `bearerd serve`, which prints the "
    "base URL and the key for your agents."
)


def register(program: typer.Typer) -> None:
    """Add the command to *program*."""
    epilog = "Example: bearerd demo --agents 20 --requests 9"
    program.command("demo", epilog=epilog)(demo)


def demo(
    *,
    agents: Annotated[
        int, typer.Option(metavar="N", min=2, max=100, help="The number of agents.")
    ] = 8,
    requests: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, max=30, help="The number of requests of each agent."
        ),
    ] = 6,
    json: Annotated[
        bool, typer.Option("--json", help="Print the counts as JSON.")
    ] = False,
) -> int:
    """Show agents that share one login: first without bearerd, then through it.

    The demo needs no account and no network. Authority and upstream are stand-ins on this
    machine, and all tokens are made up. While the agents work, the upstream revokes every
    access token twice. The exit code is 0 if bearerd answered every request with one
    refresh for each revocation.
    """
    from rich.console import Console

    from bearerd.cli.demo_view import result_table
    from bearerd.harness.demo import DemoPlan

    result = _run(DemoPlan(agents, requests, PAUSE_SECONDS))
    if json:
        typer.echo(json_text.dumps(_document(result), indent=2))
    else:
        Console().print(result_table(result))
        typer.echo(f"\n{NEXT_STEPS}", err=True)
    if not result.is_flawless:
        refreshes = len(result.plan.revocations)
        print_stderr(
            f"through bearerd, every request should be answered, with {refreshes} "
            "refreshes and no refresh_token_reused"
        )
    return ExitCode.OK if result.is_flawless else ExitCode.FAILED


def _run(plan: DemoPlan) -> DemoResult:
    from rich.console import Console
    from rich.live import Live

    from bearerd.cli.demo_view import LiveView, line_view
    from bearerd.cli.one_shot import run_async
    from bearerd.clock import Clock
    from bearerd.harness.demo import run_demo

    console = Console(stderr=True)
    live = Live(console=console)
    notify = LiveView(plan, live) if console.is_terminal else line_view(console)
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
