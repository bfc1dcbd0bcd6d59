"""Single-flight: many callers, one call, and no caller that leaves ends it."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from bearerd.credential.single_flight import LATE_SECONDS, SingleFlight
from tests.credential.stand_ins import soon, wait_until


class NotAnException(BaseException):
    """An error that `except Exception` does not catch."""


class GatedCall:
    """A call that counts how often it is made, and ends when its gate opens."""

    def __init__(self, outcome: str | BaseException = "result") -> None:
        self.outcome = outcome
        self.calls = 0
        self.gate = asyncio.Event()

    async def __call__(self) -> str:
        self.calls += 1
        await self.gate.wait()
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return f"{self.outcome} {self.calls}"


async def callers(
    single_flight: SingleFlight[str],
    call: Callable[[], Coroutine[Any, Any, str]],
    count: int,
) -> list[asyncio.Task[str]]:
    """Return *count* callers that wait for the call."""
    tasks = [asyncio.create_task(single_flight.run(call)) for _ in range(count)]
    await wait_until(lambda: single_flight.waiters == count)
    return tasks


def is_idle(single_flight: SingleFlight[str]) -> bool:
    """Return True if no call is in progress."""
    return single_flight._task is None


async def test_many_callers_make_one_call_and_get_its_result() -> None:
    """The next caller after its end makes another."""
    single_flight, call = SingleFlight[str](), GatedCall()
    waiting = await callers(single_flight, call, 10)
    call.gate.set()
    assert await asyncio.gather(*waiting) == ["result 1"] * 10
    assert is_idle(single_flight)
    assert await single_flight.run(call) == "result 2"
    assert single_flight.waiters == 0


async def test_a_failure_is_shared_and_not_repeated_for_each_caller() -> None:
    """All get the same error; later callers make a new call."""
    single_flight, call = SingleFlight[str](), GatedCall(ValueError("no"))
    waiting = await callers(single_flight, call, 5)
    call.gate.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert found == [call.outcome] * 5
    assert call.calls == 1
    call.outcome = "result"
    assert await single_flight.run(call) == "result 2"


@pytest.mark.parametrize("index", [0, 1, 4])
async def test_a_cancelled_caller_leaves_alone(index: int) -> None:
    """The one that started the call is no different from the others."""
    single_flight, call = SingleFlight[str](), GatedCall()
    waiting = await callers(single_flight, call, 5)
    waiting[index].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting[index]
    assert single_flight.waiters == 4
    call.gate.set()
    others = [task for task in waiting if task is not waiting[index]]
    assert await asyncio.gather(*others) == ["result 1"] * 4
    assert call.calls == 1


async def test_the_call_ends_by_itself_when_every_caller_has_left() -> None:
    """Its result may be the only copy of the next refresh token."""
    done = asyncio.Event()

    async def call() -> str:
        await gate.wait()
        done.set()
        return "kept"

    gate, single_flight = asyncio.Event(), SingleFlight[str]()
    for task in await callers(single_flight, call, 3):
        task.cancel()
    await wait_until(lambda: single_flight.waiters == 0)
    assert not is_idle(single_flight)
    gate.set()
    await soon(single_flight.wait_idle())
    assert done.is_set()


async def test_a_new_caller_joins_a_call_that_all_others_have_left() -> None:
    """It is still in progress, so no second one starts."""
    single_flight, call = SingleFlight[str](), GatedCall()
    (first,) = await callers(single_flight, call, 1)
    first.cancel()
    await wait_until(lambda: single_flight.waiters == 0)
    (second,) = await callers(single_flight, call, 1)
    call.gate.set()
    assert await second == "result 1"


@pytest.mark.parametrize("timeout_seconds", [0.0, 0.01])
async def test_a_caller_that_times_out_leaves_and_the_call_continues(
    timeout_seconds: float,
) -> None:
    """The timeout belongs to the caller; the call has none."""
    single_flight, call = SingleFlight[str](), GatedCall()
    (patient,) = await callers(single_flight, call, 1)
    with pytest.raises(TimeoutError):
        await single_flight.run(call, timeout_seconds=timeout_seconds)
    assert single_flight.waiters == 1
    call.gate.set()
    assert await patient == "result 1"


async def test_a_caller_of_a_stopped_process_gets_a_result_that_was_on_its_way() -> (
    None
):
    """Patience and result are due at the same moment, when the process goes on."""
    single_flight, call = SingleFlight[str](), GatedCall()
    wait_timeout_seconds = 0.05
    caller = asyncio.create_task(
        single_flight.run(call, timeout_seconds=wait_timeout_seconds)
    )
    await wait_until(lambda: single_flight.waiters == 1)
    asyncio.get_running_loop().call_later(2 * wait_timeout_seconds, call.gate.set)
    time.sleep(wait_timeout_seconds + 2 * LATE_SECONDS)  # noqa: ASYNC251 - as after a SIGSTOP
    assert await soon(caller) == "result 1"


async def test_a_caller_with_a_deadline_of_its_own_leaves_when_it_is_over() -> None:
    """Its deadline ends its waiting and nothing else."""
    single_flight, call = SingleFlight[str](), GatedCall()
    (patient,) = await callers(single_flight, call, 1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await single_flight.run(call)
    assert single_flight.waiters == 1
    call.gate.set()
    assert await patient == "result 1"


async def test_a_timeout_inside_the_call_is_an_error_of_the_call() -> None:
    """Both are a TimeoutError; the first is the call's own and reaches all."""
    single_flight, call = SingleFlight[str](), GatedCall(TimeoutError("inside"))
    waiting = await callers(single_flight, call, 2)
    call.gate.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert found == [call.outcome] * 2


