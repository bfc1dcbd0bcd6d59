"""The checks that contact other machines."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from bearerd.clock import Clock
from bearerd.credential.authority.client import AuthorityClient
from bearerd.doctor.online import check_online, compare_clocks
from bearerd.sandbox import Sandbox


@asynccontextmanager
async def client_of(issuer_url: str) -> AsyncIterator[AuthorityClient]:
    """Yield a client of the authority at a URL."""
    async with aiohttp.ClientSession() as session:
        yield AuthorityClient(
            session,
            issuer_url=issuer_url,
            token_url=f"{issuer_url}/oauth/token",
            client_id="app_test",
            timeout_seconds=5.0,
        )


async def test_authority_and_upstream_are_reached() -> None:
    """A response with any status will do, and the authority's date is compared."""
    async with Sandbox() as sandbox, client_of(sandbox.issuer_url) as client:
        found = await check_online(client, sandbox.upstream_url, Clock())
    assert [finding.topic for finding in found] == ["authority", "upstream", "clock"]
    assert {finding.verdict for finding in found} == {"ok"}


async def test_a_server_that_is_not_reached_is_a_failure() -> None:
    """Here, nothing listens on the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    async with client_of(url) as client:
        found = await check_online(client, url, Clock())
    assert [finding.verdict for finding in found] == ["failed", "failed"]
    assert url in found[0].message


@pytest.mark.parametrize(
    ("seconds", "verdict", "word"),
    [(5, "ok", "agrees"), (90, "warning", "fast"), (-90, "warning", "slow")],
)
def test_a_wrong_clock_is_a_warning(seconds: float, verdict: str, word: str) -> None:
    """Expiry is decided by it."""
    finding = compare_clocks("Thu, 01 Jan 1970 01:00:00 GMT", 3600 + seconds)
    assert finding.verdict == verdict
    assert word in finding.message


def test_an_invalid_date_is_skipped() -> None:
    """It proves nothing about this machine's clock."""
    assert compare_clocks("soon", 0).verdict == "skipped"
