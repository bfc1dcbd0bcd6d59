"""`python -m benchmarks.profiled FILE MODULE ...`: a module that can be profiled.

SIGUSR1 begins, SIGUSR2 ends and writes FILE; so neither the start nor the warm-up is
counted.
"""

from __future__ import annotations

import cProfile
import runpy
import signal
import sys
from pathlib import Path


def main() -> None:
    """Run the module as its own main program."""
    _, file, module, *_ = sys.argv
    profile = cProfile.Profile()

    def begin(_number: int, _frame: object) -> None:
        profile.enable()

    def end(_number: int, _frame: object) -> None:
        profile.disable()
        unfinished = Path(f"{file}.new")
        profile.dump_stats(unfinished)
        unfinished.rename(file)

    signal.signal(signal.SIGUSR1, begin)
    signal.signal(signal.SIGUSR2, end)
    sys.argv = sys.argv[2:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
