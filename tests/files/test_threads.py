"""Blocking file calls: the loop runs on, threads do not pile up, the process can end."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from bearerd.files.threads import FileThread, run_to_end
from tests.credential.processes import ROOT
from tests.credential.stand_ins import PATIENCE_SECONDS, soon, wait_until

SHORT_SECONDS = 0.05


def file_threads() -> int:
    """Return how many threads of this kind run now."""
    return sum(thread.name == "bearerd-file" for thread in threading.enumerate())


def join_file_threads() -> None:
    """Wait until no thread of this kind runs; fail instead of hanging."""
    for thread in threading.enumerate():
        if thread.name == "bearerd-file":
            thread.join(PATIENCE_SECONDS)
    assert file_threads() == 0


@pytest.fixture(autouse=True)
def threads_end() -> Iterator[None]:
    """No thread outlives its test, so that a test can count its own."""
    join_file_threads()
    yield
    join_file_threads()


class HangingCall:
    """A call that hangs until it is released, as one into a dead mount does."""

    def __init__(self, outcome: str | Exception = "late") -> None:
        self.outcome = outcome
        self.began = threading.Event()
        self.release = threading.Event()
        self.is_over = False

    def __call__(self) -> str:
        self.began.set()
        assert self.release.wait(2 * PATIENCE_SECONDS)
        self.is_over = True
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.fixture
def hanging(threads_end: None) -> Iterator[HangingCall]:
    """A call that hangs; it is released at the end, before threads are counted."""
    assert threads_end is None
    call = HangingCall()
    yield call
    call.release.set()


@pytest.fixture
def complaints() -> list[dict[str, Any]]:
    """What asyncio has complained of."""
    return []


def collect_complaints(complaints: list[dict[str, Any]]) -> None:
    """Have the running loop report to *complaints*."""
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: complaints.append(context)
    )


async def began(call: HangingCall) -> None:
    """Return once *call* runs in its thread."""
    await wait_until(call.began.is_set)


async def test_a_result_or_an_error_comes_back() -> None:
    """As if the call had been made here."""
    thread = FileThread()
    assert await thread.run(lambda: 7, timeout_seconds=PATIENCE_SECONDS) == 7
    assert await run_to_end(lambda: 7) == 7

    def fail() -> int:
        raise PermissionError(13, "Permission denied")

    with pytest.raises(PermissionError):
        await thread.run(fail, timeout_seconds=PATIENCE_SECONDS)
    with pytest.raises(PermissionError):
        await run_to_end(fail)


async def test_the_loop_runs_while_a_call_hangs(hanging: HangingCall) -> None:
    """And the caller gets a TimeoutError at its deadline."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.create_task(count())
    with pytest.raises(TimeoutError):
        await FileThread().run(hanging, timeout_seconds=SHORT_SECONDS)
    counting.cancel()
    assert turns > 10


async def test_no_call_is_started_behind_one_that_hangs(hanging: HangingCall) -> None:
    """The next ones fail at once; when it has returned, calls are made again."""
    thread = FileThread()
    with pytest.raises(TimeoutError):
        await thread.run(hanging, timeout_seconds=SHORT_SECONDS)
    for _ in range(20):
        with pytest.raises(TimeoutError):
            await soon(thread.run(lambda: 7, timeout_seconds=1e6))
    assert file_threads() == 1
    hanging.release.set()
    await wait_until(lambda: file_threads() == 0)
    await asyncio.sleep(0)  # the loop takes up what the thread has reported
    assert await soon(thread.run(lambda: 7, timeout_seconds=1e6)) == 7


async def test_cancelled_callers_do_not_pile_up_threads_either(
    hanging: HangingCall,
) -> None:
    """A client leaves before the deadline; the call that it made still hangs."""
    thread = FileThread()
    for _ in range(20):
        running = asyncio.create_task(thread.run(hanging, timeout_seconds=1e6))
        await began(hanging)
        running.cancel()
        with pytest.raises((asyncio.CancelledError, TimeoutError)):
            await running
    assert file_threads() == 1


async def test_a_call_waits_for_one_whose_caller_was_cancelled(
    hanging: HangingCall,
) -> None:
    """A client that disconnects must not make the next read fail."""
    thread = FileThread()
    cancelled = asyncio.create_task(thread.run(hanging, timeout_seconds=1e6))
    await began(hanging)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    following = asyncio.create_task(thread.run(lambda: 7, timeout_seconds=1e6))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not following.done()
    hanging.release.set()
    assert await soon(following) == 7


async def test_a_cancelled_call_that_hangs_costs_one_timeout(
    hanging: HangingCall,
) -> None:
    """The first call after it waits for it; later ones fail at once."""
    thread = FileThread()
    cancelled = asyncio.create_task(thread.run(hanging, timeout_seconds=1e6))
    await began(hanging)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    with pytest.raises(TimeoutError):
        await soon(thread.run(lambda: 7, timeout_seconds=SHORT_SECONDS))
    with pytest.raises(TimeoutError):
        await soon(thread.run(lambda: 7, timeout_seconds=1e6))
    assert file_threads() == 1


