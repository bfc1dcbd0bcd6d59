"""A process under measurement: where it runs, what it has used, and its end.

Processor time is read from the kernel's clock of the process, which counts nanoseconds
in user and system mode, threads included. Only processes started here are ended here.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

STOP_SECONDS = 5.0
"""How long a process may take to end when asked to; then it is killed."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Which cores the proxy and everything else run on; one of each, if there are."""

    proxy: int
    load: int

    @classmethod
    def choose(cls) -> Cores:
        """Take the last core for the proxy: interrupts tend to come to the first."""
        usable = sorted(os.sched_getaffinity(0))
        return cls(proxy=usable[-1], load=usable[0])


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory: all of it, and with shared pages counted by share."""

    rss_bytes: int
    pss_bytes: int | None

    def __add__(self, other: Memory) -> Memory:
        """Return the memory of both."""
        pss = None
        if self.pss_bytes is not None and other.pss_bytes is not None:
            pss = self.pss_bytes + other.pss_bytes
        return Memory(self.rss_bytes + other.rss_bytes, pss)


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Run the body on *core*, so that a process started in it stays there."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Process:
    """One program and its children. Owns them until `stop`."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        core: int,
        environment: Mapping[str, str] | None = None,
        errors: Path,
    ) -> None:
        self._errors = errors
        self.started_at = time.monotonic()
        with on_core(core), errors.open("wb") as stderr:
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=None if environment is None else dict(environment),
            )

    @property
    def has_ended(self) -> bool:
        """True when it is gone."""
        return self._popen.poll() is not None

    def line(self) -> str:
        """Return its next line of output; empty when it has ended."""
        assert self._popen.stdout is not None
        return self._popen.stdout.readline().decode().strip()

    def complaint(self) -> str:
        """Return the last line that it wrote to its standard error."""
        lines = self._errors.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._popen.send_signal(number)

    def cpu_seconds(self) -> float:
        """Return the processor time used so far, by it and its running children."""
        return sum(map(_cpu_seconds, self._pids()))

    def memory(self) -> Memory:
        """Return what it holds now, with its children."""
        return sum(map(_memory, self._pids()), Memory(0, 0))

    def stop(self) -> None:
        """End it: asked first, then by force. Its children follow it."""
        if self._popen.poll() is None:
            self._popen.terminate()
            try:
                self._popen.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._popen.kill()
                self._popen.wait()
        for pipe in (self._popen.stdin, self._popen.stdout):
            assert pipe is not None
            pipe.close()

    def _pids(self) -> list[int]:
        """Return its process id and those of its children, which have none of theirs."""
        pid = self._popen.pid
        children = Path(f"/proc/{pid}/task/{pid}/children")
        try:
            return [pid, *map(int, children.read_text().split())]
        except OSError:
            return [pid]


def _cpu_seconds(pid: int) -> float:
    """Return the processor time of a process: user and system, all threads.

    clock_getcpuclockid(3): the kernel numbers the clock of process P as ~P * 8 + 2.
    """
    return time.clock_gettime(~pid * 8 + 2)


def _memory(pid: int) -> Memory:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        pss: int | None = _kilobytes(text, "Pss:")
    except OSError:
        text = Path(f"/proc/{pid}/status").read_text().replace("VmRSS:", "Rss:")
        pss = None
    return Memory(_kilobytes(text, "Rss:") or 0, pss)


def _kilobytes(text: str, name: str) -> int | None:
    for line in text.splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    return None
