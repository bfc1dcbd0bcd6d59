"""How long the lock of a store is waited for: once in full, and then not again."""

from __future__ import annotations

import asyncio

import pytest

from bearerd.credential.refresh.lock_wait import STEP_SECONDS, LockWait
from tests.credential.stand_ins import Home, soon

TIMEOUT_SECONDS = 45.0


class Waiter:
    """A process that waits for the lock. Owns the durations that it reported."""

    def __init__(self, home: Home) -> None:
        self.durations: list[float] = []
        self._clock = home.clock
        self.lock = LockWait(
            store=home.store(),
            clock=home.clock.skipping,
            timeout_seconds=TIMEOUT_SECONDS,
            on_lock_acquired=self.durations.append,
        )

    async def seconds(self, *, stops_on_close: bool = True) -> tuple[bool, int]:
        """Return True if the lock was acquired, and the whole seconds of the wait."""
        started_at = self._clock.monotonic()
        is_acquired = False
        try:
            async with self.lock.hold(stops_on_close=stops_on_close):
                is_acquired = True
        except TimeoutError:
            pass
        return is_acquired, round(self._clock.monotonic() - started_at)


@pytest.fixture
def waiter(home: Home) -> Waiter:
    """A process that waits for the lock."""
    return Waiter(home)


async def test_a_stopped_holder_delays_one_caller(home: Home, waiter: Waiter) -> None:
    """Later ones try once, until one of them gets the lock."""
    whole = int(TIMEOUT_SECONDS)
    async with home.store().lock(0):
        found = [await waiter.seconds() for _ in range(3)]
    assert found == [(False, whole), (False, 0), (False, 0)]
    assert await waiter.seconds() == (True, 0)
    async with home.store().lock(0):
        assert await waiter.seconds() == (False, whole)
    assert waiter.durations == [0.0], "only a wait that ended with the lock"


async def test_a_wait_ends_when_the_holder_releases_the_lock(
    home: Home, waiter: Waiter
) -> None:
    """And its duration is reported."""
    holder = home.store().lock(0)
    await holder.__aenter__()
    waiting = asyncio.create_task(waiter.seconds())
    while home.clock.monotonic() < 1_000.0 + 5:  # noqa: ASYNC110 - the clock has no event
        await asyncio.sleep(0)
    await holder.__aexit__(None, None, None)
    is_acquired, _ = await soon(waiting)
    assert is_acquired
    assert 5 <= waiter.durations[0] < TIMEOUT_SECONDS


@pytest.mark.parametrize(
    ("stops_on_close", "expected"),
    [(True, STEP_SECONDS), (False, TIMEOUT_SECONDS)],
)
async def test_closing_ends_only_the_waits_that_stop_for_it(
    home: Home, waiter: Waiter, expected: float, *, stops_on_close: bool
) -> None:
    """Within one step. Saving a credential at the end waits in full."""
    waiter.lock.close()
    async with home.store().lock(0):
        found = [await waiter.seconds(stops_on_close=stops_on_close)]
    found.append(await waiter.seconds())
    assert found == [(False, expected), (True, 0)], "a free lock is still taken"
