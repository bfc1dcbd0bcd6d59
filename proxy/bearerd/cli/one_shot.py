"""Runs one coroutine as a whole command, alone or with a profile's credential source.

Loads the client of the authority, so a command imports this module when it is called.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from bearerd.builders import open_source
from bearerd.cli.program import print_stderr
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


def run_with_source(
    settings: Settings,
    profile: str,
    use: Callable[[CredentialSource], Coroutine[Any, Any, T]],
) -> T:
    """Open the credential source of *profile*, and return the result of *use*.

    A refresh that *use* starts is stored before this returns, and after a first signal
    too: the old token may be spent. A second signal ends the command at once.

    Raises:
        BearerdError: as *use* does; ConfigurationError if there is no such profile.
        KeyboardInterrupt: a signal ended it.
    """

    async def opened() -> T:
        async with open_source(settings, profile, _print_event) as source:
            try:
                return await use(source)
            except asyncio.CancelledError:
                if source.is_refreshing:
                    print_stderr(
                        "waiting for the response to a refresh, so that the login is not "
                        "lost; a second signal ends this at once"
                    )
                raise

    return run_async(opened())


def _print_event(event: Event) -> None:
    """Print the one event that no error reports: a new login that could not be stored."""
    if isinstance(event, CredentialHeldInMemory):
        print_stderr(
            f"the new login of profile {event.profile} could not be stored and is lost "
            f"when this command ends: {event.reason}"
        )
