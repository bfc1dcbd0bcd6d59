"""The one state of a profile: each row of the table, precedence, since, and events."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bearerd.credential.conditions import (
    PERSON_AFTER_SECONDS,
    Condition,
    Facts,
    ProfileState,
    RefreshProblem,
    StateKind,
    StateTracker,
    assess,
    derive_state,
)
from bearerd.credential.status import state_events
from bearerd.errors import (
    AccountChanged,
    AuthorityUnavailable,
    LoginRequired,
    RefreshThrottled,
    StoreUnavailable,
)
from bearerd.events import Event, LoginNeeded, LoginRestored, StoreTroubled
from tests.credential.stand_ins import START

MISSING = LoginRequired("there is no file", reason="missing")
NO_LOGIN = LoginRequired("an API key", reason="no_login")
TORN = LoginRequired("it is torn", reason="unreadable")
OTHER = AccountChanged("another account")
AWAY = StoreUnavailable("the mount is missing", retry_after_seconds=5)
REVOKED = RefreshProblem(LoginRequired("revoked", reason="revoked"), is_final=True)
FOREIGN_GRANT = RefreshProblem(OTHER, is_final=True)
FAILING = RefreshProblem(AuthorityUnavailable("the authority answered 502"))
PAUSED = replace(FAILING, retry_at=START + 60)
THROTTLED = RefreshProblem(RefreshThrottled("the budget is spent"))
LOCKED = RefreshProblem(StoreUnavailable("process 7 has held the lock"))
MISCONFIGURED = RefreshProblem(
    AuthorityUnavailable("correct client_id"), is_misconfigured=True
)

HELD = Facts(has_credential=True)
EXPIRED = replace(HELD, is_expired=True)
REJECTED = replace(HELD, is_rejected=True)


def blocked_by(problem: LoginRequired | AccountChanged | StoreUnavailable) -> Facts:
    """Return the facts of a profile that holds a login and may not use it."""
    return replace(HELD, store_problem=problem, is_store_blocking=True)


def describe(condition: Condition) -> str:
    """Return a condition in short: code, kind, and whether a person must act at once."""
    kind = "blocked" if condition.is_blocking else "degraded"
    return f"{condition.code} {kind}{' person' if condition.needs_person else ''}"


# The numbers are those of the table in conditions.py.
ROWS = [
    ("1", blocked_by(OTHER), ["account_changed blocked person"]),
    ("1", Facts(store_problem=OTHER), ["account_changed blocked person"]),
    ("2", Facts(store_problem=MISSING), ["login_required blocked person"]),
    ("2", blocked_by(NO_LOGIN), ["login_required blocked person"]),
    ("2", Facts(store_problem=TORN), ["login_required blocked person"]),
    ("3", Facts(store_problem=AWAY), ["store_unavailable blocked person"]),
    (
        "4",
        replace(EXPIRED, refresh_problem=REVOKED),
        ["login_required blocked person"],
    ),
    (
        "4",
        replace(REJECTED, refresh_problem=REVOKED),
        ["login_required blocked person"],
    ),
    (
        "4",
        replace(EXPIRED, refresh_problem=FOREIGN_GRANT),
        ["account_changed blocked person"],
    ),
    ("5", replace(EXPIRED, refresh_problem=FAILING), ["authority_unavailable blocked"]),
    (
        "5",
        replace(EXPIRED, refresh_problem=THROTTLED),
        ["authority_unavailable blocked"],
    ),
    (
        "5",
        replace(EXPIRED, refresh_problem=MISCONFIGURED),
        ["authority_unavailable blocked person"],
    ),
    ("5", replace(EXPIRED, refresh_problem=LOCKED), ["store_unavailable blocked"]),
    (
        "5",
        replace(REJECTED, refresh_problem=FAILING),
        ["authority_unavailable blocked"],
    ),
    (
        "5",
        replace(REJECTED, refresh_problem=THROTTLED),
        ["authority_unavailable blocked"],
    ),
    ("6", replace(HELD, refresh_problem=REVOKED), ["login_required degraded person"]),
    (
        "6",
        replace(HELD, refresh_problem=FOREIGN_GRANT),
        ["account_changed degraded person"],
    ),
    ("7", replace(HELD, store_problem=AWAY), ["store_unavailable degraded person"]),
    ("7", replace(HELD, store_problem=TORN), ["store_unreadable degraded person"]),
    ("7", replace(HELD, store_problem=MISSING), ["store_unreadable degraded person"]),
    ("8", replace(HELD, is_unsaved=True), ["unsaved degraded person"]),
    ("9", replace(HELD, refresh_problem=FAILING), ["authority_unavailable degraded"]),
    (
        "9",
        replace(HELD, refresh_problem=MISCONFIGURED),
        ["authority_unavailable degraded person"],
    ),
    ("9", replace(HELD, refresh_problem=LOCKED), ["store_unavailable degraded"]),
    ("10", REJECTED, ["upstream_rejects degraded"]),
    ("10", replace(REJECTED, is_expired=True), ["upstream_rejects degraded"]),
    ("11", EXPIRED, ["expired degraded"]),
    ("12", HELD, []),
    ("12", Facts(), []),
]


@pytest.mark.parametrize(("row", "facts", "expected"), ROWS)
def test_each_row_of_the_table(row: str, facts: Facts, expected: list[str]) -> None:
    """The facts, and the conditions that they amount to."""
    assert row
    assert [describe(condition) for condition in assess(facts)] == expected


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        # The store's block comes before everything else.
        (
            replace(
                blocked_by(OTHER),
                is_expired=True,
                is_unsaved=True,
                refresh_problem=REVOKED,
            ),
            ["account_changed", "login_required", "unsaved"],
        ),
        # A dead login comes before a store that is in trouble.
        (
            replace(EXPIRED, refresh_problem=REVOKED, store_problem=AWAY),
            ["login_required", "store_unavailable"],
        ),
        (
            replace(EXPIRED, refresh_problem=FAILING, is_unsaved=True),
            ["authority_unavailable", "unsaved"],
        ),
        # What a person must do comes before what may pass.
        (
            replace(HELD, refresh_problem=FAILING, store_problem=TORN, is_unsaved=True),
            ["store_unreadable", "unsaved", "authority_unavailable"],
        ),
        (
            replace(REJECTED, store_problem=TORN, is_unsaved=True),
            ["store_unreadable", "unsaved", "upstream_rejects"],
        ),
        # What refuses every request comes before that.
        (
            replace(
                REJECTED, refresh_problem=FAILING, store_problem=TORN, is_unsaved=True
            ),
            ["authority_unavailable", "store_unreadable", "unsaved"],
        ),
        # A rejection adds nothing if requests are refused anyway.
        (replace(REJECTED, refresh_problem=REVOKED), ["login_required"]),
        # An expired token is no condition of its own beside its cause.
        (replace(EXPIRED, refresh_problem=FAILING), ["authority_unavailable"]),
    ],
)
def test_the_most_severe_condition_is_first(facts: Facts, expected: list[str]) -> None:
    """It names the state."""
    conditions = assess(facts)
    assert [condition.code for condition in conditions] == expected
    state = derive_state(conditions, now=START, before=None)
    assert state.code == expected[0]
    assert state.conditions == conditions


@pytest.mark.parametrize(("row", "facts", "expected"), ROWS)
def test_a_state_is_that_of_its_first_condition(
    row: str, facts: Facts, expected: list[str]
) -> None:
    """Blocked is what refuses requests, with the error that they get."""
    assert row
    state = derive_state(assess(facts), now=START, before=None)
    first = expected[0].split() if expected else [None, "usable"]
    assert (state.code, state.kind.value) == tuple(first[:2])
    assert (state.error is not None) == (state.kind is StateKind.BLOCKED)
    assert state.needs_person == (len(first) > 2)
    assert (state.message is None) == (state.kind is StateKind.USABLE)


def test_requests_get_the_very_error() -> None:
    """So that its type, message and Retry-After are those of the cause."""
    for facts, error in (
        (Facts(store_problem=AWAY), AWAY),
        (replace(EXPIRED, refresh_problem=REVOKED), REVOKED.error),
        (replace(EXPIRED, refresh_problem=THROTTLED), THROTTLED.error),
    ):
        assert derive_state(assess(facts), now=START, before=None).error is error


def test_reason_and_next_attempt_are_part_of_the_state() -> None:
    """As far as the condition has them."""
    revoked = derive_state(
        assess(Facts(store_problem=NO_LOGIN)), now=START, before=None
    )
    assert (revoked.reason, revoked.retry_at) == ("no_login", None)
    failing = replace(HELD, refresh_problem=PAUSED)
    state = derive_state(assess(failing), now=START, before=None)
    assert (state.reason, state.retry_at) == (None, START + 60)


# Since when.


def states(*steps: tuple[float, Facts]) -> list[ProfileState]:
    """Return the states of a profile that has these facts at these times."""
    found: list[ProfileState] = []
    for now, facts in steps:
        before = found[-1] if found else None
        found.append(derive_state(assess(facts), now=START + now, before=before))
    return found


def test_since_stays_while_kind_and_code_do() -> None:
    """Another message is no new state; another code or kind is one."""
    failing = replace(HELD, refresh_problem=FAILING)
    found = states(
        (0, HELD),
        (5, failing),
        (9, replace(HELD, refresh_problem=PAUSED)),
        (12, replace(failing, is_expired=True)),
        (20, replace(EXPIRED, refresh_problem=REVOKED)),
        (30, HELD),
    )
    assert [state.since - START for state in found] == [0, 5, 5, 12, 20, 30]


@pytest.mark.parametrize(
    "facts",
    [
        replace(HELD, refresh_problem=FAILING),
        replace(EXPIRED, refresh_problem=FAILING),
        REJECTED,
        EXPIRED,
    ],
    ids=["9", "5", "10", "11"],
)
def test_what_should_pass_and_lasts_needs_a_person(facts: Facts) -> None:
    """After ten minutes, and not before; a change of the state resets the time."""
    almost = PERSON_AFTER_SECONDS - 0.1
    found = states(
        (0, facts),
        (almost, facts),
        (PERSON_AFTER_SECONDS, facts),
        (PERSON_AFTER_SECONDS + 1, HELD),
        (PERSON_AFTER_SECONDS + 2, facts),
    )
    assert [state.needs_person for state in found] == [False, False, True, False, False]


def test_a_usable_profile_needs_no_person_however_long() -> None:
    """Nothing is wrong with it."""
    assert not states((0, HELD), (1e9, HELD))[-1].needs_person


# Events.


class Listener:
    """A tracker whose clock a test moves, and the events of its changes."""

    def __init__(self) -> None:
        self.now = START
        self.events: list[Event] = []
        self.changes = 0
        self.tracker = StateTracker(lambda: self.now, self._changed)

    def _changed(self, before: ProfileState, now: ProfileState) -> None:
        self.changes += 1
        self.events.extend(state_events("work", before, now, 3))

    def after(self, *facts: Facts) -> list[Event]:
        """Return the events of these facts, one after the other, a second apart."""
        self.events.clear()
        for one in facts:
            self.now += 1
            self.tracker.update(one)
        return list(self.events)


@pytest.mark.parametrize(
    ("facts", "event"),
    [
        (
            Facts(store_problem=MISSING),
            LoginNeeded("work", "login_required", "missing", MISSING.message),
        ),
        (
            blocked_by(OTHER),
            LoginNeeded("work", "account_changed", "account_changed", OTHER.message),
        ),
        (
            replace(HELD, refresh_problem=REVOKED),
            LoginNeeded("work", "login_required", "revoked", "revoked"),
        ),
        (
            replace(HELD, store_problem=TORN),
            StoreTroubled("work", TORN.message),
        ),
        (Facts(store_problem=AWAY), StoreTroubled("work", AWAY.message)),
    ],
)
def test_a_change_is_announced_once(facts: Facts, event: Event) -> None:
    """However often the facts are looked at."""
    listener = Listener()
    assert listener.after(facts, facts, facts) == [event]
    assert listener.changes == 1


def test_another_message_is_news_and_so_is_the_first_again() -> None:
    """A person reads what is wrong now."""
    found = Listener().after(
        Facts(store_problem=MISSING), blocked_by(OTHER), Facts(store_problem=MISSING)
    )
    assert [type(event) for event in found] == [LoginNeeded] * 3


def test_a_login_that_ends_while_it_is_served_is_not_announced_again() -> None:
    """6 becomes 4 when the access token ends; the sign-in was announced."""
    dead = replace(HELD, refresh_problem=REVOKED)
    listener = Listener()
    assert len(listener.after(dead, replace(dead, is_expired=True))) == 1
    assert listener.changes == 2


@pytest.mark.parametrize(
    "between",
    [
        (),
        (Facts(store_problem=AWAY),),
        (blocked_by(AWAY), Facts(store_problem=AWAY)),
    ],
    ids=["at-once", "store-away", "store-away-longer"],
)
def test_the_end_of_a_needed_sign_in_is_announced_when_the_profile_works(
    between: tuple[Facts, ...],
) -> None:
    """A store that becomes unreadable does not end it: there is still no login."""
    listener = Listener()
    listener.after(Facts(store_problem=MISSING))
    assert LoginRestored("work", 3) not in listener.after(*between)
    assert listener.after(HELD, HELD) == [LoginRestored("work", 3)]


def test_a_sign_in_that_nothing_needs_any_more_is_over_while_degraded() -> None:
    """The new login works, and cannot be saved: that is another matter."""
    listener = Listener()
    listener.after(Facts(store_problem=MISSING))
    found = listener.after(replace(HELD, is_unsaved=True))
    assert found == [LoginRestored("work", 3)]


def test_passing_failures_change_the_state_and_announce_nothing() -> None:
    """They are in the log and the metrics as failures."""
    listener = Listener()
    failing = replace(HELD, refresh_problem=FAILING)
    paused = replace(HELD, refresh_problem=PAUSED)
    assert listener.after(failing, paused, HELD) == []
    assert listener.changes == 2, "another retry_at is not a change"


def test_a_usable_profile_is_in_that_state_from_the_start() -> None:
    """Nothing is announced of it."""
    listener = Listener()
    assert listener.after(HELD, HELD) == []
    assert listener.tracker.update(HELD).since == START
