"""Via, and requests that return to the same gateway."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.wire.gateway import Gateway, get, running
from tests.wire.peers import status, values


async def test_no_via_is_sent_by_default(gateway: Gateway) -> None:
    """Item 103: where a request came from is not disclosed, unless the setting `via`
    asks for it.
    """
    _, _, head = await gateway.asked(get(b"/v1/models", b"Via: 1.1 other"))
    assert values(head, b"via") == []


async def test_via_is_sent_where_it_is_set(tmp_path: Path) -> None:
    """Item 103: RFC 9110 section 7.6.3, with a pseudonym."""
    async with running(tmp_path, via="true") as gateway:
        _, _, head = await gateway.asked(get(b"/v1/models"))
        assert values(head, b"via") == [b"1.1 bearerd"]


@pytest.mark.parametrize("via", [b"1.1 bearerd", b"1.0 a, HTTP/1.1 Bearerd (x)"])
async def test_a_request_with_our_via_is_rejected(gateway: Gateway, via: bytes) -> None:
    """Item 104: it would be forwarded in a loop."""
    assert status(await gateway.refused(get(b"/v1/models", b"Via: " + via))) == 508


async def test_another_proxys_via_is_no_loop(gateway: Gateway) -> None:
    """Item 104: only our own pseudonym shows a loop."""
    _, _, head = await gateway.asked(get(b"/v1/models", b"Via: 1.1 bearerd.example"))
    assert values(head, b"via") == []
