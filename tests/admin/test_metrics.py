"""The metrics: names, labels, and what each of them counts."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bearerd.admin.metrics import Metrics
from bearerd.events import (
    CredentialRefreshed,
    LockWaited,
    RecoveryFinished,
    RecoveryOutcome,
    RecoveryPath,
    RefreshFailed,
    ReplayAbandoned,
    RequestFinished,
)
from tests.admin.conftest import NOW, degraded, example, missing, source

# As published: sample names, types and labels.
PUBLISHED = {
    "bearerd_requests_total": ("counter", {"client", "method", "status"}),
    "bearerd_request_overhead_seconds": ("histogram", set()),
    "bearerd_streams_active": ("gauge", set()),
    "bearerd_recoveries_total": ("counter", {"path", "outcome"}),
    "bearerd_refreshes_total": ("counter", {"profile", "trigger", "outcome"}),
    "bearerd_refresh_waiters": ("gauge", set()),
    "bearerd_lock_wait_seconds": ("histogram", set()),
    "bearerd_credential_expires_at_seconds": ("gauge", {"profile"}),
    "bearerd_login_required": ("gauge", {"profile"}),
    "bearerd_profile_state": ("gauge", {"profile", "state"}),
    "bearerd_profile_state_since_seconds": ("gauge", {"profile"}),
    "bearerd_credential_unsaved": ("gauge", {"profile"}),
    "bearerd_refused_total": ("counter", {"code"}),
    "bearerd_replay_abandoned_total": ("counter", set()),
}


def request(
    method: str = "POST",
    status: int = 200,
    code: str | None = None,
    overhead_seconds: float | None = 0.0002,
) -> RequestFinished:
    """Return the event of a finished request."""
    return RequestFinished(
        "laptop", "default", method, "/x", status, 1, code, overhead_seconds, 1.0
    )


def recovery(path: RecoveryPath, outcome: RecoveryOutcome) -> RecoveryFinished:
    """Return the end of a recovery."""
    return RecoveryFinished("default", path, outcome, 2, 0.1)


@pytest.fixture
def metrics() -> Metrics:
    """Metrics of a daemon with two profiles, one of which needs a sign-in."""
    return Metrics(
        streams_active=lambda: 7,
        refresh_waiters=lambda: 3,
        sources=lambda: [source(), missing(profile="work")],
    )


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Return the samples of a scrape, by name and the values of the sorted labels."""
    found = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        for one in family.samples:
            values = [one.labels[name] for name in sorted(one.labels)]
            found[(one.name, *values)] = one.value
    return found


def test_the_metrics_are_the_published_ones(metrics: Metrics) -> None:
    """No other name, type or label, and each family once."""
    for event in (
        request(code="overloaded"),
        recovery(RecoveryPath.RELOAD, RecoveryOutcome.RECOVERED),
        CredentialRefreshed("default", "refused", "renewed", 1, 0.1, NOW),
    ):
        metrics(event)
    found = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        total = "_total" if family.type == "counter" else ""
        labels = {label for one in family.samples for label in one.labels} - {"le"}
        assert family.name + total not in found
        found[family.name + total] = (family.type, labels)
    assert found == PUBLISHED


def test_requests_are_counted_by_client_method_and_status(metrics: Metrics) -> None:
    """An unknown method is `other`, so that a client cannot add values of a label."""
    for event in (request(), request(), request("GET", 499), request("BREW", 405)):
        metrics(event)
    found = samples(metrics)
    assert found["bearerd_requests_total", "laptop", "POST", "200"] == 2
    assert found["bearerd_requests_total", "laptop", "GET", "499"] == 1
    assert found["bearerd_requests_total", "laptop", "other", "405"] == 1


def test_errors_of_bearerd_are_counted_by_code(metrics: Metrics) -> None:
    """The errors of the upstream are not among them."""
    for event in (
        request(status=401, code="login_required"),
        request(),
        request(status=500),
    ):
        metrics(event)
    codes = {
        k: v for k, v in samples(metrics).items() if k[0] == "bearerd_refused_total"
    }
    assert codes == {("bearerd_refused_total", "login_required"): 1}


