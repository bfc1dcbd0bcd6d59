"""The rounds: nginx and bearerd in turn, A B A B, on the same core in the same run.

Both processes stand side by side and only the one whose turn it is has work, so that
what else happens on the machine meets both alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal, TypeAlias

from benchmarks.contenders import Contender, Place, Start
from benchmarks.figures import Figures
from benchmarks.loads import Cost, Driver

Part: TypeAlias = Literal["requests", "events", "delay", "memory", "start"]
PARTS: Final[tuple[Part, ...]] = ("requests", "events", "delay", "memory", "start")

REQUEST_TARGET: Final = 5.0
EVENT_TARGET: Final = 1.7
"""How many times nginx's processor time bearerd may take."""

FEW, MANY = 100, 400
DISTURBED: Final = 0.1
"""The neighbours' part of the machine from where on a sample is taken again."""

TRIES: Final = 3

HELD: Final = (0, 100, 1000)


@dataclass(frozen=True, slots=True)
class Effort:
    """How long and how often to measure.

    `spare_samples` are for measuring again what neighbours disturbed, in the whole run.
    """

    rounds: int
    request_seconds: float
    stream_seconds: float
    memory_rounds: int
    starts: int
    spare_samples: int


THOROUGH: Final = Effort(5, 1.5, 2.5, memory_rounds=3, starts=7, spare_samples=25)
QUICK: Final = Effort(2, 0.7, 1.2, memory_rounds=1, starts=3, spare_samples=5)


class Suite:
    """Measures part after part. Owns the figures.

    *straight* is the upstream itself: what is delayed without any proxy.
    """

    def __init__(
        self,
        place: Place,
        *,
        driver: Driver,
        straight: Contender,
        starts: Sequence[Start],
        effort: Effort,
        tell: Callable[[str], None],
    ) -> None:
        self._place = place
        self._driver = driver
        self._straight = straight
        self._starts = starts
        self._effort = effort
        self._tell = tell
        self._spare_samples = effort.spare_samples
        self.figures = Figures()

    def run(self, parts: tuple[Part, ...]) -> None:
        """Measure *parts*.

        Raises:
            NotMeasured: what stood in the way; what was measured before stays.
        """
        under_load = [part for part in parts if part in ("requests", "events", "delay")]
        for turn in range(self._effort.rounds if under_load else 0):
            self._tell(f"{', '.join(under_load)}: round {turn + 1}")
            with self._all_running() as contenders:
                self._round(contenders, parts)
        if "memory" in parts:
            for turn in range(self._effort.memory_rounds):
                self._tell(f"memory: round {turn + 1}")
                self._memory()
        if "start" in parts:
            self._tell("start")
            for _ in range(self._effort.starts):
                self._start_up()

    def _round(self, contenders: list[Contender], parts: tuple[Part, ...]) -> None:
        if "requests" in parts:
            self._requests(contenders)
        if "events" in parts or "delay" in parts:
            self._streams(contenders, FEW, with_delay="delay" in parts)
        if "delay" in parts:
            self._streams(contenders, MANY, with_delay=True)

    def _requests(self, contenders: list[Contender]) -> None:
        loads = (
            ("get", "small request, GET", self._driver.small_get),
            ("post", "small request, POST 1 kB", self._driver.small_post),
        )
        for key, label, load in loads:
            figure = self.figures.at(f"requests.{key}", label, "CPU µs", REQUEST_TARGET)
            for contender in contenders:
                cost = self._calm(load, contender, self._effort.request_seconds)
                figure.add(contender.name, cost.cpu_us)

    def _streams(
        self, contenders: list[Contender], streams: int, *, with_delay: bool
    ) -> None:
        figure = self.figures.at(
            f"events.{streams}",
            f"streamed event, {streams} streams",
            "CPU µs",
            EVENT_TARGET,
        )
        seconds = self._effort.stream_seconds
        load = partial(self._driver.streams, streams=streams)
        for contender in contenders:
            cost = self._calm(load, contender, seconds)
            figure.add(contender.name, cost.cpu_us)
            if with_delay:
                self._note_delay(contender.name, streams, cost)
        if with_delay:
            cost = self._calm(load, self._straight, seconds)
            self._note_delay(self._straight.name, streams, cost)

    def _calm(
        self,
        load: Callable[[Contender, float], Cost],
        contender: Contender,
        seconds: float,
    ) -> Cost:
        """Return the least disturbed of a few tries; mostly the first will do."""
        best = load(contender, seconds)
        for _ in range(TRIES - 1):
            if best.neighbours_share < DISTURBED or not self._spare_samples:
                break
            self._spare_samples -= 1
            again = load(contender, seconds)
            best = min(best, again, key=lambda cost: cost.neighbours_share)
        return best

    def _note_delay(self, name: str, streams: int, cost: Cost) -> None:
        for share, value in (("p50", cost.delay_p50_us), ("p99", cost.delay_p99_us)):
            key = f"delay.{streams}.{share}"
            label = f"event delay {share}, {streams} streams"
            self.figures.at(key, label, "ms").add(name, value / 1e3)

    def _memory(self) -> None:
        for start in self._starts:
            with self._running(start) as contender:
                for streams in HELD:
                    self._held(contender, streams)

    def _held(self, contender: Contender, streams: int) -> None:
        with self._driver.idle_streams(contender, streams):
            memory = contender.process.memory()
        label = f"{streams:,} idle streams"
        resident = self.figures.at(f"memory.{streams}.rss", f"RSS, {label}", "MiB")
        resident.add(contender.name, memory.rss_bytes / 2**20)
        if memory.pss_bytes is not None:
            share = self.figures.at(f"memory.{streams}.pss", f"PSS, {label}", "MiB")
            share.add(contender.name, memory.pss_bytes / 2**20)

    def _start_up(self) -> None:
        for start in self._starts:
            with self._running(start) as contender:
                wall, cpu = contender.ready_after
            name = contender.name
            self.figures.at("start.wall", "start to first answer", "ms").add(
                name, wall * 1e3
            )
            self.figures.at("start.cpu", "start to first answer, CPU", "ms").add(
                name, cpu * 1e3
            )

    @contextmanager
    def _running(self, start: Start) -> Iterator[Contender]:
        contender = start(self._place)
        try:
            contender.wait_until_ready()
            yield contender
        finally:
            contender.stop()

    @contextmanager
    def _all_running(self) -> Iterator[list[Contender]]:
        with ExitStack() as stack:
            yield [stack.enter_context(self._running(start)) for start in self._starts]
