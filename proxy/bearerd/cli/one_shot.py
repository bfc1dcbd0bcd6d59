"""Runs one coroutine as a whole command, alone or with a profile's credential source.

Loads the client of the authority, so a command imports this module when it is called.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from bearerd.builders import open_source
from bearerd.cli.program import complain
from bearerd.cli.signals import handle_signals
from bearerd.credential.source import CredentialSource
from bearerd.events import CredentialHeldInMemory, Event
from bearerd.settings import Settings

T = TypeVar("T")


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Return the result of *work*. Ctrl-C, SIGTERM and SIGHUP cancel it.

    Raises:
        KeyboardInterrupt: a signal cancelled it, and its cleanup is done.
    """

    async def cancelled_by_signals() -> T:
        task = asyncio.ensure_future(work)
        handle_signals(lambda _: task.cancel())
        return await task

    try:
        return asyncio.run(cancelled_by_signals())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def with_source(
    settings: Settings,
    profile: str,
    ask: Callable[[CredentialSource], Coroutine[Any, Any, T]],
) -> T:
    """Return what *ask* makes of the profile's source.

    A refresh that it began lands and is stored before this returns.

    Raises:
        BearerdError: as *ask* does; ConfigurationError if there is no such profile.
    """

    async def opened() -> T:
        async with open_source(settings, profile, tell) as source:
            return await ask(source)

    return asyncio.run(opened())


def tell(event: Event) -> None:
    """Say what a person must know and no error says."""
    if isinstance(event, CredentialHeldInMemory):
        complain(
            f"the new login of profile {event.profile} could not be stored and is lost "
            f"with this command: {event.reason}"
        )
