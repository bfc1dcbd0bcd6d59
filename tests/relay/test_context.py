"""What is reported of one request: its times, its attempts, its end."""

from __future__ import annotations

import pytest

from bearerd.errors import NotFound
from bearerd.events import (
    Event,
    RecoveryFinished,
    RecoveryOutcome,
    RecoveryPath,
    RequestFinished,
)
from bearerd.relay.context import RequestRecord


class Bench:
    """A record, the time that it sees, and what it announces."""

    def __init__(self) -> None:
        self.seconds = 100.0
        self.events: list[Event] = []
        self.record = RequestRecord(
            "POST", monotonic=lambda: self.seconds, observe=self.events.append
        )

    def finished(self, status: int = 200) -> RequestFinished:
        """End the request, and return what was announced."""
        self.record.request_finished(status)
        event = self.events[-1]
        assert isinstance(event, RequestFinished)
        return event


@pytest.fixture
def bench() -> Bench:
    """The record of a request that has just arrived."""
    return Bench()


def test_a_request_that_fails_early_is_reported_with_what_is_known(
    bench: Bench,
) -> None:
    """Its client is unknown, its path is empty, and no overhead is counted."""
    bench.seconds += 2.0
    bench.record.set_error(NotFound("nothing here"))
    assert bench.finished(404) == RequestFinished(
        client="",
        profile="",
        method="POST",
        path="",
        status=404,
        attempts=0,
        code="not_found",
        overhead_seconds=None,
        duration_seconds=2.0,
    )


def test_a_request_is_reported_with_all_that_was_noted(bench: Bench) -> None:
    """Waits for others are no overhead; what follows the head is none either."""
    record = bench.record
    record.set_client("laptop")
    record.set_path("/codex/responses")
    record.set_profile("work")
    bench.seconds += 0.25  # the relay's own
    for wait in (1.0, 2.0):
        started_at = record.now()
        record.attempt_started()
        bench.seconds += wait
        record.waited_since(started_at)
    bench.seconds += 0.5  # the relay's own
    record.head_sent()
    bench.seconds += 60.0
    assert bench.finished() == RequestFinished(
        client="laptop",
        profile="work",
        method="POST",
        path="/codex/responses",
        status=200,
        attempts=2,
        code=None,
        overhead_seconds=0.75,
        duration_seconds=63.75,
    )


def test_a_recovery_is_announced_from_its_first_401_on(bench: Bench) -> None:
    """A second 401 does not start it again."""
    bench.record.set_profile("work")
    bench.seconds += 1.0
    bench.record.recovery_started()
    bench.seconds += 2.0
    bench.record.recovery_started()
    bench.seconds += 4.0
    bench.record.recovery_finished(RecoveryPath.RELOAD, RecoveryOutcome.RECOVERED, 7)
    assert bench.events == [
        RecoveryFinished("work", RecoveryPath.RELOAD, RecoveryOutcome.RECOVERED, 7, 6.0)
    ]


def test_without_a_401_no_recovery_is_announced(bench: Bench) -> None:
    """The exchange reports the end of every request."""
    bench.record.recovery_finished(RecoveryPath.NONE, RecoveryOutcome.RECOVERED, 7)
    assert bench.events == []
