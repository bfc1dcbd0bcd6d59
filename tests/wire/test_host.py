"""Host: one, well-formed and one of ours; the upstream gets its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.wire.gateway import Gateway, get, running
from tests.wire.peers import status, values


async def test_an_http_1_1_request_without_host_is_rejected(gateway: Gateway) -> None:
    """Item 19: RFC 9112 section 3.2."""
    head = await gateway.refused(b"GET /v1/models HTTP/1.1\r\n\r\n")
    assert status(head) == 400


@pytest.mark.parametrize("other", [b"localhost", b"evil.example"])
async def test_two_host_lines_are_rejected(gateway: Gateway, other: bytes) -> None:
    """Item 20: even two with the same value."""
    head = await gateway.refused(get(b"/v1/models", b"host: " + other))
    assert status(head) == 400


@pytest.mark.parametrize(
    "host",
    [
        b"a b",
        b"localhost,evil.example",
        b"a@localhost",
        b"",
        b"localhost:port",
        b"local\x80host",
        b"[::1",
        b"localhost/v1",
        b"localhost:123456",
    ],
)
async def test_an_invalid_host_is_rejected(gateway: Gateway, host: bytes) -> None:
    """Item 21: RFC 9112 section 3.2."""
    head = await gateway.refused(b"GET /v1/models HTTP/1.1\r\nHost: %b\r\n\r\n" % host)
    assert status(head) == 400


async def test_the_upstream_gets_its_own_host_once(gateway: Gateway) -> None:
    """Item 22: the client's is replaced."""
    _, _, head = await gateway.asked(get(b"/v1/models"))
    assert values(head, b"host") == [b"127.0.0.1:%d" % gateway.upstream.port]


@pytest.mark.parametrize(
    "host", [b"evil.example", b"localhost.evil.example", b"10.0.0.1", b"127.0.0.2"]
)
async def test_a_foreign_host_is_rejected(gateway: Gateway, host: bytes) -> None:
    """Item 23: a web page can make its own name resolve to this machine."""
    head = await gateway.refused(b"GET /v1/models HTTP/1.1\r\nHost: %b\r\n\r\n" % host)
    assert status(head) == 403
    assert values(head, b"x-bearerd-error") == [b"host_forbidden"]


async def test_a_foreign_host_is_rejected_before_the_credential_is_read(
    tmp_path: Path,
) -> None:
    """Item 23: also where there is no credential."""
    (tmp_path / "auth.json").write_text("{}")
    async with running(tmp_path) as gateway:
        head = await gateway.refused(
            b"GET /v1/a HTTP/1.1\r\nHost: evil.example\r\n\r\n"
        )
        assert values(head, b"x-bearerd-error") == [b"host_forbidden"]


@pytest.mark.parametrize(
    "host",
    [b"[::1]", b"[::1]:8787", b"localhost.", b"LOCALHOST:1", b"127.0.0.1:65535"],
)
async def test_spellings_of_our_own_names_are_accepted(
    gateway: Gateway, host: bytes
) -> None:
    """Item 24: brackets, port, trailing dot, case."""
    await gateway.asked(b"GET /v1/models HTTP/1.1\r\nHost: %b\r\n\r\n" % host)
