"""What a problem with the store does to the cached credential: the table, row by row."""

from __future__ import annotations

import pytest

from bearerd.credential.conditions import StoreProblem
from bearerd.credential.store_problem import ProblemAction, choose_action
from bearerd.errors import AccountChanged, LoginRequired, StoreUnavailable

TORN = LoginRequired("it is torn", reason="unreadable")
MISSING = LoginRequired("there is no file", reason="missing")
NO_LOGIN = LoginRequired("an API key", reason="no_login")
OTHER = AccountChanged("another account")
AWAY = StoreUnavailable("the mount is missing")

TOLERATE = ProblemAction.TOLERATE
STAY_BLOCKED = ProblemAction.STAY_BLOCKED
DROP = ProblemAction.DROP
BLOCK = ProblemAction.BLOCK


@pytest.mark.parametrize(
    ("case", "problem", "before", "expected"),
    [
        (1, TORN, None, TOLERATE),
        (1, TORN, TORN, TOLERATE),
        (1, AWAY, None, TOLERATE),
        (1, AWAY, AWAY, TOLERATE),
        (2, MISSING, None, TOLERATE),
        (2, MISSING, AWAY, TOLERATE),
        (2, MISSING, TORN, TOLERATE),
        (2, MISSING, NO_LOGIN, TOLERATE),
        (2, NO_LOGIN, None, TOLERATE),
        (2, NO_LOGIN, MISSING, TOLERATE),
        (4, MISSING, MISSING, DROP),
        (5, NO_LOGIN, NO_LOGIN, BLOCK),
        (5, OTHER, None, BLOCK),
        (5, OTHER, OTHER, BLOCK),
    ],
)
def test_of_a_credential_in_use(
    case: int,
    problem: StoreProblem,
    before: StoreProblem | None,
    expected: ProblemAction,
) -> None:
    """What may pass is tolerated; a sign-out at the second read."""
    assert case
    action = choose_action(
        problem, has_credential=True, is_blocked=False, before=before
    )
    assert action is expected


@pytest.mark.parametrize("before", [OTHER, NO_LOGIN, None])
@pytest.mark.parametrize(
    ("case", "problem", "expected"),
    [
        (3, TORN, STAY_BLOCKED),
        (3, AWAY, STAY_BLOCKED),
        (4, MISSING, DROP),
        (5, NO_LOGIN, BLOCK),
        (5, OTHER, BLOCK),
    ],
)
def test_of_a_blocked_credential(
    case: int,
    problem: StoreProblem,
    before: StoreProblem | None,
    expected: ProblemAction,
) -> None:
    """No read that fails puts it into use again."""
    assert case
    action = choose_action(problem, has_credential=True, is_blocked=True, before=before)
    assert action is expected


@pytest.mark.parametrize("is_blocked", [True, False])
@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (TORN, BLOCK),
        (AWAY, BLOCK),
        (MISSING, DROP),
        (NO_LOGIN, BLOCK),
        (OTHER, BLOCK),
    ],
)
def test_without_a_credential_every_problem_blocks(
    problem: StoreProblem, expected: ProblemAction, *, is_blocked: bool
) -> None:
    """There is nothing to serve in the meantime."""
    action = choose_action(
        problem, has_credential=False, is_blocked=is_blocked, before=None
    )
    assert action is expected