@pytest.mark.parametrize(
    "error", [NotAnException("one"), RuntimeError("two")], ids=repr
)
async def test_any_error_wakes_all_callers(error: BaseException) -> None:
    """None hangs, and the next caller makes a new call."""
    single_flight, call = SingleFlight[str](), GatedCall(error)
    waiting = await callers(single_flight, call, 5)
    call.gate.set()
    assert await soon(asyncio.gather(*waiting, return_exceptions=True)) == [error] * 5
    assert is_idle(single_flight)
    assert single_flight.waiters == 0


async def test_an_error_that_no_caller_waited_for_is_not_logged_by_asyncio() -> None:
    """All callers have timed out, or there were none."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: complaints.append(context)
    )

    async def fail_alone() -> None:
        single_flight, call = SingleFlight[str](), GatedCall(ValueError("no"))
        single_flight.start(call)
        for caller in await callers(single_flight, call, 3):
            caller.cancel()
        await wait_until(lambda: single_flight.waiters == 0)
        call.gate.set()
        await soon(single_flight.wait_idle())

    await fail_alone()
    gc.collect()  # asyncio complains when the task is collected
    await asyncio.sleep(0)
    assert complaints == []


async def test_an_error_that_many_get_does_not_grow() -> None:
    """One error reaches all; its traceback must not hold all their frames."""
    single_flight, call = SingleFlight[str](), GatedCall(ValueError("no"))
    waiting = await callers(single_flight, call, 50)
    call.gate.set()
    await asyncio.gather(*waiting, return_exceptions=True)
    error, depth = call.outcome, 0
    assert isinstance(error, ValueError)
    trace = error.__traceback__
    while trace is not None:
        depth, trace = depth + 1, trace.tb_next
    assert depth < 10


async def test_start_makes_one_call_and_waits_for_nothing() -> None:
    """A second `start` finds the first call in progress."""
    single_flight, call = SingleFlight[str](), GatedCall()
    single_flight.start(call)
    single_flight.start(call)
    (waiting,) = await callers(single_flight, call, 1)
    call.gate.set()
    assert await waiting == "result 1"


async def test_a_caller_with_a_result_may_make_the_next_call_at_once() -> None:
    """In the very step in which it gets the result."""
    single_flight, call = SingleFlight[str](), GatedCall()
    call.gate.set()

    async def twice() -> tuple[str, str]:
        return await single_flight.run(call), await single_flight.run(call)

    assert await soon(twice()) == ("result 1", "result 2")


async def test_callers_that_start_again_at_once_share_again() -> None:
    """Ten callers, twice: two calls."""
    single_flight, call = SingleFlight[str](), GatedCall()

    async def twice() -> None:
        await single_flight.run(call)
        await single_flight.run(call)

    tasks = [asyncio.create_task(twice()) for _ in range(10)]
    await wait_until(lambda: single_flight.waiters == 10)
    call.gate.set()
    await soon(asyncio.gather(*tasks))
    assert call.calls == 2


async def test_the_call_belongs_to_no_request() -> None:
    """It runs in an empty context, so its log lines name no request."""
    request = contextvars.ContextVar("request", default="none")
    request.set("the first caller's")

    async def call() -> str:
        return request.get()

    assert await SingleFlight[str]().run(call) == "none"


async def test_wait_idle_returns_at_once_if_no_call_is_under_way() -> None:
    """And waits for the one that is, without raising its error."""
    single_flight, call = SingleFlight[str](), GatedCall(ValueError("no"))
    await single_flight.wait_idle()
    single_flight.start(call)
    waiting = asyncio.create_task(single_flight.wait_idle())
    await asyncio.sleep(0)
    assert not waiting.done()
    call.gate.set()
    await soon(waiting)
    assert is_idle(single_flight)


def test_a_loop_that_closes_during_a_call_leaves_nothing_behind() -> None:
    """The call ends with the loop, and another loop can make the next."""
    single_flight = SingleFlight[str]()

    async def leave_it_under_way() -> None:
        single_flight.start(GatedCall())
        await asyncio.sleep(0)
        assert not is_idle(single_flight)

    async def call_again() -> str:
        call = GatedCall()
        call.gate.set()
        return await single_flight.run(call)

    asyncio.run(leave_it_under_way())
    assert is_idle(single_flight)
    assert asyncio.run(call_again()) == "result 1"


async def test_a_cancelled_call_wakes_all_callers() -> None:
    """Only the end of the loop cancels it; no caller hangs even then."""
    single_flight, call = SingleFlight[str](), GatedCall()
    waiting = await callers(single_flight, call, 2)
    assert single_flight._task is not None
    single_flight._task.cancel()
    for task in waiting:
        with pytest.raises(asyncio.CancelledError):
            await soon(task)
    assert is_idle(single_flight)
