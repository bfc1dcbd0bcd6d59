"""How commands use a credential without a daemon: the source, opened for one question.

Loads what talks to the authority, so it is imported by a command when it is called.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from bearerd.builders import open_source
from bearerd.cli.program import complain
from bearerd.credential.source import CredentialSource
from bearerd.events import CredentialHeldInMemory, Event
from bearerd.settings import Settings

T = TypeVar("T")


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
