"""`python -m benchmarks`: what bearerd costs, beside nginx doing the same job.

Loopback only, made-up tokens, real processes: nginx with one worker and `bearerd serve`
on one core, the load and the upstream on another. Ends by itself, and ends every
process it started. Exit code 1 when something could not be measured; a target that is
not met is no failure.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import machine, profiling, report
from benchmarks.contenders import (
    Contender,
    Place,
    nginx_program,
    start_bearerd,
    start_nginx,
)
from benchmarks.errors import NotMeasured
from benchmarks.loads import Driver
from benchmarks.login import Login
from benchmarks.native_tools import build
from benchmarks.process import Cores, Process, on_core
from benchmarks.suite import PARTS, QUICK, THOROUGH, Effort, Suite

SECONDS_A_ROUND = 60
"""Far more than a round takes: whoever hangs is ended, and so is the run."""

BUSY_SHARE = 0.1
"""From where on the neighbours disturb; a quiet machine shows 0 %."""


@dataclass(frozen=True, slots=True)
class Stage:
    """All that a run needs: where contenders start, who drives them, and the upstream."""

    place: Place
    driver: Driver
    straight: Contender


def main() -> int:
    """Run what the command line asks for; return the exit code."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        if options.command == "profile":
            with _limited(SECONDS_A_ROUND), _stage() as stage:
                profiling.run(stage.place, stage.driver, options.what)
            return 0
        return _bench(options)
    except NotMeasured as error:
        _tell(f"benchmarks: {error}")
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _bench(options: argparse.Namespace) -> int:
    effort = _effort(options)
    starts = (start_nginx, start_bearerd)
    failure = None
    nginx = nginx_program(os.environ)
    told = machine.describe(nginx)
    neighbours = machine.Neighbours(machine.run_seconds)
    with _stage() as stage:
        suite = Suite(
            stage.place,
            driver=stage.driver,
            straight=stage.straight,
            starts=starts,
            effort=effort,
            tell=_tell,
        )
        try:
            with _limited(SECONDS_A_ROUND * (effort.rounds + 1)):
                suite.run(options.only or PARTS)
        except NotMeasured as error:
            failure = error
    others = neighbours.share()
    print(f"{told}\nMedians; ratio: bearerd to nginx.\n")
    print("\n".join(report.table(suite.figures)))
    print(
        f"\nOther processes took {others:.0%} of the machine meanwhile.{_doubt(others)}"
    )
    if options.json:
        report.write_json(options.json, told, others, suite.figures)
    if failure:
        raise failure
    return 0


def _doubt(others: float) -> str:
    if others < BUSY_SHARE:
        return ""
    return " That is too much: the figures are high, and ratios drawn toward 1."


@contextmanager
def _stage() -> Iterator[Stage]:
    """Build the tools and start the upstream; both are gone after the body."""
    if sys.platform != "linux":
        raise NotMeasured(
            "the measurements read /proc and use epoll: run them on Linux"
        )
    cores, login = Cores.choose(), Login.make()
    if cores.proxy == cores.load:
        _tell("there is but one core: the load takes its turns on it too")
    with (
        on_core(cores.load),
        tempfile.TemporaryDirectory(prefix="bearerd-bench-") as name,
    ):
        folder = Path(name)
        tools = build(folder)
        upstream = Process(
            [str(tools.upstream), login.access_token],
            core=cores.load,
            errors=folder / "upstream.stderr",
        )
        try:
            port = int(upstream.line() or 0)
            yield Stage(
                Place(folder, port, login, cores, dict(os.environ)),
                Driver(tools, cores, folder, upstream),
                Contender("no proxy", upstream, port, login.access_token),
            )
        finally:
            upstream.stop()


@contextmanager
def _limited(seconds: int) -> Iterator[None]:
    """Give the body so long; then something hangs."""

    def end(_number: int, _frame: object) -> None:
        raise NotMeasured(f"not done after {seconds} seconds: something hangs")

    signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def _effort(options: argparse.Namespace) -> Effort:
    effort = QUICK if options.quick else THOROUGH
    if options.rounds is None:
        return effort
    rounds = options.rounds
    return replace(
        effort,
        rounds=rounds,
        memory_rounds=rounds,
        starts=rounds,
        spare_samples=5 * rounds,
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about 40 s, less exact")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples")
    parser.add_argument("--only", action="append", choices=PARTS, help="one part")
    parser.add_argument("--rounds", type=int, help="how often each thing is measured")
    commands = parser.add_subparsers(dest="command", metavar="[profile]")
    profile = commands.add_parser("profile", help="where bearerd spends its time")
    profile.add_argument("what", choices=("requests", "events"))
    return parser.parse_args()


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
