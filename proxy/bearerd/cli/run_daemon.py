"""The daemon's process: its loop, its signals, its log, and its first words.

Loads the whole of the daemon, so it is imported by the command when it is called.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable
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


def run_daemon(settings: Settings) -> int:
    """Serve until a signal ends it; return the exit code.

    Raises:
        BearerdError: it could not be started.
    """
    clock = Clock()
    own = settings.client_key.get_secret_value() if settings.client_key else None
    log = EventLog(
        sys.stderr,
        clock=clock,
        log_format=settings.log_format,
        level=settings.log_level,
        secrets=[secret for secret in (own, settings.upstream_proxy) if secret],
    )
    logging.getLogger().addHandler(log.handler())

    def started(status: ServiceStatus) -> None:
        # Not before: where the port is taken, nothing is made.
        keys = KeyRing.load(settings.keys_file, clock=clock, operator_key=own)
        made = keys.create_first()
        if made is not None:
            log.write("info", "key.created", name="default", path=str(made))
        if settings.log_format != "json" and sys.stderr.isatty():
            sys.stderr.write(banner(status, keys, settings) + "\n")

    async def serve() -> int:
        stop = asyncio.Event()
        force = asyncio.Event()
        signals = ShutdownSignals(stop, force, os._exit)
        handle_signals(signals.on_signal)
        await Service(settings, observe=log, clock=clock).run(stop, started, force)
        return signals.exit_code

    raise_descriptor_limit()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(serve())


def raise_descriptor_limit() -> None:
    """Allow as many open connections as the system lets us: a stream takes two.

    The soft limit is 1024 in most places, for the sake of programs that use select(2).
    """
    try:
        import resource
    except ImportError:
        return  # not on Windows, where there is no such limit
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's, or None for asyncio's own where there is no uvloop."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
