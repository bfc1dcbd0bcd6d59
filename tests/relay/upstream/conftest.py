"""Fixtures that more than one file of this folder needs."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.relay.upstream.ends import Ends
from tests.wire.peers import RawUpstream


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    """A connection that is open, and its upstream."""
    async with RawUpstream() as server:
        opened = Ends()
        await opened.connect(server)
        yield opened
        opened.connection.abort()
