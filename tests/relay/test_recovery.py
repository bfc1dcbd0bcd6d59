"""The recovery table: every path through it, and the end of each."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest

from bearerd.relay.recovery import SENDING, TRANSITIONS, Outcome, State, next_state

S, O = State, Outcome  # noqa: E741 - as in the table
Path = tuple[tuple[State, Outcome], ...]


def paths(state: State, so_far: Path = ()) -> Iterator[Path]:
    """Yield every path from *state* to the end. A cycle fails the test."""
    if state is State.DELIVER:
        yield so_far
        return
    assert state not in [seen for seen, _ in so_far], f"{state} is entered twice"
    for (at, outcome), following in TRANSITIONS.items():
        if at is state:
            yield from paths(following, (*so_far, (state, outcome)))


EVERY_PATH = list(paths(State.SENT))


@pytest.mark.parametrize(
    ("outcomes", "expected"),
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
        "answered",
        "a-newer-credential-was-cached",
        "the-store-had-another",
        "refreshed",
        "all-three-sends",
        "superseded-twice",
        "the-reload-failed",
        "the-refresh-failed",
    ],
)
def test_the_outcomes_of_a_request_lead_through_these_states(
    outcomes: list[Outcome], expected: list[State]
) -> None:
    """From the first send to the delivery, as the contract has it."""
    state, states = State.SENT, []
    for outcome in outcomes:
        state = next_state(state, outcome)
        states.append(state)
    assert states == expected


def test_every_state_is_reached_and_every_path_ends() -> None:
    """The enumeration of the paths itself fails on a cycle."""
    reached = {State.DELIVER} | {state for path in EVERY_PATH for state, _ in path}
    assert reached == set(State)
    used = {step for path in EVERY_PATH for step in path}
    assert used == set(TRANSITIONS)


@pytest.mark.parametrize(
    "path", EVERY_PATH, ids=lambda path: "-".join(step[1].value for step in path)
)
def test_no_path_sends_more_than_three_times(path: Path) -> None:
    """It reloads once at most, and refreshes once at most."""
    states = [state for state, _ in path]
    assert sum(state in SENDING for state in states) <= 3
    assert states.count(State.RELOAD) <= 1
    assert states.count(State.REFRESH) <= 1


def test_some_path_sends_three_times() -> None:
    """So the bound is tight."""
    assert max(sum(state in SENDING for state, _ in path) for path in EVERY_PATH) == 3


@pytest.mark.parametrize(
    ("state", "outcome"),
    [pair for pair in product(State, Outcome) if pair not in TRANSITIONS],
    ids=str,
)
def test_an_impossible_outcome_is_an_error(state: State, outcome: Outcome) -> None:
    """It names the state and the outcome."""
    with pytest.raises(LookupError, match=f"no {outcome.value} in state {state.value}"):
        next_state(state, outcome)


@pytest.mark.parametrize("state", sorted(SENDING, key=str))
def test_every_response_to_a_send_has_a_transition(state: State) -> None:
    """Any but a 401 about the token is delivered."""
    assert next_state(state, Outcome.ANSWERED) is State.DELIVER
    assert next_state(state, Outcome.REFUSED) in State
    assert next_state(state, Outcome.SUPERSEDED) in State


def test_the_table_cannot_be_changed() -> None:
    """All requests share it."""
    with pytest.raises(TypeError):
        TRANSITIONS[State.SENT, Outcome.ANSWERED] = State.SENT  # type: ignore[index]
