"""The facts about one profile: what each report changes, and who assesses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from bearerd.credential.cached import CachedCredential
from bearerd.credential.conditions import ProfileState, RefreshProblem, StateKind
from bearerd.credential.profile_facts import ProfileFacts
from bearerd.credential.token import Credential
from bearerd.errors import (
    AccountChanged,
    AuthorityUnavailable,
    LoginRequired,
    StoreUnavailable,
)
from tests.credential.stand_ins import START, credential_for
from tests.support.clock import ManualClock

OTHER = AccountChanged("another account")
AWAY = StoreUnavailable("the mount is missing")
FAILING = RefreshProblem(AuthorityUnavailable("502"), retry_at=START + 60)
REVOKED = RefreshProblem(LoginRequired("revoked", reason="revoked"), is_final=True)


class Profile:
    """The facts of a profile that holds a login of a day."""

    def __init__(self, clock: ManualClock) -> None:
        self.changes: list[tuple[ProfileState, ProfileState]] = []
        self.cached = CachedCredential(
            window_seconds=300.0, clock=clock.clock, jitter=lambda: 0.0
        )
        self.first: Credential = self.cached.set(credential_for("first"))
        self.facts = ProfileFacts(
            self.cached, clock.clock, lambda *change: self.changes.append(change)
        )


@pytest.fixture
def profile(clock: ManualClock) -> Profile:
    """The facts of a profile."""
    return Profile(clock)


@pytest.mark.parametrize(
    "change",
    [
        lambda facts, _: facts.record_store_problem(OTHER, is_blocking=True),
        lambda facts, _: facts.record_refresh_problem(REVOKED),
        lambda facts, _: facts.set_unsaved(is_unsaved=True),
        lambda facts, first: facts.record_rejection(first),
    ],
    ids=["store", "refresh", "unsaved", "rejected"],
)
def test_a_fact_becomes_a_state_when_its_writer_assesses(
    profile: Profile, change: Callable[[ProfileFacts, Credential], None]
) -> None:
    """And not before: what is between two calls is no state of the profile."""
    change(profile.facts, profile.first)
    assert profile.facts.state.kind is StateKind.USABLE
    assert profile.changes == []
    profile.facts.assess()
    profile.facts.assess()
    assert [now for _, now in profile.changes] == [profile.facts.state]
    assert profile.changes[0][1].kind is not StateKind.USABLE


def test_a_read_or_a_write_of_the_store_ends_its_problem_and_the_block(
    profile: Profile,
) -> None:
    """A block without a problem would stop the background refresh for ever."""
    facts = profile.facts
    for end in (facts.record_store_read, facts.record_store_written):
        facts.record_store_problem(OTHER, is_blocking=True)
        facts.record_store_problem(AWAY, is_blocking=False)
        assert facts.is_store_blocking, "a later problem does not end a block"
        end()
        assert (facts.store_problem, facts.is_store_blocking) == (None, False)


@pytest.mark.parametrize(
    ("problem", "is_rejected", "is_due", "is_news", "left"),
    [
        (None, False, False, False, None),
        (None, True, False, True, None),
        (FAILING, False, False, True, None),
        (FAILING, True, False, True, None),
        (FAILING, False, True, False, FAILING),
        (FAILING, True, True, True, FAILING),
        (REVOKED, False, False, False, REVOKED),
        (REVOKED, True, False, True, REVOKED),
    ],
)
def test_what_an_acceptance_ends(
    profile: Profile,
    clock: ManualClock,
    problem: RefreshProblem | None,
    left: RefreshProblem | None,
    *,
    is_rejected: bool,
    is_due: bool,
    is_news: bool,
) -> None:
    """A rejection, and the failure of a refresh that is not due any more."""
    facts = profile.facts
    if problem is not None:
        facts.record_refresh_problem(problem)
    if is_rejected:
        facts.record_rejection(profile.first)
    if is_due:
        clock.advance(24 * 3600.0 - 10)
    assert facts.record_acceptance() is is_news
    assert not facts.is_rejected
    assert facts.refresh_problem == left


def test_a_late_rejection_of_an_earlier_credential_is_no_fact(profile: Profile) -> None:
    """Another one is cached by now; and a new one is not rejected yet."""
    facts = profile.facts
    facts.record_rejection(profile.first)
    found = [facts.is_rejected]
    profile.cached.set(credential_for("second"))
    found.append(facts.is_rejected)
    facts.record_rejection(profile.first)
    assert [*found, facts.is_rejected] == [True, False, False]


def test_a_requested_retry_ends_the_pause_and_is_taken_once(profile: Profile) -> None:
    """The failure itself stays until the retry succeeds."""
    facts = profile.facts
    facts.record_refresh_problem(FAILING)
    facts.request_retry()
    assert facts.refresh_problem == replace(FAILING, retry_at=None)
    taken = [facts.take_retry_request() for _ in range(2)]
    assert taken == [True, False]
