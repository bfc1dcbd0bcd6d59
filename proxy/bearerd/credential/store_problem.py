"""What a problem with the store does to the cached credential. Pure.

The store was read and gave no credential of this profile. The cached credential is *in
use* or *blocked*: it is blocked if the store held another account, or another kind of
login, at an earlier read.

| case | cached credential | problem | action |
|---|---|---|---|
| 1 | in use | the file is torn or cannot be read | `TOLERATE` |
| 2 | in use | the file is missing or has no login, at the first read | `TOLERATE` |
| 3 | blocked | the file is torn or cannot be read | `STAY_BLOCKED` |
| 4 | any or none | the file is missing, and 2 does not apply | `DROP` |
| 5 | any or none | any other, such as another account | `BLOCK` |

1. A write may be in progress, or a disk fails.
2. The read may fall between two writes. At the next read it is a sign-out.
3. The file may still hold the login that blocked the credential.
"""

from __future__ import annotations

from enum import Enum

from bearerd.credential.conditions import StoreProblem
from bearerd.errors import LoginRequired, StoreUnavailable


class ProblemAction(Enum):
    """The actions of the table; see the module."""

    TOLERATE = "tolerate"  # the cached credential stays in use
    STAY_BLOCKED = "stay blocked"  # it stays blocked, for the reason recorded before
    DROP = "drop"  # the login was signed out; no credential is cached any more
    BLOCK = "block"  # no request gets the cached credential


def choose_action(
    problem: StoreProblem,
    *,
    has_credential: bool,
    is_blocked: bool,
    before: StoreProblem | None,
) -> ProblemAction:
    """Return what *problem* does to the cached credential.

    *before* is the problem that was recorded when the read of the store started. It
    decides case 2: of two concurrent reads, neither is the next one.
    """
    reason = login_reason(problem)
    is_unreadable = isinstance(problem, StoreUnavailable) or reason == "unreadable"
    is_first = login_reason(before) != reason
    if has_credential and not is_blocked:
        if is_unreadable:
            return ProblemAction.TOLERATE  # 1
        if reason in ("missing", "no_login") and is_first:
            return ProblemAction.TOLERATE  # 2
    elif has_credential and is_unreadable:
        return ProblemAction.STAY_BLOCKED  # 3
    return ProblemAction.DROP if reason == "missing" else ProblemAction.BLOCK  # 4, 5


def login_reason(problem: StoreProblem | None) -> str | None:
    """Return why a login is required, or None if *problem* is another one."""
    return problem.reason if isinstance(problem, LoginRequired) else None
