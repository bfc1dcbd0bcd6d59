"""`bearerd selftest`: verifies single-flight on the machine and the file system at hand."""

from __future__ import annotations

import json as json_text
import os
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from bearerd.cli.program import print_stderr
from bearerd.errors import ExitCode, StoreError

if TYPE_CHECKING:
    from bearerd.harness.selftest import SelftestResult


FLAW: Final = (
    "processes on this store do not share one refresh; let only one process use it, or "
    "move it to a local file system. The last line of a daemon's log:"
)


StoreFolder = Annotated[
    Path | None,
    typer.Option(
        "--store-dir",
        metavar="DIR",
        help="A folder on the file system to test; by default the system's folder "
        "for temporary files. The selftest works in a new folder below it, which it "
        "removes at the end.",
    ),
]


def register(program: typer.Typer) -> None:
    """Add the command to *program*."""
    epilog = "Example, for a volume that a store will be on: bearerd selftest --store-dir /data"
    program.command("selftest", epilog=epilog)(selftest)


def selftest(
    *,
    processes: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, max=32, help="The number of daemons on one store."
        ),
    ] = 4,
    seconds: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=0, max=600, help="How long tokens are revoked."
        ),
    ] = 5,
    store_dir: StoreFolder = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the counts as JSON.")
    ] = False,
) -> int:
    """Verify that processes on one store refresh only once, on this machine.

    The selftest needs no account and no network, and does not use your login: authority
    and upstream are stand-ins, and all tokens are made up. While agents send requests to
    all daemons, the upstream revokes every access token over and over. Each time there
    must be exactly one refresh, and every request must be answered. The exit code is 0 if
    that is so.
    """
    result = _run(processes, seconds, store_dir)
    if json:
        typer.echo(json_text.dumps(_document(result), indent=2))
    else:
        typer.echo("\n".join(_lines(result)))
    if result.is_flawless:
        return ExitCode.OK
    print_stderr(f"{FLAW} {result.last_log_line}")
    return ExitCode.FAILED


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
            f"{store_dir or tempfile.gettempdir()}: no store can be created there: "
            f"{error.strerror or error}; name a folder that this user may write to"
        ) from error


def _document(result: SelftestResult) -> dict[str, object]:
    return {
        "processes": result.processes,
        "answered": result.answered,
        "failures": dict(result.failures),
        "revocations": result.revocations,
        "refreshes": result.refreshes,
        "reused": result.reused,
        "overlapping": result.overlapping,
        "stuck": result.is_stuck,
        "last_words": result.last_log_line,
        "ok": result.is_flawless,
    }


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
    for reason, count in result.failures.items():
        yield f"  {count} failed with {reason}"
    yield "single-flight holds" if result.is_flawless else "single-flight does NOT hold"
