"""Blocking file calls that cannot stop the event loop, nor the end of the process.

A file system can hang: a network mount whose server is gone, a FUSE daemon that was
stopped. asyncio's default executor is wrong for such calls, because the interpreter waits
for its threads at exit. Each call here gets a daemon thread of its own, and a deadline.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


class FileThread:
    """Runs blocking calls one at a time, each until a deadline.

    While a call that passed its deadline is still hanging, no other is started: the next
    ones fail at once, so threads do not pile up behind a dead mount.
    """

    def __init__(self) -> None:
        self._hanging: asyncio.Future[Any] | None = None
        self._lock = asyncio.Lock()

    async def run(self, call: Callable[[], T], *, timeout_seconds: float) -> T:
        """Return what *call* returns.

        Raises:
            TimeoutError: it did not return in time, or an earlier call still hangs.
        """
        async with self._lock:
            if self._hanging is not None and not self._hanging.done():
                raise TimeoutError
            future = _start(call)
            done, _ = await asyncio.wait({future}, timeout=timeout_seconds)
            if not done:
                self._hanging = future
                raise TimeoutError
        return future.result()


async def run_to_end(call: Callable[[], T]) -> T:
    """Return what *call* returns; a call that has begun is waited for even if cancelled.

    For writes under a lock: the lock must not be released while one is at work.
    """
    future = _start(call)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait({future})
        with suppress(BaseException):
            future.exception()  # retrieved, so that asyncio does not log it
        raise


def _start(call: Callable[[], T]) -> asyncio.Future[T]:
    """Call *call* in a daemon thread; the future gets its result."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def set_result(result: T) -> None:
        if not future.done():
            future.set_result(result)

    def set_exception(error: BaseException) -> None:
        if not future.done():
            future.set_exception(error)

    def work() -> None:
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
            report = partial(set_exception, error)
        else:
            report = partial(set_result, result)
        with suppress(RuntimeError):  # the loop has been closed meanwhile
            loop.call_soon_threadsafe(report)

    threading.Thread(target=work, name="bearerd-file", daemon=True).start()
    return future
