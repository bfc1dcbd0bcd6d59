"""The time, as the rooms get it: two clocks and a way to wait, by constructor."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clock:
    """The outside's time.

    `now` is epoch seconds and may jump; only expiry is judged by it. `monotonic` never
    goes back; every wait, deadline and backoff is judged by it.
    """

    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