def test_overhead_is_a_histogram(metrics: Metrics) -> None:
    """A value on a bound is in its bucket. Without an upstream there is no overhead."""
    for seconds in (0.0001, 0.0002, 100.0, None):
        metrics(request(overhead_seconds=seconds))
    found = samples(metrics)
    name = "bearerd_request_overhead_seconds"
    assert found[f"{name}_bucket", "5e-05"] == 0
    assert found[f"{name}_bucket", "0.0001"] == 1
    assert found[f"{name}_bucket", "0.00025"] == 2
    assert found[f"{name}_bucket", "30.0"] == 2
    assert found[f"{name}_bucket", "+Inf"] == found[(f"{name}_count",)] == 3
    assert found[(f"{name}_sum",)] == pytest.approx(100.0003)


def test_refreshes_and_recoveries_are_counted_by_how_they_ended(
    metrics: Metrics,
) -> None:
    """Success and failure under one name; a recovery without a step is `none`."""
    metrics(CredentialRefreshed("default", "expiring", "adopted", 2, 0.1, None))
    metrics(RefreshFailed("default", "refused", "unclear", "timeout", 2, 30.0))
    metrics(recovery(RecoveryPath.RELOAD_AND_REFRESH, RecoveryOutcome.RECOVERED))
    metrics(recovery(RecoveryPath.NONE, RecoveryOutcome.REFRESH_THROTTLED))
    metrics(LockWaited("default", 0.002))
    metrics(ReplayAbandoned("default", "request_limit"))
    found = samples(metrics)
    assert found["bearerd_refreshes_total", "adopted", "default", "expiring"] == 1
    assert found["bearerd_refreshes_total", "unclear", "default", "refused"] == 1
    assert found["bearerd_recoveries_total", "recovered", "reload, refresh"] == 1
    assert found["bearerd_recoveries_total", "refresh_throttled", "none"] == 1
    assert found["bearerd_lock_wait_seconds_bucket", "0.005"] == 1
    assert found[("bearerd_replay_abandoned_total",)] == 1


def test_the_gauges_are_read_at_each_scrape(metrics: Metrics) -> None:
    """A profile without a credential has no expiry, and needs a sign-in."""
    found = samples(metrics)
    assert found[("bearerd_streams_active",)] == 7
    assert found[("bearerd_refresh_waiters",)] == 3
    assert found["bearerd_credential_expires_at_seconds", "default"] == NOW + 3600
    assert ("bearerd_credential_expires_at_seconds", "work") not in found
    assert found["bearerd_login_required", "default"] == 0
    assert found["bearerd_login_required", "work"] == 1


def test_each_profile_is_in_one_state(metrics: Metrics) -> None:
    """The others are 0, so that an alert needs no `absent()`."""
    found = samples(metrics)
    states = {
        (profile, state): found["bearerd_profile_state", profile, state]
        for profile in ("default", "work")
        for state in ("usable", "degraded", "blocked")
    }
    assert [key for key, value in states.items() if value] == [
        ("default", "usable"),
        ("work", "blocked"),
    ]
    assert found["bearerd_profile_state_since_seconds", "work"] == NOW - 60


def test_an_unsaved_login_is_seen(metrics: Metrics) -> None:
    """It is lost if the daemon is killed now."""
    assert samples(metrics)["bearerd_credential_unsaved", "default"] == 0
    unsaved = Metrics(
        streams_active=lambda: 0,
        refresh_waiters=lambda: 0,
        sources=lambda: [degraded(code="unsaved", in_memory_only=True)],
    )
    assert samples(unsaved)["bearerd_credential_unsaved", "default"] == 1


def test_a_sign_in_is_required_before_the_access_token_expires() -> None:
    """From the moment on that the refresh token is refused."""
    dying = degraded(code="login_required", reason="reused", needs_sign_in=True)
    metrics = Metrics(
        streams_active=lambda: 0, refresh_waiters=lambda: 0, sources=lambda: [dying]
    )
    assert samples(metrics)["bearerd_login_required", "default"] == 1


def test_every_class_of_events_is_accepted(metrics: Metrics, kind: type) -> None:
    """Those without a metric change nothing."""
    metrics(example(kind, "x"))
    assert samples(metrics)