async def test_calls_that_wait_for_a_slow_one_keep_their_own_deadline(
    hanging: HangingCall,
) -> None:
    """A mount that is slow, and not dead, must not hold a queue for ever."""
    thread = FileThread()
    slow = asyncio.create_task(thread.run(hanging, timeout_seconds=1e6))
    await began(hanging)
    with pytest.raises(TimeoutError):
        await soon(thread.run(lambda: 7, timeout_seconds=SHORT_SECONDS))
    hanging.release.set()
    assert await soon(slow) == "late"
    assert await soon(thread.run(lambda: 7, timeout_seconds=1e6)) == 7


async def test_a_result_that_comes_too_late_is_disposed_of(
    hanging: HangingCall,
) -> None:
    """Such as a lock, which no caller would release."""
    disposed: list[str] = []
    with pytest.raises(TimeoutError):
        await FileThread().run(
            hanging, timeout_seconds=SHORT_SECONDS, dispose=disposed.append
        )
    assert disposed == []
    hanging.release.set()
    await wait_until(lambda: disposed == ["late"])


async def test_a_result_in_time_is_not_disposed_of() -> None:
    """It belongs to the caller."""
    disposed: list[int] = []
    thread = FileThread()
    assert await thread.run(lambda: 7, timeout_seconds=5, dispose=disposed.append) == 7
    assert disposed == []


@pytest.mark.parametrize("is_cancelled", [False, True], ids=["deadline", "cancelled"])
async def test_an_error_that_comes_too_late_is_not_logged_by_asyncio(
    complaints: list[dict[str, Any]], is_cancelled: bool
) -> None:
    """Its caller was cancelled; no other code could see it."""
    collect_complaints(complaints)
    call = HangingCall(OSError(5, "Input/output error"))

    async def leave() -> None:
        seconds = 1e6 if is_cancelled else SHORT_SECONDS
        running = asyncio.create_task(FileThread().run(call, timeout_seconds=seconds))
        await began(call)
        if is_cancelled:
            running.cancel()
        with pytest.raises((asyncio.CancelledError, TimeoutError)):
            await running

    await leave()
    call.release.set()
    await wait_until(lambda: file_threads() == 0)
    await asyncio.sleep(0)
    gc.collect()
    await asyncio.sleep(0)
    assert complaints == []


@pytest.mark.parametrize("outcome", ["late", OSError(28, "No space left")], ids=repr)
async def test_a_cancelled_writer_waits_for_its_thread(
    complaints: list[dict[str, Any]], outcome: str | Exception
) -> None:
    """Or the lock would be released while the file is still being replaced. However
    often it is cancelled.
    """
    collect_complaints(complaints)
    call = HangingCall(outcome)
    writing = asyncio.create_task(run_to_end(call))
    await began(call)
    for _ in range(3):
        writing.cancel()
        await asyncio.sleep(0)
        assert not writing.done()
    call.release.set()
    with pytest.raises(asyncio.CancelledError):
        await soon(writing)
    assert call.is_over
    del writing
    gc.collect()
    assert complaints == []


async def test_a_thread_that_cannot_be_started_is_an_error_of_the_system() -> None:
    """Not a RuntimeError, which no caller would foresee."""
    before = threading.stack_size(1 << 46)  # more than any address space
    thread = FileThread()
    try:
        for _ in range(2):
            with pytest.raises(OSError, match="thread"):
                await thread.run(lambda: 7, timeout_seconds=1)
        with pytest.raises(OSError, match="thread"):
            await run_to_end(lambda: 7)
    finally:
        threading.stack_size(before)
    assert await thread.run(lambda: 7, timeout_seconds=5) == 7


HANG_AND_END = """
import asyncio, threading
from bearerd.files.threads import FileThread, run_to_end

async def main():
    try:
        await FileThread().run(threading.Event().wait, timeout_seconds=0.01)
    except TimeoutError:
        print("timed out", flush=True)

asyncio.run(main())
print("ended", flush=True)
"""


def test_the_interpreter_ends_while_a_call_hangs() -> None:
    """A thread of asyncio's executor would be waited for, for ever."""
    done = subprocess.run(
        [sys.executable, "-c", HANG_AND_END],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.stdout, done.returncode) == ("timed out\nended\n", 0), done.stderr


def test_a_result_after_the_end_of_the_loop_breaks_nothing() -> None:
    """The thread outlives its loop, and finds none to report to."""
    call = HangingCall()

    async def leave() -> None:
        with pytest.raises(TimeoutError):
            await FileThread().run(call, timeout_seconds=SHORT_SECONDS)

    asyncio.run(leave())
    call.release.set()
    join_file_threads()
