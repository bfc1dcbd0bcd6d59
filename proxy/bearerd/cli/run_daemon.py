"""Runs the daemon in this process: its event loop, its signals, its log and its banner.

Loads all of the daemon, so the command imports this module when it is called.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress

from bearerd.admin.log import EventLog
from bearerd.admin.status import ServiceStatus
from bearerd.cli.banner import banner
from bearerd.cli.signals import handle_signals
from bearerd.clock import Clock
from bearerd.errors import ExitCode
from bearerd.keys.ring import KeyRing
from bearerd.service import Service
from bearerd.settings import Settings


class ShutdownSignals:
    """Turns signals into the steps of a shutdown. Owns the number of the first signal.

    1. The first signal sets *stop*: the daemon drains, and requests in flight may end.
    2. The second sets *force*: these requests are aborted. A refresh in progress still
       completes and is stored.
    3. The third ends the process at once, with the exit code of a process killed by it.
    """

    def __init__(
        self,
        stop: asyncio.Event,
        force: asyncio.Event,
        exit_now: Callable[[int], None],
    ) -> None:
        self._stop = stop
        self._force = force
        self._exit_now = exit_now
        self.first: int | None = None

    def on_signal(self, number: int) -> None:
        """Take the next step."""
        if self._force.is_set():  # 3
            self._exit_now(128 + number)
        elif self.first is not None:  # 2
            self._force.set()
        else:  # 1
            self.first = number
            self._stop.set()

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of a process that ends in order after these signals."""
        is_interrupted = self.first == signal.SIGINT
        return ExitCode.INTERRUPTED if is_interrupted else ExitCode.OK


def run_daemon(settings: Settings) -> ExitCode:
    """Serve until a signal, and return the exit code.

    Raises:
        BearerdError: the daemon cannot start.
    """
    clock = Clock()
    operator_key = (
        settings.client_key.get_secret_value() if settings.client_key else None
    )
    log = _open_log(settings, clock, (operator_key, settings.upstream_proxy))

    def on_started(status: ServiceStatus) -> None:
        # The listeners are open: if a port is in use, no key file is created.
        keys = KeyRing.load(settings.keys_file, clock=clock, operator_key=operator_key)
        key_file = keys.create_first()
        if key_file is not None:
            log.write("info", "key.created", name="default", path=str(key_file))
        if settings.log_format != "json" and sys.stderr.isatty():
            sys.stderr.write(banner(status, keys, settings) + "\n")

    async def serve() -> ExitCode:
        stop = asyncio.Event()
        force = asyncio.Event()
        signals = ShutdownSignals(stop, force, os._exit)
        handle_signals(signals.on_signal)
        service = Service(settings, observe=log, clock=clock)
        await service.run(stop, on_started, force)
        return signals.exit_code

    raise_descriptor_limit()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(serve())


def _open_log(
    settings: Settings, clock: Clock, secrets: Iterable[str | None]
) -> EventLog:
    """Return the log on stderr, which takes the warnings of libraries as well."""
    log = EventLog(
        sys.stderr,
        clock=clock,
        log_format=settings.log_format,
        level=settings.log_level,
        secrets=filter(None, secrets),
    )
    logging.getLogger().addHandler(log.handler())
    return log


def raise_descriptor_limit() -> None:
    """Raise the limit on open files to the highest allowed: a stream takes two of them.

    The soft limit is 1024 on most systems, because select(2) can handle no more.
    """
    try:
        import resource
    except ImportError:
        return  # Windows, which has no such limit
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's factory, or None for asyncio's own if uvloop is not installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
