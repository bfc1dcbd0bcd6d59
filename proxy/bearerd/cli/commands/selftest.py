"""`bearerd selftest`: single-flight, proved on the machine where it has to hold."""

from __future__ import annotations

import dataclasses
import json as json_text
import os
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bearerd.cli.program import complain
from bearerd.errors import ExitCode, StoreError

if TYPE_CHECKING:
    from bearerd.harness.selftest import SelftestResult


def register(program: typer.Typer) -> None:
    """Add the command to *program*."""
    epilog = "Example, for the volume that the store is to be on: bearerd selftest --store-dir /data"
    program.command("selftest", epilog=epilog)(selftest)


def selftest(
    *,
    processes: Annotated[
        int, typer.Option(min=1, max=32, help="How many daemons share the store.")
    ] = 4,
    seconds: Annotated[
        float, typer.Option(min=0, max=600, help="How long tokens keep dying.")
    ] = 5,
    store_dir: Annotated[
        Path | None,
        typer.Option(
            "--store-dir",
            metavar="DIR",
            help="A folder on the file system to test; the system's temporary folder if "
            "not given. A folder of our own is made in it, and removed at the end.",
        ),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the numbers as JSON.")
    ] = False,
) -> int:
    """Prove that processes on one store refresh once, on this machine.

    It needs no account and no network, and leaves your login alone: authority and
    upstream are stand-ins, and tokens are made up. While agents keep all daemons busy,
    the upstream revokes every access token again and again; each time exactly one
    refresh must follow, and every request must be answered. Exit code 0 means so.
    """
    result = _run(processes, seconds, store_dir)
    if json:
        document = dataclasses.asdict(result) | {"ok": result.is_flawless}
        typer.echo(json_text.dumps(document, indent=2))
    else:
        typer.echo("\n".join(_lines(result)))
    if not result.is_flawless:
        complain(
            "processes on this store do not share one refresh; keep it to one process, "
            f"or move it to a local file system. A daemon said: {result.last_words}"
        )
    return ExitCode.OK if result.is_flawless else ExitCode.FAILED


def _run(processes: int, seconds: float, store_dir: Path | None) -> SelftestResult:
    from rich.console import Console

    from bearerd.cli.one_shot import run_async
    from bearerd.clock import Clock
    from bearerd.harness.selftest import run_selftest

    console = Console(stderr=True, highlight=False, markup=False)
    status = console.status("starting")
    try:
        with (
            tempfile.TemporaryDirectory(
                prefix="bearerd-selftest-", dir=store_dir
            ) as folder,
            status if console.is_terminal else nullcontext(),
        ):
            return run_async(
                run_selftest(
                    Path(folder),
                    os.environ,
                    processes=processes,
                    seconds=seconds,
                    clock=Clock(),
                    notify=status.update if console.is_terminal else console.print,
                )
            )
    except OSError as error:
        raise StoreError(
            f"{store_dir or tempfile.gettempdir()}: no store can be made there: "
            f"{error.strerror or error}; name a folder that this user may write to"
        ) from error


def _lines(result: SelftestResult) -> Iterator[str]:
    rows = {
        "processes": result.processes,
        "answered with 200": result.answered,
        "failed": sum(result.failures.values()),
        "access tokens revoked": f"{result.revocations} times",
        "refreshes": result.refreshes,
        "refresh_token_reused": result.reused,
        "overlapping lock holders": result.overlapping,
    }
    for name, value in rows.items():
        yield f"{name:26}{value}"
    for what, count in result.failures.items():
        yield f"  {count} failed with {what}"
    yield "single-flight holds" if result.is_flawless else "single-flight does NOT hold"
