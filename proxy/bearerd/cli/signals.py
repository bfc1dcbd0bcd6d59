"""The signals that ask a command to end, and one way to handle them."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from typing import Final

TERMINATION_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Sent by Ctrl-C, by a supervisor, and by a terminal that is closed."""


def handle_signals(on_signal: Callable[[int], object]) -> None:
    """Have the running loop call *on_signal* with the number of each such signal.

    Outside the main thread this does nothing: Python allows handlers only there (see
    `signal` in the standard library), and a signal then has its default effect.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    loop = asyncio.get_running_loop()
    for number in TERMINATION_SIGNALS:
        loop.add_signal_handler(number, on_signal, number)
