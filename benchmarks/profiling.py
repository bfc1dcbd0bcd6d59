"""Where bearerd spends its time under load, by function.

cProfile makes every call dearer, so the shares mislead where many small functions are
called; the numbers of calls a piece do not.
"""

from __future__ import annotations

import pstats
import signal
import time
from pathlib import Path

from benchmarks.contenders import Contender, Place, start_bearerd
from benchmarks.errors import NotMeasured
from benchmarks.loads import Driver

SECONDS = 4.0
STREAMS = 100
LINES = 45
WRITE_LIMIT_SECONDS = 10.0


def run(place: Place, driver: Driver, what: str) -> None:
    """Print the functions that take the most time a request, or an event."""
    written = place.folder / "profile"
    contender = start_bearerd(place, "benchmarks.profiled", str(written))

    def counting(is_on: bool) -> None:  # noqa: FBT001 - a hook's only argument
        contender.process.signal(signal.SIGUSR1 if is_on else signal.SIGUSR2)

    try:
        contender.wait_until_ready()
        contender.counting = counting
        if what == "requests":
            cost = driver.small_post(contender, SECONDS)
        else:
            cost = driver.streams(contender, SECONDS, streams=STREAMS)
        _wait_for(written, contender)
    finally:
        contender.stop()
    _show(written, cost.count, what)


def _wait_for(written: Path, contender: Contender) -> None:
    limit = time.monotonic() + WRITE_LIMIT_SECONDS
    while not written.exists():
        if contender.process.has_ended or time.monotonic() > limit:
            raise NotMeasured(f"no profile came: {contender.process.complaint()}")
        time.sleep(0.05)


def _show(written: Path, count: int, what: str) -> None:
    stats = pstats.Stats(str(written)).stats  # type: ignore[attr-defined]
    rows = sorted(stats.items(), key=lambda row: -row[1][2])
    print(f"{count} {what}, under cProfile; own and cumulated µs, calls, a piece\n")
    print(f"{'own':>8}{'cumulated':>11}{'calls':>8}")
    for (file, line, name), (_, calls, own, cumulated, _) in rows[:LINES]:
        where = f"  {Path(file).name}:{line}" if line else ""
        numbers = f"{own / count * 1e6:8.2f}{cumulated / count * 1e6:11.2f}"
        print(f"{numbers}{calls / count:8.2f}  {name}{where}")
