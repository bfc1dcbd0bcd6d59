"""Single-flight: many callers, one call, and nobody who leaves takes it along."""

from __future__ import annotations

import asyncio
import contextvars
import gc
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from bearerd.credential.single_flight import SingleFlight
from tests.credential.stand_ins import soon, wait_until


class Landing(BaseException):
    """What is no Exception, and must reach everybody all the same."""


class Tower:
    """Counts calls, and keeps them in the air until a test lets them land."""

    def __init__(self, outcome: str | BaseException = "landed") -> None:
        self.outcome = outcome
        self.calls = 0
        self.gate = asyncio.Event()

    async def call(self) -> str:
        self.calls += 1
        await self.gate.wait()
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return f"{self.outcome} {self.calls}"


async def crew(
    single_flight: SingleFlight[str],
    call: Callable[[], Coroutine[Any, Any, str]],
    count: int,
) -> list[asyncio.Task[str]]:
    """Return *count* callers that wait for the flight."""
    tasks = [asyncio.create_task(single_flight.run(call)) for _ in range(count)]
    await wait_until(lambda: single_flight.waiters == count)
    return tasks


async def test_many_callers_make_one_call_and_get_its_response() -> None:
    """And the next caller after it has landed makes another."""
    single_flight, tower = SingleFlight[str](), Tower()
    waiting = await crew(single_flight, tower.call, 10)
    tower.gate.set()
    assert await asyncio.gather(*waiting) == ["landed 1"] * 10
    assert not single_flight.is_in_the_air
    assert await single_flight.run(tower.call) == "landed 2"
    assert single_flight.waiters == 0


async def test_a_failure_is_shared_and_not_tried_by_each() -> None:
    """All see the same error; later callers start anew."""
    single_flight, tower = SingleFlight[str](), Tower(ValueError("no"))
    waiting = await crew(single_flight, tower.call, 5)
    tower.gate.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert found == [tower.outcome] * 5
    assert tower.calls == 1
    tower.outcome = "landed"
    assert await single_flight.run(tower.call) == "landed 2"


@pytest.mark.parametrize("who", [0, 1, 4])
async def test_a_cancelled_caller_leaves_alone(who: int) -> None:
    """The one who started the call is no different from the others."""
    single_flight, tower = SingleFlight[str](), Tower()
    waiting = await crew(single_flight, tower.call, 5)
    waiting[who].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting[who]
    assert single_flight.waiters == 4
    tower.gate.set()
    others = [task for task in waiting if task is not waiting[who]]
    assert await asyncio.gather(*others) == ["landed 1"] * 4
    assert tower.calls == 1


async def test_the_call_lands_when_every_caller_has_left() -> None:
    """Its response may be the only copy of the next token."""
    landed = asyncio.Event()

    async def call() -> str:
        await gate.wait()
        landed.set()
        return "kept"

    gate, single_flight = asyncio.Event(), SingleFlight[str]()
    for task in await crew(single_flight, call, 3):
        task.cancel()
    await wait_until(lambda: single_flight.waiters == 0)
    assert single_flight.is_in_the_air
    gate.set()
    await soon(single_flight.wait_idle())
    assert landed.is_set()


async def test_a_newcomer_joins_a_call_that_everybody_else_has_left() -> None:
    """It is still in the air, so no second one starts."""
    single_flight, tower = SingleFlight[str](), Tower()
    (first,) = await crew(single_flight, tower.call, 1)
    first.cancel()
    await wait_until(lambda: single_flight.waiters == 0)
    (second,) = await crew(single_flight, tower.call, 1)
    tower.gate.set()
    assert await second == "landed 1"


