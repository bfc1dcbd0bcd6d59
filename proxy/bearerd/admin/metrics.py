"""The metrics: an observer that counts events, and a collector for Prometheus.

Events are counted on the path of every request, so counting is an addition in a
dictionary; metric families are built for each scrape. A label has few values: a method
that is not HTTP's is `other`, and a client has the name of its key.
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

from bearerd.credential.conditions import StateKind
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

# bearerd's own share of a request is some ten microseconds; a recovery takes seconds.
OVERHEAD_BUCKETS = (
    *(0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025),
    *(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
# A lock is free, or its holder waits for the authority.
LOCK_BUCKETS = (0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


LabelCounts: TypeAlias = Counter[tuple[str, ...]]
"""Counts by the values of the labels."""


class Histogram:
    """The counts of values by bucket. Owns the counts and the sum."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Count *value* in the first bucket whose bound is at least as large."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def family(self, name: str, help_text: str) -> Metric:
        """Return the metric family. Each bucket of Prometheus includes those before."""
        buckets, total = [], 0
        for bound, count in zip((*self._bounds, "+Inf"), self._counts, strict=True):
            total += count
            buckets.append((str(bound), total))
        return HistogramMetricFamily(
            name, help_text, buckets=buckets, sum_value=self._sum
        )


class Metrics(Collector):
    """An observer that counts events, and the collector of its counts.

    Values that exist without counting are read by these callables at each scrape.
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
        self._requests: LabelCounts = Counter()
        self._recoveries: LabelCounts = Counter()
        self._refreshes: LabelCounts = Counter()
        self._refused: LabelCounts = Counter()
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
                path = event.path.value or "none"
                self._recoveries[path, event.outcome.value] += 1
            case RefreshFailed(is_call=False, is_repeated=True):
                pass  # known without a call, and counted the first time
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
        """Yield each metric family. Called by prometheus-client for each scrape."""
        yield from self._request_families()
        yield from self._refresh_families()
        yield from self._credential_families()

    def _request_families(self) -> Iterator[Metric]:
        yield _counter(
            "bearerd_requests",
            "Finished requests, by client key, method and status.",
            ("client", "method", "status"),
            self._requests,
        )
        yield self._overhead.family(
            "bearerd_request_overhead_seconds",
            "bearerd's own share of the time until the head of the response is sent.",
        )
        yield GaugeMetricFamily(
            "bearerd_streams_active",
            "Responses that are streaming now.",
            self._streams_active(),
        )
        yield _counter(
            "bearerd_refused",
            "Requests that bearerd answered with an error of its own, by code.",
            ("code",),
            self._refused,
        )
        yield CounterMetricFamily(
            "bearerd_replay_abandoned",
            "Request bodies that were too large to be kept for a replay.",
            self._abandoned,
        )

    def _refresh_families(self) -> Iterator[Metric]:
        yield _counter(
            "bearerd_recoveries",
            "Recoveries from a 401 of the upstream, by what was done and how it ended.",
            ("path", "outcome"),
            self._recoveries,
        )
        yield _counter(
            "bearerd_refreshes",
            "Refreshes, by what triggered them and how they ended.",
            ("profile", "trigger", "outcome"),
            self._refreshes,
        )
        yield GaugeMetricFamily(
            "bearerd_refresh_waiters",
            "Requests that are waiting for a refresh now.",
            self._refresh_waiters(),
        )
        yield self._lock_wait.family(
            "bearerd_lock_wait_seconds",
            "Time spent waiting for the lock beside a store.",
        )

    def _credential_families(self) -> Iterator[Metric]:
        expires = GaugeMetricFamily(
            "bearerd_credential_expires_at_seconds",
            "When the access token expires, in epoch seconds.",
            labels=("profile",),
        )
        required = GaugeMetricFamily(
            "bearerd_login_required",
            "1 if this profile needs a sign-in, else 0.",
            labels=("profile",),
        )
        for source in self._sources():
            if source.expires_at is not None:
                expires.add_metric((source.profile,), source.expires_at)
            required.add_metric((source.profile,), float(source.needs_sign_in))
        yield expires
        yield required
        yield from self._state_families()

    def _state_families(self) -> Iterator[Metric]:
        state = GaugeMetricFamily(
            "bearerd_profile_state",
            "1 for the state that the profile is in, else 0.",
            labels=("profile", "state"),
        )
        since = GaugeMetricFamily(
            "bearerd_profile_state_since_seconds",
            "When the profile came into its state, in epoch seconds.",
            labels=("profile",),
        )
        unsaved = GaugeMetricFamily(
            "bearerd_credential_unsaved",
            "1 if the login is in memory only, else 0.",
            labels=("profile",),
        )
        for source in self._sources():
            for kind in StateKind:
                is_it = source.state == kind.value
                state.add_metric((source.profile, kind.value), float(is_it))
            if source.since is not None:
                since.add_metric((source.profile,), source.since)
            unsaved.add_metric((source.profile,), float(source.in_memory_only))
        yield state
        yield since
        yield unsaved

    def _count_request(self, event: RequestFinished) -> None:
        method = event.method if event.method in METHODS else "other"
        self._requests[event.client, method, str(event.status)] += 1
        if event.overhead_seconds is not None:
            self._overhead.add(event.overhead_seconds)
        if event.code is not None:
            self._refused[(event.code,)] += 1


def _counter(
    name: str, help_text: str, labels: tuple[str, ...], counts: LabelCounts
) -> Metric:
    family = CounterMetricFamily(name, help_text, labels=labels)
    for values, count in counts.items():
        family.add_metric(values, count)
    return family
