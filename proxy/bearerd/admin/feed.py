"""The event stream: what happens now, for whoever listens on `/api/events`.

Each subscriber has a bounded queue. One that does not keep up loses events and is told
how many; nobody waits for it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from bearerd.admin.event_format import NAMES, fields_of
from bearerd.admin.redaction import Redaction
from bearerd.errors import Overloaded
from bearerd.events import Event

QUEUE_LIMIT: Final = 256
"""Events that may wait for one subscriber: some seconds of a busy daemon."""

SUBSCRIBER_LIMIT: Final = 32
"""Enough for every operator's terminal; a leak of connections stops here."""


class Subscription:
    """One listener's queue, and the count of what did not fit."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(QUEUE_LIMIT)
        self._lost = 0

    def offer(self, frame: bytes) -> None:
        """Queue *frame*, or count it as lost."""
        try:
            if self._lost:
                self._queue.put_nowait(_frame("events.lost", {"count": self._lost}))
                self._lost = 0
            self._queue.put_nowait(frame)
        except asyncio.QueueFull:
            self._lost += 1

    def end(self) -> None:
        """Let the listener go: `next` gives None from now on."""
        while self._queue.full():
            self._queue.get_nowait()
        self._queue.put_nowait(None)

    async def next(self) -> bytes | None:
        """Return the next frame, or None when the stream is over."""
        return await self._queue.get()


class EventFeed:
    """An observer that hands each event to all subscribers. Owns who they are."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._redaction = Redaction(known)
        self._subscriptions: set[Subscription] = set()
        self._is_over = False

    def __call__(self, event: Event) -> None:
        """Hand *event* on, as one frame of an event stream."""
        if self._subscriptions:
            fields = self._redaction.fields(fields_of(event))
            frame = _frame(NAMES[type(event)], fields)
            for subscription in self._subscriptions:
                subscription.offer(frame)

    @contextmanager
    def subscribe(self) -> Iterator[Subscription]:
        """Listen for as long as the context lasts.

        Raises:
            Overloaded: there are as many subscribers as may be.
        """
        if len(self._subscriptions) >= SUBSCRIBER_LIMIT:
            raise Overloaded(
                f"{SUBSCRIBER_LIMIT} clients listen to the events already; close one",
                retry_after_seconds=10,
            )
        subscription = Subscription()
        if self._is_over:
            subscription.end()
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    def end(self) -> None:
        """Let all subscribers go, and those who still come."""
        self._is_over = True
        for subscription in self._subscriptions:
            subscription.end()


def _frame(name: str, fields: dict[str, object]) -> bytes:
    """Return a frame as the HTML standard has it, section 9.2.6 (event streams)."""
    return f"event: {name}\ndata: {json.dumps(fields)}\n\n".encode()
