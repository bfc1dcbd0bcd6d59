"""What a recovery has come to: its outcome, and the field lines for the client."""

from __future__ import annotations

import pytest

from bearerd.errors import (
    AccountChanged,
    AuthorityUnavailable,
    BearerdError,
    LoginRequired,
    StoreError,
    StoreUnavailable,
)
from bearerd.events import RecoveryOutcome, RecoveryPath
from bearerd.relay.recovery_result import RecoveryProgress, outcome_of

RELOAD, REFRESH = RecoveryPath.RELOAD, RecoveryPath.REFRESH
THROTTLED = RecoveryOutcome.REFRESH_THROTTLED
ABANDONED = RecoveryOutcome.REPLAY_ABANDONED


def result(
    *steps: RecoveryPath,
    shortfall: RecoveryOutcome | None = None,
    error: BearerdError | None = None,
) -> RecoveryProgress:
    """Return what a recovery has come to after these steps."""
    made = RecoveryProgress()
    for step in steps:
        made.add_step(step)
    if shortfall is not None:
        made.set_shortfall(shortfall)
    if error is not None:
        made.set_error(error)
    return made


@pytest.mark.parametrize(
    ("made", "status", "outcome", "lines"),
    [
        (result(), 200, RecoveryOutcome.RECOVERED, b""),
        (
            result(RELOAD),
            200,
            RecoveryOutcome.RECOVERED,
            b"x-bearerd-recovery: reload\r\n",
        ),
        (
            result(RELOAD, REFRESH),
            500,
            RecoveryOutcome.RECOVERED,
            b"x-bearerd-recovery: reload, refresh\r\n",
        ),
        (
            result(REFRESH),
            401,
            RecoveryOutcome.REFUSED,
            b"x-bearerd-recovery: refresh\r\n",
        ),
        (
            result(shortfall=THROTTLED),
            401,
            THROTTLED,
            b"x-bearerd-error: refresh_throttled\r\n",
        ),
        (
            result(RELOAD, shortfall=ABANDONED),
            401,
            ABANDONED,
            b"x-bearerd-error: replay_abandoned\r\nx-bearerd-recovery: reload\r\n",
        ),
        (
            result(error=AccountChanged("")),
            401,
            RecoveryOutcome.ACCOUNT_CHANGED,
            b"",
        ),
    ],
)
def test_outcome_and_field_lines_follow_from_what_was_noted(
    made: RecoveryProgress, status: int, outcome: RecoveryOutcome, lines: bytes
) -> None:
    """An error comes before a shortfall, and a shortfall before the status."""
    assert made.outcome(status) is outcome
    assert made.field_lines() == lines


def test_a_dropped_error_leaves_the_shortfall() -> None:
    """With a body that cannot be sent again, the 401 is delivered in any case."""
    made = result(shortfall=ABANDONED, error=LoginRequired("", reason="reused"))
    made.drop_error()
    assert made.error is None
    assert made.outcome(401) is ABANDONED


@pytest.mark.parametrize(
    "error",
    [
        LoginRequired("", reason="missing"),
        AccountChanged(""),
        AuthorityUnavailable(""),
        StoreUnavailable(""),
        StoreError(""),
        BearerdError(""),
    ],
    ids=lambda error: error.code,
)
def test_the_outcome_of_a_failed_recovery_has_the_error_s_code(
    error: BearerdError,
) -> None:
    """Log, metric and response name one failure with one word."""
    assert outcome_of(error).value == error.code
