"""The state of a profile and its conditions.

The responses to requests, the status page, `/readyz`, `bearerd status --check`, metrics
and notices are all derived from `ProfileState`, which `assess` computes from `Facts`. No
other module decides whether a profile works.

A profile can have several conditions at a time, like an object in Kubernetes. The most
severe one determines the state:

| # | facts | condition | state | operator must act |
|---|---|---|---|---|
| 1 | the store holds another account | `account_changed` | blocked | yes |
| 2 | the store holds no login | `login_required` | blocked | yes |
| 3 | no credential is cached, and the store cannot be read | `store_unavailable` | blocked | yes |
| 4 | the refresh token was refused permanently; the access token is dead | its error | blocked | yes |
| 5 | the refresh fails; the access token is dead | its error | blocked | if it persists |
| 6 | the refresh token was refused permanently; the access token is alive | its error | degraded | yes |
| 7 | the store cannot be read or is torn, and a credential is cached | `store_*` | degraded | yes |
| 8 | the login is in memory only | `unsaved` | degraded | yes |
| 9 | the refresh fails; the access token is alive | its error | degraded | if it persists |
| 10 | the upstream rejects the access token; a refresh is next | `upstream_rejects` | degraded | if it persists |
| 11 | the access token has expired; a refresh is next | `expired` | degraded | if it persists |
| 12 | none of these | | usable | no |

An access token is dead if it has expired, or if the upstream has rejected it and has not
accepted it since. A token that is only rejected is still sent (4, 5): the upstream may
be wrong, and a success there ends the condition. The background refresh also retries, in
case no request arrives. "If it persists" means after
`PERSON_AFTER_SECONDS`, or at once if the settings are wrong. Subtypes of
`AuthorityUnavailable` share its code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import TypeAlias

from bearerd.errors import (
    AccountChanged,
    BearerdError,
    LoginRequired,
    StoreUnavailable,
)

PERSON_AFTER_SECONDS = 600.0
"""A transient failure that persists this long needs an operator."""

SIGN_IN_CODES = frozenset({LoginRequired.code, AccountChanged.code})
"""The codes of the conditions that a sign-in, or `bearerd adopt`, ends."""

StoreProblem: TypeAlias = LoginRequired | AccountChanged | StoreUnavailable


class StateKind(Enum):
    """The three states of a profile.

    Usable: requests are served. Degraded: requests are served, but something is wrong.
    Blocked: requests are refused.
    """

    USABLE = "usable"
    DEGRADED = "degraded"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class RefreshProblem:
    """Why the last refresh failed.

    *is_final*: the authority refused the refresh token permanently. *is_misconfigured*:
    the authority rejects the client or the endpoint. *retry_at* is the time of the next
    attempt in epoch seconds, or None.
    """

    error: BearerdError
    is_final: bool = False
    is_misconfigured: bool = False
    retry_at: float | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """The input of `assess`: everything that decides the state of a profile.

    *store_problem* is the error of the last read of the store. *is_store_blocking*: that
    error also blocks the cached credential.
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
    """One thing that is wrong with a profile.

    *message* names the thing, the reason and the remedy. *error* is the error that
    requests get, or None if the condition does not block them. *reason* is a detail of
    *code*, such as `reused` for `login_required`.
    """

    code: str
    message: str
    error: BearerdError | None = None
    needs_person: bool = False
    reason: str | None = None
    retry_at: float | None = None

    @property
    def is_blocking(self) -> bool:
        """True if requests are refused because of this condition."""
        return self.error is not None


