"""The event stream: each subscriber gets the events, and none delays the daemon."""

from __future__ import annotations

import json
from contextlib import ExitStack

import pytest

from bearerd.admin.feed import QUEUE_LIMIT, SUBSCRIBER_LIMIT, EventFeed, Subscription
from bearerd.errors import Overloaded
from bearerd.events import ClockJumped
from tests.admin.conftest import OPERATOR_KEY, SECRETS, example


async def read(subscription: Subscription) -> tuple[str, dict[str, object]]:
    """Return the name and the fields of the next frame."""
    frame = await subscription.next()
    assert frame is not None
    name, data, *end = frame.decode().split("\n")
    assert end == ["", ""]
    fields = json.loads(data.removeprefix("data: "))
    return name.removeprefix("event: "), fields


async def test_each_subscriber_gets_each_event() -> None:
    """From its subscription on."""
    feed = EventFeed()
    feed(ClockJumped(1.0))
    with feed.subscribe() as one, feed.subscribe() as other:
        feed(ClockJumped(2.0))
        assert await read(one) == ("clock.jumped", {"seconds": 2.0})
        assert await read(other) == ("clock.jumped", {"seconds": 2.0})


async def test_a_slow_subscriber_loses_events_and_gets_their_number() -> None:
    """Its queue is bounded; the other subscribers lose nothing."""
    feed = EventFeed()
    with feed.subscribe() as slow:
        for number in range(QUEUE_LIMIT + 5):
            feed(ClockJumped(float(number)))
        with feed.subscribe() as quick:
            feed(ClockJumped(-1.0))
            assert await read(quick) == ("clock.jumped", {"seconds": -1.0})
        for number in range(QUEUE_LIMIT):
            assert await read(slow) == ("clock.jumped", {"seconds": float(number)})
        feed(ClockJumped(-2.0))
        assert await read(slow) == ("events.lost", {"count": 6})
        assert await read(slow) == ("clock.jumped", {"seconds": -2.0})


async def test_the_number_of_subscribers_is_bounded() -> None:
    """One that ends makes room for another."""
    feed = EventFeed()
    with ExitStack() as stack:
        for _ in range(SUBSCRIBER_LIMIT):
            stack.enter_context(feed.subscribe())
        with pytest.raises(Overloaded) as caught, feed.subscribe():
            pass
        assert caught.value.retry_after_seconds
    with feed.subscribe():
        pass


async def test_closing_ends_every_stream() -> None:
    """One with a full queue, and one that is opened later."""
    feed = EventFeed()
    with feed.subscribe() as full, feed.subscribe() as empty:
        for _ in range(QUEUE_LIMIT):
            feed(ClockJumped(1.0))
        assert await empty.next() is not None
        feed.close()
        frames = [await full.next() for _ in range(QUEUE_LIMIT)]
        assert frames[-1] is None
    with feed.subscribe() as late:
        assert await late.next() is None


@pytest.mark.parametrize("secret", [*SECRETS, OPERATOR_KEY])
async def test_no_secret_is_in_any_frame(kind: type, secret: str) -> None:
    """The stream has the same redaction as the log."""
    feed = EventFeed([OPERATOR_KEY])
    with feed.subscribe() as subscription:
        feed(example(kind, f"before {secret} after"))
        frame = await subscription.next()
    assert frame is not None
    assert secret not in frame.decode()
