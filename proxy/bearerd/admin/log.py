"""The log: one line for each event, on a stream such as stderr.

Console lines on a terminal, JSON otherwise. Redaction is the last processor before the
line is rendered, so that nothing added on the way can carry a secret past it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, MutableMapping
from datetime import UTC, datetime
from typing import Any, Literal, TextIO, TypeAlias

import structlog

from bearerd.admin.event_format import LEVELS, NAMES, Level, fields_of, level_of
from bearerd.admin.redaction import Redaction
from bearerd.clock import Clock
from bearerd.events import Event

LogFormat: TypeAlias = Literal["auto", "console", "json"]

Processor: TypeAlias = Callable[
    [Any, str, MutableMapping[str, Any]], MutableMapping[str, Any] | str | bytes
]


class EventLog:
    """An observer that writes each event of at least *level* as one line.

    Owns its chain of processors; nothing is configured for the process as a whole.
    *known* are secrets to be hidden wherever they turn up, such as the operator's key.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        clock: Clock,
        log_format: LogFormat = "auto",
        level: Level = "info",
        known: Iterable[str] = (),
    ) -> None:
        self._least = LEVELS[level]
        redaction = Redaction(known)
        chain: list[Processor] = [
            structlog.processors.format_exc_info,
            _stamp(clock),
            _redact(redaction),
            _renderer(stream, log_format),
        ]
        self._logger = structlog.wrap_logger(
            structlog.PrintLogger(stream),
            processors=chain,
            wrapper_class=structlog.BoundLogger,
        )

    def __call__(self, event: Event) -> None:
        """Write *event*, if its level is wanted."""
        level = level_of(event)
        if LEVELS[level] >= self._least:
            self.write(level, NAMES[type(event)], **fields_of(event))

    def write(self, level: Level, name: str, /, **fields: object) -> None:
        """Write one line, if *level* is wanted."""
        if LEVELS[level] >= self._least:
            self._logger.msg(name, level=level, **fields)

    def handler(self) -> logging.Handler:
        """Return a handler for the standard library's logging, for what others say."""
        return _Handler(self)


class _Handler(logging.Handler):
    """Hands warnings of libraries, such as asyncio's, to the event log."""

    def __init__(self, log: EventLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        level: Level = "error" if record.levelno >= logging.ERROR else "warning"
        said = record.getMessage()
        info = record.exc_info if record.exc_info and record.exc_info[0] else None
        fields: dict[str, object] = {"exc_info": info} if info else {}
        self._log.write(level, "library.said", logger=record.name, said=said, **fields)


def _stamp(clock: Clock) -> Processor:
    def stamp(
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

    return stamp


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
