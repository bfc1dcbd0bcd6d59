"""The form of an event in the log and in the event stream: name, level and fields.

`CredentialRefreshed` is `credential.refreshed`, in both.
"""

from __future__ import annotations

import dataclasses
import re
from enum import Enum
from typing import Literal, TypeAlias, get_args

from bearerd.events import (
    CredentialHeldInMemory,
    Event,
    LockWaited,
    LoginNeeded,
    RecoveryFinished,
    RecoveryOutcome,
    RefreshFailed,
    ReplayAbandoned,
    RequestFinished,
    StoreTroubled,
)

Level: TypeAlias = Literal["debug", "info", "warning", "error"]

LEVELS: dict[Level, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}
"""The levels, with the numbers of the standard library's logging."""

_WORD = re.compile(r"[A-Z][a-z0-9]*")

SERVER_ERROR = 500
"""The first status that is not the client's fault (RFC 9110 section 15.6)."""


def event_name(kind: type) -> str:
    """Return the name of a class of events: its first word, a dot, and the others."""
    subject, *happened = _WORD.findall(kind.__name__)
    return f"{subject}.{'_'.join(happened)}".lower()


EVENT_NAMES: dict[type, str] = {kind: event_name(kind) for kind in get_args(Event)}


def event_fields(event: Event) -> dict[str, object]:
    """Return the fields of *event*: durations to the microsecond, enums as text."""
    return {
        field.name: _plain(getattr(event, field.name))
        for field in dataclasses.fields(event)
    }


def event_level(event: Event) -> Level:
    """Return the level of *event*; it is info unless the table says otherwise."""
    match event:
        case RequestFinished():
            return _request_level(event)
        case RecoveryFinished():
            is_well = event.outcome is RecoveryOutcome.RECOVERED
            return "info" if is_well else "warning"
        # A login in memory only is lost if this process ends.
        case LoginNeeded() | CredentialHeldInMemory():
            return "error"
        # An outage is one line, not one for each try.
        case RefreshFailed(is_repeated=True) | LockWaited() | ReplayAbandoned():
            return "debug"
        case RefreshFailed() | StoreTroubled():
            return "warning"
        case _:
            return "info"


def _request_level(event: RequestFinished) -> Level:
    """Return debug for a relayed request, and more for one that bearerd answered."""
    if event.status >= SERVER_ERROR:
        return "warning"
    return "debug" if event.code is None else "info"


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    return round(value, 6) if isinstance(value, float) else value
