"""One line for each event, as JSON or for a terminal, and never a secret in it."""

from __future__ import annotations

import io
import json
import logging
import re
from typing import Any

import pytest

from bearerd.admin.event_format import LEVELS, NAMES, Level, fields_of, level_of
from bearerd.admin.log import EventLog, LogFormat
from bearerd.clock import Clock
from bearerd.events import (
    CredentialHeldInMemory,
    CredentialRefreshed,
    LoginNeeded,
    RecoveryFinished,
    RequestFinished,
    ServiceStopped,
)
from tests.admin.conftest import KINDS, NOW, OPERATOR_KEY, SECRETS, example

REFRESHED = CredentialRefreshed("default", "refused", "renewed", 4, 0.2123456, NOW)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def log_to(
    stream: io.StringIO, log_format: LogFormat = "json", level: Level = "debug"
) -> EventLog:
    """Return a log on *stream* whose clock stands still."""
    clock = Clock(now=lambda: NOW)
    return EventLog(
        stream, clock=clock, log_format=log_format, level=level, known=[OPERATOR_KEY]
    )


def fail(error: Exception) -> None:
    """Raise *error*, so that it has a traceback."""
    raise error


def request(status: int = 200, code: str | None = None) -> RequestFinished:
    """Return the end of a request."""
    return RequestFinished("laptop", "default", "POST", "/x", status, 1, code, 0.1, 1.0)


def test_an_event_is_one_json_line() -> None:
    """Time, level and name first, then the fields; durations to the microsecond."""
    stream = io.StringIO()
    log_to(stream)(REFRESHED)
    line = stream.getvalue()
    assert line.count("\n") == 1
    assert list(json.loads(line).items()) == [
        ("timestamp", "2027-01-15T08:00:00.000+00:00"),
        ("level", "info"),
        ("event", "credential.refreshed"),
        ("profile", "default"),
        ("trigger", "refused"),
        ("outcome", "renewed"),
        ("generation", 4),
        ("duration_seconds", 0.212346),
        ("expires_at", NOW),
    ]


def test_a_terminal_gets_lines_to_read() -> None:
    """`auto` means console there, and JSON elsewhere."""
    terminal, file = Terminal(), io.StringIO()
    log_to(terminal, "auto")(REFRESHED)
    log_to(file, "auto")(REFRESHED)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())
    assert re.search(r"info +\] credential.refreshed +profile=default", plain)
    assert json.loads(file.getvalue())["event"] == "credential.refreshed"


def test_console_lines_elsewhere_have_no_colours() -> None:
    """A file of escape sequences is hard to search."""
    stream = io.StringIO()
    log_to(stream, "console")(REFRESHED)
    assert "\x1b" not in stream.getvalue()
    assert "credential.refreshed" in stream.getvalue()


def test_every_kind_of_event_has_a_name_of_its_own(kind: type) -> None:
    """A subject, a dot, and what happened; and a level that there is."""
    assert re.fullmatch(r"[a-z]+\.[a-z_]+", NAMES[kind])
    assert len(set(NAMES.values())) == len(KINDS)
    assert level_of(example(kind, "x")) in LEVELS


def test_names_are_spelled_as_they_are_published() -> None:
    """Dashboards and searches rely on them."""
    assert NAMES[CredentialRefreshed] == "credential.refreshed"
    assert NAMES[CredentialHeldInMemory] == "credential.held_in_memory"
    assert NAMES[RequestFinished] == "request.finished"


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
        (RecoveryFinished("default", "reload", "recovered", 2, 0.1), "info"),
        (RecoveryFinished("default", "", "resource", 2, 0.1), "info"),
        (RecoveryFinished("default", "refresh", "refused", 2, 0.1), "warning"),
        (ServiceStopped(0), "info"),
    ],
)
def test_a_level_says_how_much_somebody_wants_to_know(event: Any, level: Level) -> None:
    """Every day's requests are for debugging, a login that is needed is an error."""
    assert level_of(event) == level


def test_below_the_level_nothing_is_written() -> None:
    """Neither events nor other lines."""
    stream = io.StringIO()
    log = log_to(stream, level="warning")
    log(request())
    log(REFRESHED)
    log.write("info", "x.y")
    assert stream.getvalue() == ""
    log(request(502))
    log.write("error", "x.y", name="n")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == [
        "request.finished",
        "x.y",
    ]


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("secret", [*SECRETS, OPERATOR_KEY])
def test_no_secret_is_in_any_line(
    kind: type, log_format: LogFormat, secret: str
) -> None:
    """Put into every text of every event, it comes out of none."""
    stream = io.StringIO()
    log = log_to(stream, log_format)
    log(example(kind, f"before {secret} after"))
    assert NAMES[kind] in stream.getvalue()
    assert secret not in stream.getvalue()


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_secret_is_in_a_traceback(log_format: LogFormat) -> None:
    """Nor is it in the names of fields, their depths, or the exception's text."""
    stream = io.StringIO()
    log = log_to(stream, log_format)
    try:
        fail(ValueError(SECRETS[0]))
    except ValueError:
        log.write("error", "x.y", exc_info=True, nested={"refresh_token": "opaque-one"})
    text = stream.getvalue()
    assert "ValueError" in text
    assert SECRETS[0] not in text
    assert "opaque-one" not in text


def test_what_libraries_say_goes_the_same_way() -> None:
    """Warnings and errors as our lines, with traceback and without secrets."""
    stream = io.StringIO()
    logger = logging.Logger("asyncio")  # noqa: LOG001 - one that nobody else has
    logger.addHandler(log_to(stream).handler())
    logger.info("not wanted")
    logger.warning("slow %s", SECRETS[2])
    try:
        fail(RuntimeError(SECRETS[0]))
    except RuntimeError:
        logger.exception("failed")
    slow, failed = map(json.loads, stream.getvalue().splitlines())
    assert (slow["level"], slow["event"]) == ("warning", "library.said")
    assert (slow["logger"], slow["said"]) == ("asyncio", "slow (hidden)")
    assert (failed["level"], failed["said"]) == ("error", "failed")
    assert "RuntimeError" in failed["exception"]
    assert SECRETS[0] not in stream.getvalue()


def test_a_line_break_in_a_field_starts_no_line() -> None:
    """A path of a client's making cannot forge a line."""
    for log_format in ("json", "console"):
        stream = io.StringIO()
        forged = 'x\n{"level": "error"}'
        log_to(stream, log_format)(example(RequestFinished, forged))
        assert stream.getvalue().count("\n") == 1


def test_fields_are_the_events_own(kind: type) -> None:
    """Each field under its name, and none besides."""
    event = example(kind, "x")
    assert set(fields_of(event)) == set(kind.__annotations__)
