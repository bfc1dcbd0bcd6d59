"""What follows a 401: the transition table of the recovery. Pure.

Rules for changes of this file:

1. Every state, outcome and transition is in the one table.
2. No clock, file or network is used here. The exchange acts and reports an outcome.
3. The table has no cycle, and three of its states send: a request is sent at most
   three times.
4. docs/recovery.md has the same rows in the same order, and a test compares the two.
"""

from __future__ import annotations

from enum import Enum
from types import MappingProxyType


class State(Enum):
    """The state of one request. In the first three it waits for a response."""

    SENT = "sent"  # with the cached credential
    RESENT = "resent"  # with one that was newer, or was found in the store
    RENEWED = "renewed"  # with one that the authority has just issued
    RELOAD = "reload"  # reading the store
    REFRESH = "refresh"  # asking the authority, or waiting for a refresh in flight
    DELIVER = "deliver"  # the end: the response, or an error, goes to the client


class Outcome(Enum):
    """The outcome of the action that a state stands for."""

    ANSWERED = "answered"  # any response but a 401 about the token
    REFUSED = "refused"  # a 401 about the token
    SUPERSEDED = "superseded"  # such a 401, and a newer credential is cached by now
    FOUND = "found"  # the store has another credential of this account
    UNCHANGED = "unchanged"  # the store has the credential that was refused
    RENEWED = "renewed"  # a refresh issued, or found, another credential
    FAILED = "failed"  # another account, an empty store, or a refresh that failed


_S, _O = State, Outcome

TRANSITIONS: MappingProxyType[tuple[State, Outcome], State] = MappingProxyType(
    {
        (_S.SENT, _O.ANSWERED): _S.DELIVER,
        (_S.SENT, _O.SUPERSEDED): _S.RESENT,
        (_S.SENT, _O.REFUSED): _S.RELOAD,
        (_S.RELOAD, _O.FOUND): _S.RESENT,
        (_S.RELOAD, _O.UNCHANGED): _S.REFRESH,
        (_S.RELOAD, _O.FAILED): _S.DELIVER,
        (_S.RESENT, _O.ANSWERED): _S.DELIVER,
        (_S.RESENT, _O.SUPERSEDED): _S.REFRESH,
        (_S.RESENT, _O.REFUSED): _S.REFRESH,
        (_S.REFRESH, _O.RENEWED): _S.RENEWED,
        (_S.REFRESH, _O.FAILED): _S.DELIVER,
        (_S.RENEWED, _O.ANSWERED): _S.DELIVER,
        (_S.RENEWED, _O.SUPERSEDED): _S.DELIVER,
        (_S.RENEWED, _O.REFUSED): _S.DELIVER,
    }
)

SENDING = frozenset({State.SENT, State.RESENT, State.RENEWED})
"""The states that send the request."""


def next_state(state: State, outcome: Outcome) -> State:
    """Return the state that follows *outcome* in *state*.

    Raises:
        LookupError: this state cannot have this outcome.
    """
    try:
        return TRANSITIONS[state, outcome]
    except KeyError:
        raise LookupError(f"no {outcome.value} in state {state.value}") from None
