"""What stands in the way of a profile: said once, and taken back when it is over."""

from __future__ import annotations

import pytest

from bearerd.credential.conditions import Blocking, Conditions
from bearerd.errors import AccountChanged, LoginRequired
from bearerd.events import Event, LoginNeeded, LoginRestored, RefreshFailed

MISSING = LoginRequired("no file", reason="missing")
OTHER = AccountChanged("another account")
DEAD = LoginRequired("expired for good", reason="expired")


@pytest.fixture
def events() -> list[Event]:
    """All that was told, oldest first."""
    return []


@pytest.fixture
def conditions(events: list[Event]) -> Conditions:
    """No problems yet."""
    return Conditions("work", events.append)


@pytest.mark.parametrize(
    ("problem", "code", "reason"),
    [
        (MISSING, "login_required", "missing"),
        (OTHER, "account_changed", "account_changed"),
    ],
)
def test_a_block_is_said_once(
    conditions: Conditions,
    events: list[Event],
    problem: Blocking,
    code: str,
    reason: str,
) -> None:
    """However often it is met."""
    for _ in range(3):
        assert conditions.block(problem) is problem
    assert events == [LoginNeeded("work", code, reason, problem.message)]
    assert conditions.most_severe is problem


def test_another_block_is_news(conditions: Conditions, events: list[Event]) -> None:
    """And the first one again, after it."""
    for problem in (MISSING, OTHER, MISSING):
        conditions.block(problem)
    assert [type(event) for event in events] == [LoginNeeded] * 3


def test_a_final_word_is_said_once(conditions: Conditions, events: list[Event]) -> None:
    """Every request may run into it."""
    for _ in range(3):
        conditions.set_terminal(DEAD)
    assert len(events) == 1
    assert conditions.terminal is DEAD


@pytest.mark.parametrize(
    ("blocks", "ends", "is_new", "restored"),
    [
        (False, False, True, False),
        (True, False, False, True),
        (True, False, True, True),
        (False, True, True, True),
        (False, True, False, False),
        (True, True, False, False),
        (True, True, True, True),
    ],
)
def test_service_is_restored_when_nothing_stands_in_the_way(
    events: list[Event], blocks: bool, ends: bool, is_new: bool, restored: bool
) -> None:
    """Only a new credential takes back the authority's word."""
    conditions = Conditions("work", events.append)
    if blocks:
        conditions.block(MISSING)
    if ends:
        conditions.set_terminal(DEAD)
    events.clear()
    conditions.clear(3, is_new=is_new)
    assert events == ([LoginRestored("work", 3)] if restored else [])
    assert conditions.blocking is None
    assert (conditions.terminal is None) is (not ends or is_new)


def test_the_same_failure_is_told_once_until_a_refresh_went_well(
    conditions: Conditions, events: list[Event]
) -> None:
    """Another outcome or reason is another failure."""

    def fail(outcome: str, reason: str) -> None:
        conditions.record_failure(
            "refused",
            outcome,  # type: ignore[arg-type]
            reason,
            generation=1,
            duration_seconds=0.5,
        )

    fail("unclear", "http_500")
    fail("unclear", "http_500")
    fail("unclear", "http_502")
    fail("undelivered", "http_502")
    conditions.record_success()
    assert conditions.last_failure is None
    fail("undelivered", "http_502")
    told = [(e.outcome, e.reason) for e in events if isinstance(e, RefreshFailed)]
    assert told == [
        ("unclear", "http_500"),
        ("unclear", "http_502"),
        ("undelivered", "http_502"),
        ("undelivered", "http_502"),
    ]
