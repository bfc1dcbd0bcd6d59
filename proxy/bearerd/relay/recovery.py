"""What follows a 401: the whole decision, and no deed.

Rules, for whoever changes this file:

1. Every state, outcome and transition is in the one table.
2. Nothing here knows a clock, a file or the network. The exchange does the deeds and
   reports an outcome.
3. The table has no cycle, and three of its states send: a request is sent at most
   three times.
"""

from __future__ import annotations

from enum import Enum
from types import MappingProxyType


class State(Enum):
    """Where one request stands. The first three of them wait for a response."""

    SENT = "sent"
    RESENT = "resent"
    RENEWED = "renewed"
    RELOAD = "reload"
    REFRESH = "refresh"
    DELIVER = "deliver"


class Outcome(Enum):
    """What came of the deed that a state asks for."""

    ANSWERED = "answered"  # any response but a 401 about our token
    REFUSED = "refused"  # a 401 about our token
    SUPERSEDED = "superseded"  # the same, and a newer credential is held already
    FOUND = "found"  # the store has another credential of this account
    UNCHANGED = "unchanged"  # the store has the credential that was refused
    RENEWED = "renewed"  # a refresh gave, or found, a credential that is not refused
    FAILED = "failed"  # account changed, nothing stored, or no refresh to be had


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


def after(state: State, outcome: Outcome) -> State:
    """Return the state that follows. An outcome that a state cannot have is an error.

    Raises:
        LookupError: the caller reported what cannot happen in this state.
    """
    try:
        return TRANSITIONS[state, outcome]
    except KeyError:
        raise LookupError(f"no {outcome.value} in state {state.value}") from None
