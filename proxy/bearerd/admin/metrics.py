"""The numbers: an observer that counts, and a collector that Prometheus can read.

Counting happens on the path of every request, so it is an addition in a dictionary;
families are built when somebody asks. Labels have few values: a method that is none of
HTTP's is `other`, and clients are known by the names of their keys.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from bearerd.admin.health import needs_person
from bearerd.credential.status import SourceStatus
from bearerd.events import (
    CredentialRefreshed,
    Event,
    LockWaited,
    RecoveryFinished,
    RefreshFailed,
    ReplayAbandoned,
    RequestFinished,
)

METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"}
)

# Our own share of a request is some ten microseconds; a recovery takes seconds.
OVERHEAD_BUCKETS = (
    *(0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025),
    *(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
# A lock is free, or its holder waits for an authority.
LOCK_BUCKETS = (0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


Tally: TypeAlias = Counter[tuple[str, ...]]
"""Counts by the values of labels."""


class Histogram:
    """Counts of values by bucket. Owns its sum and its counts."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Count *value* in the first bucket whose bound is not below it."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def family(self, name: str, text: str) -> Metric:
        """Return the counts as Prometheus wants them: each with all before it."""
        buckets, total = [], 0
        for bound, count in zip((*self._bounds, "+Inf"), self._counts, strict=True):
            total += count
            buckets.append((str(bound), total))
        return HistogramMetricFamily(name, text, buckets=buckets, sum_value=self._sum)


class Metrics(Collector):
    """An observer, and the collector of what it has counted.

    What can be asked for is asked when it is wanted, by the callables given here.
    """

    def __init__(
        self,
        *,
        streams_active: Callable[[], int],
        refresh_waiters: Callable[[], int],
        sources: Callable[[], Iterable[SourceStatus]],
    ) -> None:
        self._streams_active = streams_active
        self._refresh_waiters = refresh_waiters
        self._sources = sources
        self._requests: Tally = Counter()
        self._recoveries: Tally = Counter()
        self._refreshes: Tally = Counter()
        self._refused: Tally = Counter()
        self._abandoned = 0
        self._overhead = Histogram(OVERHEAD_BUCKETS)
        self._lock_wait = Histogram(LOCK_BUCKETS)
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def __call__(self, event: Event) -> None:
        """Count *event*."""
        match event:
            case RequestFinished():
                self._count_request(event)
            case RecoveryFinished():
                self._recoveries[event.path or "none", event.outcome] += 1
            case CredentialRefreshed() | RefreshFailed():
                self._refreshes[event.profile, event.trigger, event.outcome] += 1
            case LockWaited():
                self._lock_wait.add(event.duration_seconds)
            case ReplayAbandoned():
                self._abandoned += 1
            case _:
                pass

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Give each family once; prometheus-client calls this."""
        yield _counter(
            "bearerd_requests",
            "Requests that are over, by client key, method and status.",
            ("client", "method", "status"),
            self._requests,
        )
        yield self._overhead.family(
            "bearerd_request_overhead_seconds",
            "Our own share of a request, until the head of its answer went out.",
        )
        yield GaugeMetricFamily(
            "bearerd_streams_active",
            "Answers that are streaming now.",
            self._streams_active(),
        )
        yield _counter(
            "bearerd_recoveries",
            "What followed a 401 of the upstream.",
            ("path", "outcome"),
            self._recoveries,
        )
        yield _counter(
            "bearerd_refreshes",
            "Refreshes, by what asked for them and how they ended.",
            ("profile", "trigger", "outcome"),
            self._refreshes,
        )
        yield GaugeMetricFamily(
            "bearerd_refresh_waiters",
            "Requests that wait for a refresh now.",
            self._refresh_waiters(),
        )
        yield self._lock_wait.family(
            "bearerd_lock_wait_seconds", "Waits for the lock beside a store."
        )
        yield from self._credentials()
        yield _counter(
            "bearerd_refused",
            "Requests that bearerd answered itself, by error code.",
            ("code",),
            self._refused,
        )
        yield CounterMetricFamily(
            "bearerd_replay_abandoned",
            "Request bodies too large to be sent again after a 401.",
            self._abandoned,
        )

    def _credentials(self) -> Iterator[Metric]:
        expires = GaugeMetricFamily(
            "bearerd_credential_expires_at_seconds",
            "When the access token ends, in epoch seconds.",
            labels=("profile",),
        )
        wanted = GaugeMetricFamily(
            "bearerd_login_required",
            "1 when a person has to act for this profile, else 0.",
            labels=("profile",),
        )
        for source in self._sources():
            if source.expires_at is not None:
                expires.add_metric((source.profile,), source.expires_at)
            wanted.add_metric((source.profile,), float(needs_person(source)))
        yield expires
        yield wanted

    def _count_request(self, event: RequestFinished) -> None:
        method = event.method if event.method in METHODS else "other"
        self._requests[event.client, method, str(event.status)] += 1
        if event.overhead_seconds is not None:
            self._overhead.add(event.overhead_seconds)
        if event.code is not None:
            self._refused[(event.code,)] += 1


def _counter(name: str, text: str, labels: tuple[str, ...], counts: Tally) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for values, count in counts.items():
        family.add_metric(values, count)
    return family