async def test_a_caller_with_a_deadline_leaves_when_it_is_over() -> None:
    """Its own deadline ends its waiting, and nothing else."""
    single_flight, tower = SingleFlight[str](), Tower()
    (patient,) = await crew(single_flight, tower.call, 1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await single_flight.run(tower.call)
    assert single_flight.waiters == 1
    tower.gate.set()
    assert await patient == "landed 1"


@pytest.mark.parametrize("error", [Landing("ground"), RuntimeError("air")], ids=repr)
async def test_whatever_is_raised_wakes_everybody(error: BaseException) -> None:
    """Nobody hangs, and the flight is free for the next."""
    single_flight, tower = SingleFlight[str](), Tower(error)
    waiting = await crew(single_flight, tower.call, 5)
    tower.gate.set()
    assert await soon(asyncio.gather(*waiting, return_exceptions=True)) == [error] * 5
    assert not single_flight.is_in_the_air
    assert single_flight.waiters == 0


async def test_a_failure_that_nobody_waited_for_is_no_complaint_of_asyncio() -> None:
    """Callers have left, or never were; `nothing_leaks` sees what asyncio logs."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: complaints.append(context)
    )

    async def fail_alone() -> None:
        single_flight, tower = SingleFlight[str](), Tower(ValueError("no"))
        single_flight.start(tower.call)
        for caller in await crew(single_flight, tower.call, 3):
            caller.cancel()
        await wait_until(lambda: single_flight.waiters == 0)
        tower.gate.set()
        await soon(single_flight.wait_idle())

    await fail_alone()
    gc.collect()  # asyncio complains when the task goes
    await asyncio.sleep(0)
    assert complaints == []


async def test_errors_told_to_many_do_not_pile_up_in_the_error() -> None:
    """One error reaches everybody; its traceback must not hold all their frames."""
    single_flight, tower = SingleFlight[str](), Tower(ValueError("no"))
    waiting = await crew(single_flight, tower.call, 50)
    tower.gate.set()
    await asyncio.gather(*waiting, return_exceptions=True)
    error, depth = tower.outcome, 0
    assert isinstance(error, ValueError)
    trace = error.__traceback__
    while trace is not None:
        depth, trace = depth + 1, trace.tb_next
    assert depth < 10


async def test_launch_starts_one_call_and_waits_for_nothing() -> None:
    """A second launch finds the first in the air."""
    single_flight, tower = SingleFlight[str](), Tower()
    single_flight.start(tower.call)
    single_flight.start(tower.call)
    (waiting,) = await crew(single_flight, tower.call, 1)
    tower.gate.set()
    assert await waiting == "landed 1"


async def test_who_is_told_may_start_the_next_call_at_once() -> None:
    """In the very step in which it learns the response, the flight is free again."""
    single_flight, tower = SingleFlight[str](), Tower()
    tower.gate.set()

    async def twice() -> tuple[str, str]:
        return await single_flight.run(tower.call), await single_flight.run(tower.call)

    assert await soon(twice()) == ("landed 1", "landed 2")


async def test_all_who_start_again_at_once_share_again() -> None:
    """Ten callers, twice: two calls."""
    single_flight, tower = SingleFlight[str](), Tower()

    async def twice() -> None:
        await single_flight.run(tower.call)
        await single_flight.run(tower.call)

    tasks = [asyncio.create_task(twice()) for _ in range(10)]
    await wait_until(lambda: single_flight.waiters == 10)
    tower.gate.set()
    await soon(asyncio.gather(*tasks))
    assert tower.calls == 2


async def test_the_call_belongs_to_no_request() -> None:
    """It runs in an empty context: log lines of it carry nobody's request."""
    request = contextvars.ContextVar("request", default="none")
    request.set("the first caller's")

    async def call() -> str:
        return request.get()

    assert await SingleFlight[str]().run(call) == "none"


async def test_landed_returns_at_once_when_nothing_flies() -> None:
    """And waits for what does, without raising its error."""
    single_flight, tower = SingleFlight[str](), Tower(ValueError("no"))
    await single_flight.wait_idle()
    single_flight.start(tower.call)
    landing = asyncio.create_task(single_flight.wait_idle())
    await asyncio.sleep(0)
    assert not landing.done()
    tower.gate.set()
    await soon(landing)
    assert not single_flight.is_in_the_air


def test_a_loop_that_closes_in_mid_flight_leaves_no_noise_behind() -> None:
    """The flight ends with the loop, and serves on another one."""
    single_flight = SingleFlight[str]()

    async def leave_it_flying() -> None:
        single_flight.start(Tower().call)
        await asyncio.sleep(0)
        assert single_flight.is_in_the_air

    async def fly_again() -> str:
        tower = Tower()
        tower.gate.set()
        return await single_flight.run(tower.call)

    asyncio.run(leave_it_flying())
    assert not single_flight.is_in_the_air
    assert asyncio.run(fly_again()) == "landed 1"


async def test_a_cancelled_call_frees_those_who_wait() -> None:
    """Only the loop's end cancels it; even then nobody hangs."""
    single_flight, tower = SingleFlight[str](), Tower()
    waiting = await crew(single_flight, tower.call, 2)
    assert single_flight._task is not None
    single_flight._task.cancel()
    for task in waiting:
        with pytest.raises(asyncio.CancelledError):
            await soon(task)
    assert not single_flight.is_in_the_air
