"""The event stream of `/api/events`: each event, for each of its subscribers.

Each subscriber has a bounded queue. A subscriber that does not keep up loses events, and
then gets an event with their number; it never delays the daemon.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from bearerd.admin.event_format import EVENT_NAMES, event_fields
from bearerd.admin.redaction import Redaction
from bearerd.errors import Overloaded
from bearerd.events import Event

QUEUE_LIMIT: Final = 256
"""The events in the queue of one subscriber: some seconds of a busy daemon."""

SUBSCRIBER_LIMIT: Final = 32
"""Enough for the terminals of operators; it bounds a leak of connections."""


class Subscription:
    """The queue of one subscriber. Owns the number of events that did not fit."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(QUEUE_LIMIT)
        self._lost = 0

    def put(self, frame: bytes) -> None:
        """Queue *frame*, or count it as lost."""
        try:
            if self._lost:
                self._queue.put_nowait(_frame("events.lost", {"count": self._lost}))
                self._lost = 0
            self._queue.put_nowait(frame)
        except asyncio.QueueFull:
            self._lost += 1

    def close(self) -> None:
        """End the stream: `next` returns None from now on."""
        while self._queue.full():
            self._queue.get_nowait()
        self._queue.put_nowait(None)

    async def next(self) -> bytes | None:
        """Return the next frame, or None when the stream is over."""
        return await self._queue.get()


class EventFeed:
    """An observer that passes each event to all subscribers. Owns their set.

    *secrets* are hidden in every field, beside what looks like a secret.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._redaction = Redaction(secrets)
        self._subscriptions: set[Subscription] = set()
        self._is_closed = False

    def __call__(self, event: Event) -> None:
        """Pass *event* on, as one frame of an event stream."""
        if self._subscriptions:
            fields = self._redaction.fields(event_fields(event))
            frame = _frame(EVENT_NAMES[type(event)], fields)
            for subscription in self._subscriptions:
                subscription.put(frame)

    @contextmanager
    def subscribe(self) -> Iterator[Subscription]:
        """Subscribe for the time of the context.

        Raises:
            Overloaded: there are `SUBSCRIBER_LIMIT` subscribers already.
        """
        if len(self._subscriptions) >= SUBSCRIBER_LIMIT:
            raise Overloaded(
                f"{SUBSCRIBER_LIMIT} clients read the events already; close one of them",
                retry_after_seconds=10,
            )
        subscription = Subscription()
        if self._is_closed:
            subscription.close()
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    def close(self) -> None:
        """End all streams, and at once each one that is still opened."""
        self._is_closed = True
        for subscription in self._subscriptions:
            subscription.close()


def _frame(name: str, fields: dict[str, object]) -> bytes:
    """Return a frame of an event stream (HTML standard, section 9.2.6)."""
    return f"event: {name}\ndata: {json.dumps(fields)}\n\n".encode()
