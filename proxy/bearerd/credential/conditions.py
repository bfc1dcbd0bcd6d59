"""The one state of a profile, and why it is in it.

What requests get, the status page, `/readyz`, `bearerd status --check`, metrics and
notices are all derived from `ProfileState`, which `assess` computes from `Facts`. No
other place decides whether a profile works.

A profile has any number of conditions at a time, as an object in Kubernetes has; the
most severe one names its state:

| # | facts | condition | state | a person must act |
|---|---|---|---|---|
| 1 | the store holds another account | `account_changed` | blocked | yes |
| 2 | the store holds no login | `login_required` | blocked | yes |
| 3 | no login is known, and the store cannot be read | `store_unavailable` | blocked | yes |
| 4 | the refresh token is refused for good; the access token is over | its error | blocked | yes |
| 5 | the refresh fails; the access token has expired | its error | blocked | if it lasts |
| 6 | the refresh token is refused for good; the access token lives | its error | degraded | yes |
| 7 | the store cannot be read or is torn, while a login is held | `store_*` | degraded | yes |
| 8 | the login is in memory only | `unsaved` | degraded | yes |
| 9 | the refresh fails; the access token has not expired | its error | degraded | if it lasts |
| 10 | the upstream rejects what is held | `upstream_rejects` | degraded | if it lasts |
| 11 | the access token has expired; a refresh comes next | `expired` | degraded | if it lasts |
| 12 | none of these | | usable | no |

"Over" is expired by the clock, or rejected by the upstream with no acceptance since. A
token that is only rejected is still sent (5, 9): the upstream may be wrong, and what it
answers then is the way back. "If it lasts" is after `PERSON_AFTER_SECONDS`, or at once
for a fault of the settings. The code of `AuthorityUnavailable` stands for its subtypes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import TypeAlias

from bearerd.errors import (
    AccountChanged,
    AuthorityUnavailable,
    BearerdError,
    LoginRequired,
    StoreUnavailable,
)

PERSON_AFTER_SECONDS = 600.0
"""A passing failure that lasts this long is one that a person should look at."""

SIGN_IN_CODES = frozenset({LoginRequired.code, AccountChanged.code})
"""The codes of what a sign-in, or `bearerd adopt`, ends."""

StoreProblem: TypeAlias = LoginRequired | AccountChanged | StoreUnavailable


class StateKind(Enum):
    """Usable: served. Degraded: served, but something is wrong. Blocked: refused."""

    USABLE = "usable"
    DEGRADED = "degraded"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class RefreshProblem:
    """Why the last refresh gave nothing.

    *is_final* is true of a refusal for good; *is_misconfigured* of a client or endpoint
    that the authority rejects. *retry_at* is epoch seconds, or None.
    """

    error: BearerdError
    is_final: bool = False
    is_misconfigured: bool = False
    retry_at: float | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """All that decides the state of a profile.

    *store_problem* is what the last look at the store found; *is_store_blocking* tells
    that it holds for what is in memory too.
    """

    has_credential: bool = False
    is_expired: bool = False
    is_rejected: bool = False
    is_unsaved: bool = False
    store_problem: StoreProblem | None = None
    is_store_blocking: bool = False
    refresh_problem: RefreshProblem | None = None


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that is wrong. *message* names it, the reason and the remedy.

    *error* is what requests get, or None if it blocks none. *reason* is the code's
    detail, such as `reused` for a login that is required.
    """

    code: str
    message: str
    error: BearerdError | None = None
    needs_person: bool = False
    reason: str | None = None
    retry_at: float | None = None

    @property
    def is_blocking(self) -> bool:
        """True if requests are refused because of it."""
        return self.error is not None


@dataclass(frozen=True, slots=True)
class ProfileState:
    """The state of a profile. Times are epoch seconds.

    *code*, *message* and *needs_person* are those of the most severe condition; *since*
    is when the profile came into this state with this code. *needs_sign_in* is true from
    a condition that a sign-in, or `bearerd adopt`, ends until the profile works again:
    a store that cannot be read meanwhile is no end of it.
    """

    kind: StateKind
    since: float
    code: str | None = None
    reason: str | None = None
    message: str | None = None
    needs_person: bool = False
    needs_sign_in: bool = False
    retry_at: float | None = None
    conditions: tuple[Condition, ...] = ()

    @property
    def error(self) -> BearerdError | None:
        """What requests get, or None while they are served."""
        return self.conditions[0].error if self.conditions else None


