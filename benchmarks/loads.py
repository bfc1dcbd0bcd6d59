"""The loads, and what they cost the proxy that carries them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from benchmarks.contenders import Contender
from benchmarks.errors import NotMeasured
from benchmarks.machine import Neighbours
from benchmarks.native_tools import Tools
from benchmarks.process import Cores, Process

Mode: TypeAlias = Literal["requests", "streams", "hold"]

CLIENTS = 16
"""Connections that send small requests, each the next as soon as it is answered."""

EVENTS_A_SECOND = 50
EVENT_BYTES = 200
"""About the pace and size of a model's text deltas."""

BODY_BYTES = 1000

TARGET = "/backend-api/codex/responses"


@dataclass(frozen=True, slots=True)
class Cost:
    """What a load cost: processor time a piece, and for events their delay.

    `neighbours_share` is what other processes took of the machine meanwhile.
    """

    count: int
    cpu_us: float
    neighbours_share: float
    delay_p50_us: float
    delay_p99_us: float


@dataclass(frozen=True, slots=True)
class Driver:
    """Starts loads. *folder* takes the files with the requests to send."""

    tools: Tools
    cores: Cores
    folder: Path
    upstream: Process

    def small_get(self, contender: Contender, seconds: float) -> Cost:
        """Ask for a short JSON document, again and again."""
        request = _get(contender.bearer)
        return self._run(contender, "requests", CLIENTS, seconds, request)

    def small_post(self, contender: Contender, seconds: float) -> Cost:
        """Send 1000 bytes for a short JSON document, again and again."""
        request = _post(TARGET, contender.bearer)
        return self._run(contender, "requests", CLIENTS, seconds, request)

    def streams(self, contender: Contender, seconds: float, *, streams: int) -> Cost:
        """Read so many streams of events, each at its pace."""
        request = _stream(EVENTS_A_SECOND, contender.bearer)
        return self._run(contender, "streams", streams, seconds, request)

    @contextmanager
    def idle_streams(self, contender: Contender, streams: int) -> Iterator[None]:
        """Hold so many streams open in the body, each silent after one event."""
        request = _stream(0, contender.bearer)
        load = self._start(contender, "hold", streams, 0, request)
        try:
            self._expect(load, "begin", contender)
            yield
        finally:
            load.stop()

    def _run(
        self,
        contender: Contender,
        mode: Mode,
        clients: int,
        seconds: float,
        request: bytes,
    ) -> Cost:
        load = self._start(contender, mode, clients, seconds, request)
        try:
            self._expect(load, "begin", contender)
            running = {contender.process, load, self.upstream}
            neighbours = Neighbours(lambda: sum(p.cpu_seconds() for p in running))
            cpu_before, before = contender.process.cpu_seconds(), time.monotonic()
            contender.counting(True)  # noqa: FBT003 - a hook's only argument
            self._expect(load, "end", contender)
            cpu = contender.process.cpu_seconds() - cpu_before
            wall = time.monotonic() - before
            contender.counting(False)  # noqa: FBT003
            others = neighbours.share()
            words = load.line().split()
        finally:
            load.stop()
        count, took_ns, p50, p99, _ = map(int, words)
        if count == 0:
            raise NotMeasured(f"{contender.name} let nothing through in {seconds:g} s")
        # The two clocks are read a moment after the load's own two moments.
        during = cpu * (took_ns / 1e9) / wall
        return Cost(count, during / count * 1e6, others, p50 / 1e3, p99 / 1e3)

    def _start(
        self,
        contender: Contender,
        mode: Mode,
        clients: int,
        seconds: float,
        request: bytes,
    ) -> Process:
        file = self.folder / "request"
        file.write_bytes(request)
        words = (mode, contender.port, clients, round(seconds * 1000), file)
        return Process(
            [str(self.tools.load), *map(str, words)],
            core=self.cores.load,
            errors=self.folder / "load.stderr",
        )

    @staticmethod
    def _expect(load: Process, word: str, contender: Contender) -> None:
        if load.line() != word:
            raise NotMeasured(f"{contender.name} under load: {load.complaint()}")


def _get(bearer: str) -> bytes:
    return _head("GET", "/backend-api/codex/models?client_version=1", bearer) + b"\r\n"


def _stream(events_a_second: int, bearer: str) -> bytes:
    every_us = 1_000_000 // events_a_second if events_a_second else 0
    return _post(f"{TARGET}?every_us={every_us}&bytes={EVENT_BYTES}", bearer)


def _post(target: str, bearer: str) -> bytes:
    body = b'{"input":"%b"}' % (b"x" * (BODY_BYTES - 12))
    fields = (
        "Content-Type: application/json\r\nAccept: text/event-stream\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return _head("POST", target, bearer) + fields.encode() + body


def _head(method: str, target: str, bearer: str) -> bytes:
    return (
        f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"User-Agent: codex_cli_rs/1.0\r\nAuthorization: Bearer {bearer}\r\n"
    ).encode()
