"""Blocking file calls that block neither the event loop nor the exit of the process.

A file system can hang: the server of a network mount is unreachable, or a FUSE daemon is
stopped. asyncio's default executor is not suitable for such calls, because the
interpreter waits for its threads at exit. So each call here runs in its own daemon
thread.
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
    """Runs blocking calls one at a time, each with a timeout.

    A call is abandoned in two cases, and no other is started before it has returned. So
    threads do not accumulate on a dead mount:

    1. It has timed out: it hangs, and later calls fail at once.
    2. Its caller was cancelled: it may return in a moment, and later calls wait for it.
    """

    def __init__(self) -> None:
        self._abandoned: asyncio.Future[Any] | None = None
        self._is_hanging = False  # the abandoned call has timed out
        self._lock = asyncio.Lock()

    async def run(
        self,
        call: Callable[[], T],
        *,
        timeout_seconds: float,
        dispose: Callable[[T], None] | None = None,
    ) -> T:
        """Return what *call* returns.

        *timeout_seconds* includes the wait for earlier calls. If an abandoned call
        returns later, *dispose* is called with its result, in the thread of the loop.

        Raises:
            TimeoutError: the call did not return in time, or an earlier one still hangs.
            OSError: no thread can be started.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        async with asyncio.timeout_at(deadline):
            await self._lock.acquire()
        try:
            await self._wait_for_abandoned(deadline)
            future = _start(call)
            try:
                await asyncio.wait({future}, timeout=max(0.0, deadline - loop.time()))
            except asyncio.CancelledError:
                self._abandon(future, dispose, is_hanging=False)
                raise
            if not future.done():
                self._abandon(future, dispose, is_hanging=True)
                raise TimeoutError
        finally:
            self._lock.release()
        return future.result()

    async def _wait_for_abandoned(self, deadline: float) -> None:
        """Wait until the abandoned call has returned, if there is one.

        Raises:
            TimeoutError: it has timed out, now or before.
        """
        abandoned = self._abandoned
        if abandoned is None or abandoned.done():
            return
        if not self._is_hanging:  # 2
            seconds = max(0.0, deadline - asyncio.get_running_loop().time())
            await asyncio.wait({abandoned}, timeout=seconds)
        if not abandoned.done():  # 1
            self._is_hanging = True
            raise TimeoutError

    def _abandon(
        self,
        future: asyncio.Future[T],
        dispose: Callable[[T], None] | None,
        *,
        is_hanging: bool,
    ) -> None:
        self._abandoned, self._is_hanging = future, is_hanging
        if dispose is not None:
            future.add_done_callback(partial(_dispose, dispose))


async def run_to_end(call: Callable[[], T]) -> T:
    """Return what *call* returns; if cancelled, wait until it has returned.

    For writes under a lock: the lock must not be released during a write.

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
    """Start *call* in a daemon thread; return a future of its result."""
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
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(report)

    try:
        threading.Thread(target=work, name="bearerd-file", daemon=True).start()
    except RuntimeError as error:  # a limit on threads or memory
        raise OSError(errno.EAGAIN, str(error)) from None
    return future


def _retrieve(future: asyncio.Future[Any]) -> None:
    """Retrieve the exception, which asyncio logs if the caller has abandoned the call."""
    if not future.cancelled():
        future.exception()


def _dispose(dispose: Callable[[T], None], future: asyncio.Future[T]) -> None:
    if not future.cancelled() and future.exception() is None:
        dispose(future.result())
