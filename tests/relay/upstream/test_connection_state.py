"""The table of states: where each leads, and that nothing leads out of the last."""

from __future__ import annotations

from bearerd.relay.upstream.connection_state import TRANSITIONS, ConnectionState


def test_every_state_has_its_transitions() -> None:
    """A state that is not in the table could not be left."""
    assert set(TRANSITIONS) == set(ConnectionState)


def test_every_state_but_closed_can_be_closed() -> None:
    """An upstream may close, or break the rules, at any moment."""
    for state, following in TRANSITIONS.items():
        assert (ConnectionState.CLOSED in following) is (
            state is not ConnectionState.CLOSED
        )


def test_nothing_follows_closed_and_only_closed_follows_a_tunnel() -> None:
    """A connection that switched protocols carries no request again."""
    assert TRANSITIONS[ConnectionState.CLOSED] == ()
    assert TRANSITIONS[ConnectionState.TUNNEL] == (ConnectionState.CLOSED,)


def test_every_state_can_be_reached() -> None:
    """From NEW, in some number of steps."""
    reached = {ConnectionState.NEW}
    for _ in ConnectionState:
        reached |= {follower for state in reached for follower in TRANSITIONS[state]}
    assert reached == set(ConnectionState)
