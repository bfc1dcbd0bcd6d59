"""A body that is sent again: whatever breaks off, each whole attempt sends the same."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from bearerd.relay.body import ReplayBody, ReplayMemory
from tests.fuzz.shapes import fuzzed

TOTAL = 64


@dataclass
class ClientBody:
    """A client's body, part by part; `arrived` counts the parts that have come."""

    parts: list[bytes]
    arrived: int = 0
    unread: bytes = b""
    has_changed: asyncio.Event = field(default_factory=asyncio.Event)

    def arrive(self) -> None:
        """Let the next part come, or the end behind the last."""
        if self.arrived < len(self.parts):
            self.unread += self.parts[self.arrived]
        self.arrived += 1
        self.has_changed.set()

    def is_eof(self) -> bool:
        return self.arrived > len(self.parts)

    def read_nowait(self, n: int = -1) -> bytes:
        assert n == -1
        taken, self.unread = self.unread, b""
        return taken

    async def readany(self) -> bytes:
        while not self.unread and not self.is_eof():
            self.has_changed.clear()
            await self.has_changed.wait()
        return self.read_nowait()


class BodySent(RuleBasedStateMachine):
    """One request's body, with attempts that break off at any point."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.memory = ReplayMemory(TOTAL)
        self.reasons: list[str] = []
        self.sent: list[bytes] = []
        self.attempt: asyncio.Task[None] | None = None
        self.is_released = False

    @initialize(
        parts=st.lists(st.binary(min_size=1, max_size=30), max_size=6),
        limit=st.integers(0, 100),
        used_by_others=st.integers(0, TOTAL),
    )
    def begin(self, parts: list[bytes], limit: int, used_by_others: int) -> None:
        """Begin with a client's body; other requests use some of the memory."""
        self.used_by_others = used_by_others
        assert self.memory.acquire(used_by_others)
        self.client_body = ClientBody(parts)
        self.limit = limit
        self.body = ReplayBody(
            self.client_body,
            limit_bytes=limit,
            memory=self.memory,
            on_abandon=self.reasons.append,
        )

    @rule()
    def a_part_arrives(self) -> None:
        """More of the body comes, or its end."""
        if not self.client_body.is_eof():
            self.client_body.arrive()
        self.run()

    @precondition(lambda self: self.may_send())
    @rule()
    def an_attempt_begins(self) -> None:
        """Send it, as a whole if it has come whole."""
        self.sent.append(b"")
        whole = self.body.read_if_complete()
        if whole is not None:
            self.sent[-1] = whole
            self.check_whole()
            return
        self.attempt = self.loop.create_task(self.send())
        self.run()

    @precondition(lambda self: self.attempt is not None)
    @rule()
    def the_attempt_breaks_off(self) -> None:
        """It is cancelled where it waits."""
        assert self.attempt is not None
        self.attempt.cancel()
        self.run()

    @precondition(lambda self: not self.is_released and self.attempt is None)
    @rule()
    def it_is_released(self) -> None:
        """The request is over."""
        self.body.release()
        self.is_released = True

    @invariant()
    def the_memory_is_accounted_for(self) -> None:
        """What is kept is within both limits, and released at the end."""
        if not hasattr(self, "body"):
            return
        kept = self.memory.used_bytes - self.used_by_others
        assert 0 <= kept <= min(self.limit, TOTAL - self.used_by_others)
        if self.is_released or self.reasons:
            assert kept == 0
        assert len(self.reasons) <= 1

    def may_send(self) -> bool:
        """Return True if an exchange would send it: first, or again if it can."""
        is_first = not self.sent
        can_send = self.body.is_replayable or is_first
        return self.attempt is None and not self.is_released and can_send

    def check_whole(self) -> None:
        """An attempt that has come to its end has sent the whole body."""
        assert self.sent[-1] == b"".join(self.client_body.parts)

    async def send(self) -> None:
        """Do as an upload does."""
        try:
            async for part in self.body.chunks():
                assert part
                self.sent[-1] += part
            self.check_whole()
        finally:
            self.attempt = None

    def run(self) -> None:
        """Let the attempt go as far as it can, and raise what it raised."""
        attempt = self.attempt

        async def turns() -> None:
            for _ in range(4):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())
        if attempt is not None and attempt.done() and not attempt.cancelled():
            attempt.result()

    def teardown(self) -> None:
        """Leave no task behind."""
        if self.attempt is not None:
            self.attempt.cancel()
            self.run()
        self.loop.close()


TestBodySent = BodySent.TestCase
TestBodySent.settings = settings(fuzzed, stateful_step_count=25)
