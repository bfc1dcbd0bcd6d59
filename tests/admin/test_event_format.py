"""The name, the level and the fields of each event."""

from __future__ import annotations

import re

import pytest

from bearerd.admin.event_format import (
    EVENT_NAMES,
    LEVELS,
    Level,
    event_fields,
    event_level,
)
from bearerd.events import (
    CredentialHeldInMemory,
    CredentialRefreshed,
    Event,
    LoginNeeded,
    RecoveryFinished,
    RecoveryOutcome,
    RecoveryPath,
    RequestFinished,
    ServiceStopped,
)
from tests.admin.conftest import KINDS, NOW, example


def request(status: int = 200, code: str | None = None) -> RequestFinished:
    """Return the end of a request."""
    return RequestFinished("laptop", "default", "POST", "/x", status, 1, code, 0.1, 1.0)


def recovery(outcome: RecoveryOutcome) -> RecoveryFinished:
    """Return the end of a recovery by a reload and a refresh."""
    path = RecoveryPath.RELOAD_AND_REFRESH
    return RecoveryFinished("default", path, outcome, 2, 0.1)


def test_every_class_of_events_has_a_name_of_its_own(kind: type) -> None:
    """A subject, a dot, and what happened."""
    assert re.fullmatch(r"[a-z]+\.[a-z_]+", EVENT_NAMES[kind])
    assert len(set(EVENT_NAMES.values())) == len(KINDS)


def test_the_names_are_the_published_ones() -> None:
    """Dashboards and searches rely on them."""
    assert EVENT_NAMES[CredentialRefreshed] == "credential.refreshed"
    assert EVENT_NAMES[CredentialHeldInMemory] == "credential.held_in_memory"
    assert EVENT_NAMES[RequestFinished] == "request.finished"


def test_every_event_has_a_level(kind: type) -> None:
    """One that the log knows."""
    assert event_level(example(kind, "x")) in LEVELS


@pytest.mark.parametrize(
    ("event", "level"),
    [
        (request(), "debug"),
        (request(404), "debug"),
        (request(499), "debug"),
        (request(401, "client_key_invalid"), "info"),
        (request(502), "warning"),
        (request(503, "draining"), "warning"),
        (LoginNeeded("default", "login_required", "reused", "sign in"), "error"),
        (CredentialHeldInMemory("default", "disk full"), "error"),
        (recovery(RecoveryOutcome.RECOVERED), "info"),
        (recovery(RecoveryOutcome.REFUSED), "warning"),
        (recovery(RecoveryOutcome.LOGIN_REQUIRED), "warning"),
        (ServiceStopped(0), "info"),
    ],
)
def test_the_level_is_higher_the_more_an_operator_has_to_do(
    event: Event, level: Level
) -> None:
    """A relayed request is for debugging; a login that is needed is an error."""
    assert event_level(event) == level


def test_the_fields_are_those_of_the_event(kind: type) -> None:
    """Each under its name, and no other."""
    assert set(event_fields(example(kind, "x"))) == set(kind.__annotations__)


def test_numbers_are_rounded_to_microseconds() -> None:
    """The clock's further digits mean nothing."""
    event = CredentialRefreshed("default", "refused", "renewed", 4, 0.2123456, NOW)
    assert event_fields(event)["duration_seconds"] == 0.212346


def test_enums_are_written_as_their_text() -> None:
    """The same text that metrics and response fields have."""
    fields = event_fields(recovery(RecoveryOutcome.REFRESH_THROTTLED))
    assert (fields["path"], fields["outcome"]) == (
        "reload, refresh",
        "refresh_throttled",
    )
