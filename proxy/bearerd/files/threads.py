"""Blocking file calls that cannot stop the event loop, nor the end of the process.

A file system can hang: a network mount whose server is gone, a FUSE daemon that was
stopped. asyncio's default executor is wrong for such calls, because the interpreter waits
for its threads at exit. Each call here gets a daemon thread of its own.
"""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


class FileThread:
    """Runs blocking calls one at a time, each until a deadline.

    While a call that its caller left is still hanging, no other is started: the next ones
    fail at once, so threads do not pile up behind a dead mount.
    """

    def __init__(self) -> None:
        self._left: asyncio.Future[Any] | None = None
        self._lock = asyncio.Lock()

    async def run(
        self,
        call: Callable[[], T],
        *,
        timeout_seconds: float,
        dispose: Callable[[T], None] | None = None,
    ) -> T:
        """Return what *call* returns.

        *timeout_seconds* includes the wait for earlier calls. *dispose* gets a result
        that comes after its caller has left, in the thread of the loop.

        Raises:
            TimeoutError: it did not return in time, or an earlier call still hangs.
            OSError: no thread can be started.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        async with asyncio.timeout_at(deadline):
            await self._lock.acquire()
        try:
            if self._left is not None and not self._left.done():
                raise TimeoutError
            future = _start(call)
            try:
                await asyncio.wait({future}, timeout=max(0.0, deadline - loop.time()))
            except asyncio.CancelledError:
                self._leave(future, dispose)
                raise
            if not future.done():
                self._leave(future, dispose)
                raise TimeoutError
        finally:
            self._lock.release()
        return future.result()

    def _leave(
        self, future: asyncio.Future[T], dispose: Callable[[T], None] | None
    ) -> None:
        self._left = future
        if dispose is not None:
            future.add_done_callback(partial(_dispose, dispose))


async def run_to_end(call: Callable[[], T]) -> T:
    """Return what *call* returns; a call that has begun is waited for even if cancelled.

    For writes under a lock: the lock must not be released while one is at work.

    Raises:
        OSError: no thread can be started.
    """
    future = _start(call)
    is_cancelled = False
    while not future.done():
        try:
            await asyncio.wait({future})
        except asyncio.CancelledError:
            is_cancelled = True
    if is_cancelled:
        raise asyncio.CancelledError
    return future.result()


def _start(call: Callable[[], T]) -> asyncio.Future[T]:
    """Call *call* in a daemon thread; the future gets its result."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    future.add_done_callback(_retrieve)

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

    try:
        threading.Thread(target=work, name="bearerd-file", daemon=True).start()
    except RuntimeError as error:  # the limit of processes or of memory
        raise OSError(errno.EAGAIN, str(error)) from None
    return future


def _retrieve(future: asyncio.Future[Any]) -> None:
    """Mark the error as seen: asyncio would log one whose caller has left."""
    if not future.cancelled():
        future.exception()


def _dispose(dispose: Callable[[T], None], future: asyncio.Future[T]) -> None:
    if not future.cancelled() and future.exception() is None:
        dispose(future.result())