@dataclass(frozen=True, slots=True)
class ProfileState:
    """The state of a profile. Times are epoch seconds.

    *code*, *message* and *needs_person* are those of the most severe condition. *since*
    is when the profile entered this state with this code. *needs_sign_in* becomes true
    with a condition that a sign-in, or `bearerd adopt`, ends. It stays true until the
    profile works again, even if the store becomes unreadable in the meantime.
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
        """The error that requests get, or None while they are served."""
        return self.conditions[0].error if self.conditions else None


def assess(facts: Facts) -> tuple[Condition, ...]:
    """Return the conditions that follow from *facts*, the most severe first."""
    rules = (_store_blocked, _refresh_blocked, _refresh_refused, _store_degraded)
    found = [condition for rule in rules if (condition := rule(facts)) is not None]
    if facts.is_unsaved:  # 8
        found.append(
            Condition(
                "unsaved",
                "the login is in memory only, because the store cannot be written, and "
                "is lost if bearerd is killed; make the store writable",
                needs_person=True,
            )
        )
    problem = facts.refresh_problem
    is_dead = _is_access_token_dead(facts)
    if problem is not None and not problem.is_final and not is_dead:  # 9
        found.append(_transient(problem))
    if facts.is_rejected and not any(each.is_blocking for each in found):  # 10
        found.append(
            Condition(
                "upstream_rejects",
                "the upstream rejects the access token; the next request starts a "
                "refresh",
            )
        )
    if facts.is_expired and not found:  # 11
        found.append(Condition("expired", "the access token has expired"))
    return tuple(found)


def derive_state(
    conditions: tuple[Condition, ...],
    *,
    now: float,
    before: ProfileState | None,
) -> ProfileState:
    """Return the state that follows from *conditions*; *before* is the previous state.

    *since* does not change while kind and code stay the same.
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

    *on_change* is called with the previous state and the new one.
    """

    def __init__(
        self,
        now: Callable[[], float],
        on_change: Callable[[ProfileState, ProfileState], None],
    ) -> None:
        self._now = now
        self._on_change = on_change
        self._state = ProfileState(StateKind.USABLE, now())

    @property
    def state(self) -> ProfileState:
        """The state at the last `update`."""
        return self._state

    def update(self, facts: Facts) -> ProfileState:
        """Return the state that follows from *facts* now."""
        before = self._state
        self._state = derive_state(assess(facts), now=self._now(), before=before)
        if _comparable(before) != _comparable(self._state):
            self._on_change(before, self._state)
        return self._state


def _comparable(state: ProfileState) -> ProfileState:
    """Return *state* without the fields whose change is not reported."""
    return replace(state, retry_at=None, conditions=())


def _is_access_token_dead(facts: Facts) -> bool:
    return facts.is_expired or facts.is_rejected


def _store_blocked(facts: Facts) -> Condition | None:  # 1, 2, 3
    problem = facts.store_problem
    if problem is None or (facts.has_credential and not facts.is_store_blocking):
        return None
    return _terminal(problem, is_blocking=True)


def _refresh_blocked(facts: Facts) -> Condition | None:  # 4, 5
    problem = facts.refresh_problem
    if problem is None or not _is_access_token_dead(facts):
        return None
    if problem.is_final:  # 4
        return _terminal(problem.error, is_blocking=True)
    return replace(_transient(problem), error=problem.error)  # 5


def _refresh_refused(facts: Facts) -> Condition | None:  # 6
    problem = facts.refresh_problem
    if problem is None or not problem.is_final or _is_access_token_dead(facts):
        return None
    return _terminal(problem.error, is_blocking=False)


def _store_degraded(facts: Facts) -> Condition | None:  # 7
    problem = facts.store_problem
    if problem is None or not facts.has_credential or facts.is_store_blocking:
        return None
    is_unavailable = isinstance(problem, StoreUnavailable)
    code = problem.code if is_unavailable else "store_unreadable"
    return Condition(code, problem.message, needs_person=True)


def _terminal(error: BearerdError, *, is_blocking: bool) -> Condition:
    """Return the condition for an error that stays until a person acts."""
    return Condition(
        error.code,
        error.message,
        error if is_blocking else None,
        needs_person=True,
        reason=error.reason if isinstance(error, LoginRequired) else None,
    )


def _transient(problem: RefreshProblem) -> Condition:
    """Return the condition for a refresh that failed and will be retried."""
    return Condition(
        problem.error.code,
        problem.error.message,
        needs_person=problem.is_misconfigured,
        retry_at=problem.retry_at,
    )
