"""Section H of the gateway's checklist: Via, and requests that go round in a circle."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.wire.gateway import Gateway, get, running
from tests.wire.peers import status, values


async def test_no_via_is_sent_unless_it_is_asked_for(gateway: Gateway) -> None:
    """Item 103: where a request came from is nobody's business; ours is a gateway."""
    _, _, head = await gateway.asked(get(b"/v1/models", b"Via: 1.1 other"))
    assert values(head, b"via") == []


async def test_via_names_us_where_it_is_asked_for(tmp_path: Path) -> None:
    """Item 103: RFC 9110 section 7.6.3, with a pseudonym."""
    async with running(tmp_path, via="true") as gateway:
        _, _, head = await gateway.asked(get(b"/v1/models"))
        assert values(head, b"via") == [b"1.1 bearerd"]


@pytest.mark.parametrize("via", [b"1.1 bearerd", b"1.0 a, HTTP/1.1 Bearerd (x)"])
async def test_a_request_that_was_here_before_is_refused(
    gateway: Gateway, via: bytes
) -> None:
    """Item 104: it would go round until something breaks."""
    assert status(await gateway.refused(get(b"/v1/models", b"Via: " + via))) == 508


async def test_another_proxys_via_is_no_loop(gateway: Gateway) -> None:
    """Item 104: only our own name tells."""
    _, _, head = await gateway.asked(get(b"/v1/models", b"Via: 1.1 bearerd.example"))
    assert values(head, b"via") == []
