"""The recovery table, as a table: every way through it, and none that does not end."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest

from bearerd.relay.recovery import SENDING, TRANSITIONS, Outcome, State, after

S, O = State, Outcome  # noqa: E741 - as the table itself writes them
Path = tuple[tuple[State, Outcome], ...]


def paths(state: State, so_far: Path = ()) -> Iterator[Path]:
    """Give every way from *state* to the end. A cycle fails instead of going on."""
    if state is State.DELIVER:
        yield so_far
        return
    assert state not in [seen for seen, _ in so_far], f"{state} is entered twice"
    for (at, outcome), following in TRANSITIONS.items():
        if at is state:
            yield from paths(following, (*so_far, (state, outcome)))


EVERY_PATH = list(paths(State.SENT))


@pytest.mark.parametrize(
    ("story", "expected"),
    [
        ([O.ANSWERED], [S.DELIVER]),
        ([O.SUPERSEDED, O.ANSWERED], [S.RESENT, S.DELIVER]),
        ([O.REFUSED, O.FOUND, O.ANSWERED], [S.RELOAD, S.RESENT, S.DELIVER]),
        (
            [O.REFUSED, O.UNCHANGED, O.RENEWED, O.ANSWERED],
            [S.RELOAD, S.REFRESH, S.RENEWED, S.DELIVER],
        ),
        (
            [O.REFUSED, O.FOUND, O.REFUSED, O.RENEWED, O.REFUSED],
            [S.RELOAD, S.RESENT, S.REFRESH, S.RENEWED, S.DELIVER],
        ),
        (
            [O.SUPERSEDED, O.SUPERSEDED, O.RENEWED, O.SUPERSEDED],
            [S.RESENT, S.REFRESH, S.RENEWED, S.DELIVER],
        ),
        ([O.REFUSED, O.FAILED], [S.RELOAD, S.DELIVER]),
        ([O.REFUSED, O.UNCHANGED, O.FAILED], [S.RELOAD, S.REFRESH, S.DELIVER]),
    ],
    ids=[
        "an-answer-goes-out",
        "a-newer-one-was-held",
        "the-store-had-another",
        "refreshed",
        "all-three-sends",
        "superseded-twice",
        "another-account-or-none",
        "no-refresh-to-be-had",
    ],
)
def test_each_row_of_the_contract_is_in_the_table(
    story: list[Outcome], expected: list[State]
) -> None:
    """What follows a 401, told from the first send to the delivery."""
    state, seen = State.SENT, []
    for outcome in story:
        state = after(state, outcome)
        seen.append(state)
    assert seen == expected


def test_every_state_is_reached_and_every_way_ends() -> None:
    """From SENT, by enumerating all ways; the enumeration itself refuses a cycle."""
    reached = {State.DELIVER} | {state for path in EVERY_PATH for state, _ in path}
    assert reached == set(State)
    used = {step for path in EVERY_PATH for step in path}
    assert used == set(TRANSITIONS)


@pytest.mark.parametrize(
    "path", EVERY_PATH, ids=lambda path: "-".join(step[1].value for step in path)
)
def test_no_way_sends_more_than_three_times(path: Path) -> None:
    """Nor reloads or refreshes more than once."""
    states = [state for state, _ in path]
    assert sum(state in SENDING for state in states) <= 3
    assert states.count(State.RELOAD) <= 1
    assert states.count(State.REFRESH) <= 1


def test_some_way_sends_three_times() -> None:
    """Or the bound would be proved by a table that sends nothing."""
    assert max(sum(state in SENDING for state, _ in path) for path in EVERY_PATH) == 3


@pytest.mark.parametrize(
    ("state", "outcome"),
    [pair for pair in product(State, Outcome) if pair not in TRANSITIONS],
    ids=str,
)
def test_an_impossible_outcome_is_an_error(state: State, outcome: Outcome) -> None:
    """It names both, so that the mistake is found."""
    with pytest.raises(LookupError, match=f"no {outcome.value} in state {state.value}"):
        after(state, outcome)


@pytest.mark.parametrize("state", sorted(SENDING, key=str))
def test_after_a_send_there_is_a_way_for_every_response(state: State) -> None:
    """Answered, refused and superseded are all foreseen; a response is delivered."""
    assert after(state, Outcome.ANSWERED) is State.DELIVER
    assert after(state, Outcome.REFUSED) in State
    assert after(state, Outcome.SUPERSEDED) in State


def test_nobody_can_change_the_table() -> None:
    """It is one for all requests."""
    with pytest.raises(TypeError):
        TRANSITIONS[State.SENT, Outcome.ANSWERED] = State.SENT  # type: ignore[index]
