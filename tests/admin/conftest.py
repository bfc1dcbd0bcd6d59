"""Made-up statuses, events of every class, and secrets that must not be emitted."""

from __future__ import annotations

import dataclasses
import typing
from enum import EnumType
from typing import Any, Final, get_args

import pytest

from bearerd.admin.status import ServiceStatus
from bearerd.credential.status import SourceStatus
from bearerd.events import Event

NOW: Final = 1_800_000_000.0

SECRETS: Final = (
    # An access token, complete and cut off.
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
    """Return the status of a profile with a valid login, but for *changes*."""
    valid = SourceStatus(
        profile="default",
        store="/data/auth.json",
        state="usable",
        since=NOW - 7200,
        code=None,
        reason=None,
        message=None,
        needs_person=False,
        needs_sign_in=False,
        retry_at=None,
        account_id="acct-made-up",
        generation=3,
        expires_at=NOW + 3600,
        refresh_at=NOW + 3300,
        last_refreshed_at=NOW - 60,
        in_memory_only=False,
        last_error=None,
    )
    return dataclasses.replace(valid, **changes)


def missing(**changes: Any) -> SourceStatus:
    """Return the status of a profile without a login, but for *changes*."""
    empty = source(
        state="blocked",
        since=NOW - 60,
        code="login_required",
        reason="missing",
        message="/data/auth.json: there is no credential file; sign in",
        needs_person=True,
        needs_sign_in=True,
        account_id=None,
        generation=0,
        expires_at=None,
        refresh_at=None,
        last_refreshed_at=None,
    )
    return dataclasses.replace(empty, **changes)


def degraded(**changes: Any) -> SourceStatus:
    """Return the status of a profile whose refresh fails, but for *changes*."""
    failing = source(
        state="degraded",
        since=NOW - 90,
        code="authority_unavailable",
        message="the authority answered 500; the next try is soon",
        retry_at=NOW + 30,
        last_error="undelivered: 500",
    )
    return dataclasses.replace(failing, **changes)


def service(*sources: SourceStatus, **changes: Any) -> ServiceStatus:
    """Return the status of a daemon with these profiles, but for *changes*."""
    status = ServiceStatus(
        version="1.2.3",
        started_at=NOW - 7200,
        is_draining=False,
        relay=("127.0.0.1:8787",),
        admin=("127.0.0.1:8788",),
        sources=sources or (source(),),
        requests_in_flight=4,
        streams_active=2,
    )
    return dataclasses.replace(status, **changes)


def example(kind: type, text: str) -> Event:
    """Return an event of *kind* whose strings are *text* and whose numbers are 1."""
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for name, hint in hints.items():
        if hint is float or hint == float | None:
            values[name] = 1.0
        elif hint is int:
            values[name] = 1
        elif typing.get_origin(hint) is tuple:
            values[name] = (text, text)
        elif isinstance(hint, EnumType):
            (values[name], *_) = hint
        else:
            values[name] = text
    event: Event = kind(**values)
    return event


KINDS: Final = get_args(Event)


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def kind(request: pytest.FixtureRequest) -> type:
    """Every class of events, one after the other."""
    event_class: type = request.param
    return event_class
