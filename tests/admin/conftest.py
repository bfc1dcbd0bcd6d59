"""Made-up statuses, one of each event, and secrets that must not get out."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any, Final, get_args

import pytest

from bearerd.admin.health import ServiceStatus
from bearerd.credential.status import SourceStatus
from bearerd.events import Event

NOW: Final = 1_800_000_000.0

SECRETS: Final = (
    # An access token, whole and cut off.
    "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJtYWRlLXVwIn0.c2lnbmF0dXJlLW1hZGUtdXA",
    "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJtYW",
    # Refresh tokens, and the sandbox's.
    "rt.1.AAjMadeUpRefreshToken0123456789",
    "rt_MadeUpRefreshToken0123456789",
    "sandbox-rt-default-1-0123456789abcdef01234567",
    # A client key of our own shape.
    "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJleHAiOjQxMDI0NDQ4MDB9.bWFkZS11cA",
    "sk-proj-MadeUpApiKey0123456789",
)
OPERATOR_KEY: Final = "9f2c7a5be4d84e1fa3306b72"


def source(**changes: Any) -> SourceStatus:
    """Return the status of a profile that is well, but for *changes*."""
    well = SourceStatus(
        profile="default",
        store="/data/auth.json",
        state="ready",
        reason=None,
        message=None,
        account_id="acct-made-up",
        generation=3,
        expires_at=NOW + 3600,
        refresh_at=NOW + 3300,
        last_refreshed_at=NOW - 60,
        in_memory_only=False,
        last_error=None,
    )
    return dataclasses.replace(well, **changes)


def missing(**changes: Any) -> SourceStatus:
    """Return the status of a profile that has no credential."""
    nothing = source(
        state="login_required",
        reason="missing",
        message="/data/auth.json: there is no credential file; sign in",
        account_id=None,
        generation=0,
        expires_at=None,
        refresh_at=None,
        last_refreshed_at=None,
    )
    return dataclasses.replace(nothing, **changes)


def service(*sources: SourceStatus, **changes: Any) -> ServiceStatus:
    """Return the status of a daemon with these profiles."""
    status = ServiceStatus(
        version="1.2.3",
        started_at=NOW - 7200,
        draining=False,
        relay=("127.0.0.1:8787",),
        admin=("127.0.0.1:8788",),
        sources=sources or (source(),),
        requests_in_flight=4,
        streams_active=2,
    )
    return dataclasses.replace(status, **changes)


def example(kind: type, text: str) -> Event:
    """Return an event of *kind* whose texts are *text* and whose numbers are 1."""
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for name, hint in hints.items():
        if hint is float or hint == float | None:
            values[name] = 1.0
        elif hint is int:
            values[name] = 1
        elif typing.get_origin(hint) is tuple:
            values[name] = (text, text)
        else:
            values[name] = text
    event: Event = kind(**values)
    return event


KINDS: Final = get_args(Event)


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def kind(request: pytest.FixtureRequest) -> type:
    """Every kind of event, one after the other."""
    found: type = request.param
    return found
