"""The log: one line for each event, on a stream such as stderr.

Console lines on a terminal, JSON otherwise. Redaction is the last processor before the
renderer, so that no other processor can add a secret after it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, MutableMapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Literal, TextIO, TypeAlias

import structlog

from bearerd.admin.event_format import (
    EVENT_NAMES,
    LEVELS,
    Level,
    event_fields,
    event_level,
)
from bearerd.admin.redaction import Redaction
from bearerd.clock import Clock
from bearerd.events import Event

LogFormat: TypeAlias = Literal["auto", "console", "json"]

Processor: TypeAlias = Callable[
    [Any, str, MutableMapping[str, Any]], MutableMapping[str, Any] | str | bytes
]


class EventLog:
    """An observer that writes each event of at least *level* as one line.

    Owns its chain of processors; structlog's global configuration is not changed.
    *secrets*, such as the operator's client key, are hidden wherever they occur.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        clock: Clock,
        log_format: LogFormat = "auto",
        level: Level = "info",
        secrets: Iterable[str] = (),
    ) -> None:
        self._lowest = LEVELS[level]
        redaction = Redaction(secrets)
        chain: list[Processor] = [
            structlog.processors.format_exc_info,
            _timestamp(clock),
            _redact(redaction),
            _renderer(stream, log_format),
        ]
        self._logger = structlog.wrap_logger(
            structlog.PrintLogger(stream),
            processors=chain,
            wrapper_class=structlog.BoundLogger,
        )

    def __call__(self, event: Event) -> None:
        """Write *event*, if its level is high enough."""
        level = event_level(event)
        if LEVELS[level] >= self._lowest:
            self.write(level, EVENT_NAMES[type(event)], **event_fields(event))

    def write(self, level: Level, name: str, /, **fields: object) -> None:
        """Write one line, if *level* is high enough.

        A stream that cannot be written, such as a file on a full disk, costs the line:
        no request and no refresh may fail because of the log.
        """
        if LEVELS[level] >= self._lowest:
            with suppress(OSError):
                self._logger.msg(name, level=level, **fields)

    def handler(self) -> logging.Handler:
        """Return a handler that writes the log records of libraries as lines here."""
        return _Handler(self)


class _Handler(logging.Handler):
    """Writes the warnings of libraries, such as asyncio's, to the event log."""

    def __init__(self, log: EventLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        level: Level = "error" if record.levelno >= logging.ERROR else "warning"
        message = record.getMessage()
        info = record.exc_info if record.exc_info and record.exc_info[0] else None
        fields: dict[str, object] = {"exc_info": info} if info else {}
        self._log.write(
            level, "library.said", logger=record.name, said=message, **fields
        )


def _timestamp(clock: Clock) -> Processor:
    def timestamp(
        _: Any,
        __: str,
        line: MutableMapping[str, Any],
    ) -> MutableMapping[str, Any]:
        moment = datetime.fromtimestamp(clock.now(), UTC)
        return {
            "timestamp": moment.isoformat(timespec="milliseconds"),
            "level": line.pop("level"),
            "event": line.pop("event"),
            **line,
        }

    return timestamp


def _redact(redaction: Redaction) -> Processor:
    def redact(
        _: Any,
        __: str,
        line: MutableMapping[str, Any],
    ) -> MutableMapping[str, Any]:
        return redaction.fields(line)

    return redact


def _renderer(stream: TextIO, log_format: LogFormat) -> Processor:
    if log_format == "json" or (log_format == "auto" and not stream.isatty()):
        return structlog.processors.JSONRenderer(default=str)
    return structlog.dev.ConsoleRenderer(
        colors=stream.isatty(),
        exception_formatter=structlog.dev.plain_traceback,
        sort_keys=False,
        pad_event_to=0,
    )
