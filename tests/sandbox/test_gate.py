"""Gates and notifiers."""

import asyncio

import pytest

from bearerd.sandbox.gate import Gate, Notifier


async def test_an_open_gate_lets_a_call_pass_at_once() -> None:
    """A gate that no test uses costs nothing."""
    gate = Gate()
    await gate.pass_through()
    assert gate.waiting == 0
    assert repr(gate) == "<Gate open, 0 waiting>"


@pytest.mark.parametrize(
    ("newest_first", "order"), [(False, [0, 1, 2]), (True, [2, 0, 1])]
)
async def test_a_closed_gate_releases_the_requested_number_of_calls(
    newest_first: bool, order: list[int]
) -> None:
    """The oldest call passes first, or the newest; the gate stays closed."""
    gate, passed = Gate(), list[int]()
    gate.close()

    async def call(number: int) -> None:
        await gate.pass_through()
        passed.append(number)

    async with asyncio.TaskGroup() as calls:
        tasks = [calls.create_task(call(number)) for number in range(3)]
        await gate.wait_for_waiting(3)
        gate.release(newest_first=newest_first)
        await tasks[order[0]]
        assert passed == order[:1]
        assert repr(gate) == "<Gate closed, 2 waiting>"
        gate.open()
    assert passed == order
    await gate.pass_through()


async def test_a_cancelled_call_leaves_the_queue() -> None:
    """`waiting` counts only the calls that still wait."""
    gate = Gate()
    gate.close()
    call = asyncio.create_task(gate.pass_through())
    await gate.wait_for_waiting(1)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert gate.waiting == 0
    gate.release(5)


async def test_a_call_can_be_cancelled_and_released_at_once() -> None:
    """The release finds a future that is done."""
    gate = Gate()
    gate.close()
    call = asyncio.create_task(gate.pass_through())
    await gate.wait_for_waiting(1)
    call.cancel()
    gate.release()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_a_timeout_names_what_was_waited_for() -> None:
    """A bare timeout would not name the condition that stayed false."""
    with pytest.raises(TimeoutError, match="2 calls at the gate"):
        await Gate().wait_for_waiting(2, timeout_seconds=0.01)


async def test_a_notifier_wakes_a_waiter_whose_condition_is_true() -> None:
    """A waiter whose condition is still false waits on."""
    notifier, seen = Notifier(), list[int]()
    waiter = asyncio.create_task(
        notifier.wait_for(lambda: len(seen) >= 2, description="two")
    )
    await asyncio.sleep(0)
    for number in range(2):
        assert not waiter.done()
        seen.append(number)
        notifier.notify()
        await asyncio.sleep(0)
    await waiter
