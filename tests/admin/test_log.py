"""The log: one line for each event, as JSON or for a terminal, without a secret."""

from __future__ import annotations

import errno
import io
import json
import logging
import re

import pytest

from bearerd.admin.event_format import EVENT_NAMES, Level
from bearerd.admin.log import EventLog, LogFormat
from bearerd.clock import Clock
from bearerd.events import (
    CredentialRefreshed,
    RequestFinished,
)
from tests.admin.conftest import NOW, OPERATOR_KEY, SECRETS, example

REFRESHED = CredentialRefreshed("default", "refused", "renewed", 4, 0.2123456, NOW)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class FullDisk(io.StringIO):
    """A file on a full disk."""

    is_full = True

    def write(self, text: str) -> int:
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


def log_to(
    stream: io.StringIO, log_format: LogFormat = "json", level: Level = "debug"
) -> EventLog:
    """Return a log on *stream*; its time is always `NOW`."""
    clock = Clock(now=lambda: NOW)
    return EventLog(
        stream, clock=clock, log_format=log_format, level=level, secrets=[OPERATOR_KEY]
    )


def fail(error: Exception) -> None:
    """Raise *error*, so that it has a traceback."""
    raise error


def request(status: int = 200, code: str | None = None) -> RequestFinished:
    """Return the end of a request."""
    return RequestFinished("laptop", "default", "POST", "/x", status, 1, code, 0.1, 1.0)


def test_an_event_is_one_json_line() -> None:
    """Time, level and name first, then the fields."""
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


def test_auto_is_console_on_a_terminal_and_json_elsewhere() -> None:
    """A terminal is for people, a file for programs."""
    terminal, file = Terminal(), io.StringIO()
    log_to(terminal, "auto")(REFRESHED)
    log_to(file, "auto")(REFRESHED)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())
    assert re.search(r"info +\] credential.refreshed +profile=default", plain)
    assert json.loads(file.getvalue())["event"] == "credential.refreshed"


def test_console_lines_in_a_file_have_no_colours() -> None:
    """Escape sequences make a file hard to search."""
    stream = io.StringIO()
    log_to(stream, "console")(REFRESHED)
    assert "\x1b" not in stream.getvalue()
    assert "credential.refreshed" in stream.getvalue()


def test_nothing_below_the_level_is_written() -> None:
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
    """Although it is in every string of every event."""
    stream = io.StringIO()
    log = log_to(stream, log_format)
    log(example(kind, f"before {secret} after"))
    assert EVENT_NAMES[kind] in stream.getvalue()
    assert secret not in stream.getvalue()


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_secret_is_in_a_traceback(log_format: LogFormat) -> None:
    """Nor in a nested field, or in the text of the exception."""
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


def test_the_warnings_of_libraries_are_lines_of_this_log() -> None:
    """With the traceback, and without secrets."""
    stream = io.StringIO()
    logger = logging.Logger("asyncio")  # noqa: LOG001 - one that no library has
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


def test_a_stream_that_cannot_be_written_costs_the_lines_and_nothing_else() -> None:
    """The file may be on the full disk that the events are about."""
    stream = FullDisk()
    log = log_to(stream)
    logger = logging.Logger("asyncio")  # noqa: LOG001 - one that no library has
    logger.addHandler(log.handler())
    log(REFRESHED)
    logger.error("failed")
    stream.is_full = False
    log(REFRESHED)
    assert stream.getvalue().count("\n") == 1


def test_a_line_break_in_a_field_does_not_start_a_line() -> None:
    """A client cannot forge a line by its path."""
    for log_format in ("json", "console"):
        stream = io.StringIO()
        forged = 'x\n{"level": "error"}'
        log_to(stream, log_format)(example(RequestFinished, forged))
        assert stream.getvalue().count("\n") == 1
