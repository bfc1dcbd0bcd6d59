"""Holds and bells."""

import asyncio

import pytest

from bearerd.sandbox.gate import Bell, Hold


async def test_an_open_hold_stops_nobody() -> None:
    """It costs nothing when no test uses it."""
    hold = Hold()
    await hold.pass_through()
    assert hold.waiting == 0


async def test_a_closed_hold_lets_through_as_many_as_it_is_told() -> None:
    """In the order they came, and the door stays closed."""
    hold, passed = Hold(), list[int]()
    hold.close()

    async def call(number: int) -> None:
        await hold.pass_through()
        passed.append(number)

    async with asyncio.TaskGroup() as calls:
        tasks = [calls.create_task(call(number)) for number in range(3)]
        await hold.wait_for_waiting(3)
        hold.release()
        await tasks[0]
        assert passed == [0]
        assert hold.waiting == 2
        hold.open()
    assert passed == [0, 1, 2]
    await hold.pass_through()


async def test_a_call_that_gives_up_leaves_the_line() -> None:
    """Waiting counts only those who wait."""
    hold = Hold()
    hold.close()
    call = asyncio.create_task(hold.pass_through())
    await hold.wait_for_waiting(1)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert hold.waiting == 0
    hold.release(5)


async def test_a_call_cancelled_as_it_is_released_is_no_trouble() -> None:
    """Release meets a turn that is already over."""
    hold = Hold()
    hold.close()
    call = asyncio.create_task(hold.pass_through())
    await hold.wait_for_waiting(1)
    call.cancel()
    hold.release()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_waiting_in_vain_says_for_what() -> None:
    """A test that hangs would say nothing."""
    with pytest.raises(TimeoutError, match="2 calls at the hold"):
        await Hold().wait_for_waiting(2, timeout_seconds=0.01)


async def test_a_bell_wakes_for_a_claim_that_came_true() -> None:
    """And goes on waiting for one that did not."""
    bell, seen = Bell(), list[int]()
    waiter = asyncio.create_task(bell.wait_until(lambda: len(seen) >= 2, what="two"))
    await asyncio.sleep(0)
    for number in range(2):
        assert not waiter.done()
        seen.append(number)
        bell.ring()
        await asyncio.sleep(0)
    await waiter
