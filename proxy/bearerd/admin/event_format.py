"""How an event is spelled for people and programs: a name, a level and plain fields.

`CredentialRefreshed` is `credential.refreshed`, in the log and in the event stream.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Literal, TypeAlias, get_args

from bearerd.events import (
    CredentialHeldInMemory,
    Event,
    LockWaited,
    LoginNeeded,
    RecoveryFinished,
    RefreshFailed,
    ReplayAbandoned,
    RequestFinished,
    StoreTroubled,
)

Level: TypeAlias = Literal["debug", "info", "warning", "error"]

LEVELS: dict[Level, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}
"""The numbers are those of the standard library's logging."""

_WORD = re.compile(r"[A-Z][a-z0-9]*")

SERVER_ERROR = 500
"""From here on it is not the client's own doing."""


def name_of(kind: type) -> str:
    """Return an event's name: its first word, a dot, and what happened to it."""
    subject, *happened = _WORD.findall(kind.__name__)
    return f"{subject}.{'_'.join(happened)}".lower()


NAMES: dict[type, str] = {kind: name_of(kind) for kind in get_args(Event)}


def fields_of(event: Event) -> dict[str, object]:
    """Return the fields of *event*; durations to the microsecond."""
    return {
        field.name: _rounded(getattr(event, field.name))
        for field in dataclasses.fields(event)
    }


def level_of(event: Event) -> Level:
    """Return how much an operator wants to see *event*; what is not named is info."""
    match event:
        case RequestFinished():
            return _of_request(event)
        case RecoveryFinished():
            is_well = event.outcome in {"recovered", "resource"}
            return "info" if is_well else "warning"
        # As long as a login is held in memory only, this process must not end.
        case LoginNeeded() | CredentialHeldInMemory():
            return "error"
        case RefreshFailed() | StoreTroubled():
            return "warning"
        case LockWaited() | ReplayAbandoned():
            return "debug"
        case _:
            return "info"


def _of_request(event: RequestFinished) -> Level:
    """A request is every day's; one that bearerd answered itself is worth a line."""
    if event.status >= SERVER_ERROR:
        return "warning"
    return "debug" if event.code is None else "info"


def _rounded(value: object) -> object:
    return round(value, 6) if isinstance(value, float) else value