def assess(facts: Facts) -> tuple[Condition, ...]:
    """Return the conditions that *facts* amount to, the most severe first."""
    found = [
        condition
        for row in (_store_blocks, _refresh_blocks, _refresh_ends, _store_troubles)
        if (condition := row(facts)) is not None
    ]
    if facts.is_unsaved:  # 8
        found.append(
            Condition(
                "unsaved",
                "the login is in memory only, because the store cannot be written; it "
                "is lost if bearerd is killed now",
                needs_person=True,
            )
        )
    problem = facts.refresh_problem
    if problem is not None and not problem.is_final and not facts.is_expired:  # 9
        found.append(_failing(problem))
    if facts.is_rejected and not any(one.is_blocking for one in found):  # 10
        found.append(
            Condition(
                "upstream_rejects",
                "the upstream rejects the access token; a refresh follows the next "
                "request",
            )
        )
    if facts.is_expired and not found:  # 11
        found.append(Condition("expired", "the access token has expired"))
    return tuple(found)


def state_of(
    conditions: tuple[Condition, ...],
    *,
    now: float,
    before: ProfileState | None,
) -> ProfileState:
    """Return the state that *conditions* amount to; *before* is the last one.

    A state keeps its *since* while kind and code stay the same.
    """
    first = conditions[0] if conditions else None
    kind = StateKind.USABLE
    if first is not None:
        kind = StateKind.BLOCKED if first.is_blocking else StateKind.DEGRADED
    code = first.code if first else None
    is_same = before is not None and (before.kind, before.code) == (kind, code)
    since = before.since if before is not None and is_same else now
    has_lasted = first is not None and now - since >= PERSON_AFTER_SECONDS
    needed_sign_in = before is not None and before.needs_sign_in
    is_blocked = kind is StateKind.BLOCKED
    return ProfileState(
        kind=kind,
        since=since,
        code=code,
        reason=first.reason if first else None,
        message=first.message if first else None,
        needs_person=first is not None and (first.needs_person or has_lasted),
        needs_sign_in=code in SIGN_IN_CODES or (needed_sign_in and is_blocked),
        retry_at=first.retry_at if first else None,
        conditions=conditions,
    )


class StateTracker:
    """Owns the last state of a profile, and reports each change once.

    *changed* is called with the state before and the state now.
    """

    def __init__(
        self,
        now: Callable[[], float],
        changed: Callable[[ProfileState, ProfileState], None],
    ) -> None:
        self._now = now
        self._changed = changed
        self._state = ProfileState(StateKind.USABLE, now())

    def update(self, facts: Facts) -> ProfileState:
        """Return the state that *facts* amount to now."""
        before = self._state
        self._state = state_of(assess(facts), now=self._now(), before=before)
        if _lasting(before) != _lasting(self._state):
            self._changed(before, self._state)
        return self._state


def _lasting(state: ProfileState) -> ProfileState:
    """Return *state* without what changes while it stays the same."""
    return replace(state, retry_at=None, conditions=())


def _is_over(facts: Facts) -> bool:
    return facts.is_expired or facts.is_rejected


def _store_blocks(facts: Facts) -> Condition | None:  # 1, 2, 3
    problem = facts.store_problem
    if problem is None or (facts.has_credential and not facts.is_store_blocking):
        return None
    return _for_person(problem, is_blocking=True)


def _refresh_blocks(facts: Facts) -> Condition | None:  # 4, 5
    problem = facts.refresh_problem
    if problem is None:
        return None
    if problem.is_final and _is_over(facts):  # 4
        return _for_person(problem.error, is_blocking=True)
    if not problem.is_final and facts.is_expired:  # 5
        return replace(_failing(problem), error=problem.error)
    return None


def _refresh_ends(facts: Facts) -> Condition | None:  # 6
    problem = facts.refresh_problem
    if problem is None or not problem.is_final or _is_over(facts):
        return None
    return _for_person(problem.error, is_blocking=False)


def _store_troubles(facts: Facts) -> Condition | None:  # 7
    problem = facts.store_problem
    if problem is None or not facts.has_credential or facts.is_store_blocking:
        return None
    is_unavailable = isinstance(problem, StoreUnavailable)
    code = problem.code if is_unavailable else "store_unreadable"
    return Condition(code, problem.message, needs_person=True)


def _for_person(error: BearerdError, *, is_blocking: bool) -> Condition:
    """Return the condition of an error that only a person can end."""
    return Condition(
        error.code,
        error.message,
        error if is_blocking else None,
        needs_person=True,
        reason=error.reason if isinstance(error, LoginRequired) else None,
    )


def _failing(problem: RefreshProblem) -> Condition:
    """Return the condition of a refresh that fails and is tried again."""
    code = problem.error.code
    if isinstance(problem.error, AuthorityUnavailable):
        code = AuthorityUnavailable.code
    return Condition(
        code,
        problem.error.message,
        needs_person=problem.is_misconfigured,
        retry_at=problem.retry_at,
    )
