"""Signals and cancellation, in the main thread and outside it."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from bearerd.cli.one_shot import run_async
from bearerd.cli.signals import TERMINATION_SIGNALS, handle_signals


@pytest.mark.parametrize("number", TERMINATION_SIGNALS)
async def test_a_signal_calls_the_handler_with_its_number(
    number: signal.Signals,
) -> None:
    """Each of the three."""
    received: asyncio.Queue[int] = asyncio.Queue()
    handle_signals(received.put_nowait)
    try:
        os.kill(os.getpid(), number)
        async with asyncio.timeout(10):
            assert await received.get() == number
    finally:
        for one in TERMINATION_SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(one)


async def test_outside_the_main_thread_no_handler_is_installed() -> None:
    """Python would raise there; the command runs without handlers."""

    async def install() -> str:
        handle_signals(lambda _: None)
        return "installed nothing"

    result = await asyncio.to_thread(lambda: run_async(install()))
    assert result == "installed nothing"


def test_a_signal_cancels_the_work_of_a_command() -> None:
    """Its cleanup runs, and the command ends as one that Ctrl-C interrupts."""
    steps: list[str] = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.Event().wait()
        finally:
            steps.append("cleaned up")

    with pytest.raises(KeyboardInterrupt):
        run_async(work())
    assert steps == ["cleaned up"]
