"""The admin listener, over real sockets: access, responses, and the event stream."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus
from pathlib import Path

import aiohttp
import pytest

from bearerd.address import Address, parse_address
from bearerd.admin.feed import SUBSCRIBER_LIMIT, EventFeed
from bearerd.admin.metrics import Metrics
from bearerd.admin.server import PATHS, AdminServer
from bearerd.admin.status import ServiceStatus
from bearerd.clock import Clock
from bearerd.errors import StartError
from bearerd.events import LoginNeeded
from tests.admin.conftest import NOW, SECRETS, missing, service


class Daemon:
    """What the admin listener needs, with a status that a test can change."""

    def __init__(self) -> None:
        self.status: ServiceStatus = service()
        self.feed = EventFeed()
        self.metrics = Metrics(
            streams_active=lambda: 0,
            refresh_waiters=lambda: 0,
            sources=lambda: self.status.sources,
        )

    def server(
        self,
        *texts: str,
        allowed_hosts: tuple[str, ...] = (),
        ping_seconds: float = 15.0,
    ) -> AdminServer:
        return AdminServer(
            [parse_address(text) for text in texts],
            status=lambda: self.status,
            metrics=self.metrics,
            feed=self.feed,
            clock=Clock(now=lambda: NOW),
            allowed_hosts=allowed_hosts,
            ping_seconds=ping_seconds,
        )


@asynccontextmanager
async def running(server: AdminServer) -> AsyncIterator[tuple[Address, ...]]:
    """Run *server*; yield its addresses."""
    addresses = await server.start()
    try:
        yield addresses
    finally:
        await server.stop()


@pytest.fixture
def daemon() -> Daemon:
    """A daemon with a valid login."""
    return Daemon()


@pytest.fixture
async def base(daemon: Daemon) -> AsyncIterator[str]:
    """The URL of its admin listener, on loopback."""
    async with running(daemon.server("127.0.0.1:0")) as (address,):
        assert address.base_url is not None
        yield address.base_url


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client."""
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.mark.parametrize("path", PATHS)
async def test_every_path_answers_get_and_head(
    base: str, http: aiohttp.ClientSession, path: str
) -> None:
    """Both have the same head, with the fields that restrict a browser."""
    async with http.get(base + path) as got:
        assert got.status == 200
    async with http.head(base + path) as head:
        assert head.status == 200
        assert await head.read() == b""
    for name in ("Cache-Control", "Content-Security-Policy", "X-Content-Type-Options"):
        assert got.headers[name] == head.headers[name]
    assert got.headers["Cache-Control"] == "no-store"
    assert got.headers["X-Frame-Options"] == "DENY"
    assert got.headers["Server"] == "bearerd"
    assert not [name for name in got.headers if name.startswith("Access-Control")]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_other_methods_are_refused(
    base: str, http: aiohttp.ClientSession, method: str
) -> None:
    """This listener changes nothing."""
    for path in (*PATHS, "/nowhere"):
        async with http.request(method, base + path) as response:
            assert response.status == 405
            assert response.headers["Allow"] == "GET, HEAD"
            assert response.headers["x-bearerd-error"] == "method_not_allowed"


async def test_an_unknown_path_is_a_404_that_lists_the_paths(
    base: str, http: aiohttp.ClientSession
) -> None:
    """In the form of all of bearerd's errors."""
    async with http.get(f"{base}/v1/models") as response:
        assert response.status == 404
        error = (await response.json())["error"]
    assert (error["type"], error["code"]) == ("bearerd_error", "not_found")
    for path in PATHS:
        assert path in error["message"]


async def test_health_follows_the_status(
    base: str, http: aiohttp.ClientSession, daemon: Daemon
) -> None:
    """Without a login it is not ready, and still alive."""

    async def ask(path: str) -> tuple[int, dict[str, object]]:
        async with http.get(base + path) as response:
            assert response.content_type == "application/json"
            return response.status, await response.json()

    assert (await ask("/readyz"))[0] == 200
    daemon.status = service(missing())
    status, document = await ask("/readyz")
    assert status == 503
    assert "sign in" in json.dumps(document)
    assert (await ask("/livez"))[0] == 200
    status, document = await ask("/healthz")
    assert (status, document["status"]) == (200, "degraded")
    assert (await ask("/api/status"))[1]["profiles"][0]["reason"] == "missing"  # type: ignore[index]


async def test_the_page_is_html_with_a_policy(
    base: str, http: aiohttp.ClientSession
) -> None:
    """The browser reloads it by itself."""
    async with http.get(base) as response:
        assert response.content_type == "text/html"
        assert "style-src 'sha256-" in response.headers["Content-Security-Policy"]
        assert response.headers["Refresh"] == "10"
        assert "acct-made-up" in await response.text()


async def test_metrics_are_prometheus_text(
    base: str, http: aiohttp.ClientSession
) -> None:
    """Whatever Accept says."""
    async with http.get(f"{base}/metrics") as response:
        assert (
            response.headers["Content-Type"]
            == "text/plain; version=0.0.4; charset=utf-8"
        )
        assert 'bearerd_login_required{profile="default"} 0.0' in await response.text()


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8788", "127.0.0.1", "127.0.0.1:1", "[::1]:8788", "[::1]"],
)
async def test_a_loopback_name_is_allowed(
    base: str, http: aiohttp.ClientSession, host: str
) -> None:
    """With any port: a forwarded port is another one."""
    async with http.get(f"{base}/livez", headers={"Host": host}) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8788",
        "localhost.evil.example",
        "192.0.2.1",
        "[::2]",
        "",
    ],
)
async def test_another_name_is_refused_on_loopback(
    base: str, http: aiohttp.ClientSession, host: str
) -> None:
    """A web page can make its name resolve to 127.0.0.1, but it cannot hide the name."""
    for path in PATHS:
        async with http.get(base + path, headers={"Host": host}) as response:
            assert response.status == 403
            assert response.headers["x-bearerd-error"] == "host_forbidden"


async def test_an_allowed_name_is_accepted(
    daemon: Daemon, http: aiohttp.ClientSession
) -> None:
    """As a reverse proxy sends it."""
    server = daemon.server("127.0.0.1:0", allowed_hosts=("bearerd.example",))
    async with running(server) as (address,):
        for host in ("bearerd.example", "Bearerd.Example:443"):
            url = f"{address.base_url}/livez"
            async with http.get(url, headers={"Host": host}) as response:
                assert response.status == 200


async def test_a_listener_open_to_other_machines_accepts_any_name(
    daemon: Daemon, http: aiohttp.ClientSession
) -> None:
    """It cannot know by which name they reach it."""
    async with running(daemon.server("0.0.0.0:0")) as (address,):
        headers = {"Host": "pod.example"}
        async with http.get(f"{address.base_url}/livez", headers=headers) as response:
            assert response.status == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:1"]
)
async def test_a_page_of_another_site_is_refused(
    base: str, http: aiohttp.ClientSession, origin: str
) -> None:
    """The browser would not let it read a response anyway."""
    for path in PATHS:
        async with http.get(base + path, headers={"Origin": origin}) as response:
            assert response.status == 403
            assert response.headers["x-bearerd-error"] == "origin_forbidden"
    async with http.get(f"{base}/livez", headers={"Origin": base}) as response:
        assert response.status == 200


async def test_events_are_streamed_as_they_happen(
    base: str, http: aiohttp.ClientSession, daemon: Daemon
) -> None:
    """Without secrets. The stream ends with the listener."""
    async with http.get(f"{base}/api/events") as response:
        assert response.content_type == "text/event-stream"
        assert await response.content.readuntil(b"\n\n") == (b": events of bearerd\n\n")
        daemon.feed(LoginNeeded("default", "login_required", "reused", SECRETS[0]))
        frame = await response.content.readuntil(b"\n\n")
        name, data = frame.decode().strip().split("\n")
        assert name == "event: login.needed"
        fields = json.loads(data.removeprefix("data: "))
        assert (fields["reason"], fields["message"]) == ("reused", "(hidden)")
        daemon.feed.close()
        assert await response.content.read() == b""


async def test_an_idle_stream_is_kept_open(
    daemon: Daemon, http: aiohttp.ClientSession
) -> None:
    """By comments, so that no proxy closes it."""
    async with (
        running(daemon.server("127.0.0.1:0", ping_seconds=0.01)) as (address,),
        http.get(f"{address.base_url}/api/events") as response,
    ):
        await response.content.readuntil(b"\n\n")
        for _ in range(3):
            assert await response.content.readuntil(b"\n\n") == b": keep-alive\n\n"


async def test_one_subscriber_too_many_gets_a_503(
    base: str, http: aiohttp.ClientSession
) -> None:
    """With Retry-After."""
    async with AsyncExitStack() as stack:
        for _ in range(SUBSCRIBER_LIMIT):
            response = await stack.enter_async_context(http.get(f"{base}/api/events"))
            assert response.status == 200
        async with http.get(f"{base}/api/events") as response:
            assert response.status == 503
            assert response.headers["x-bearerd-error"] == "overloaded"
            assert int(response.headers["Retry-After"]) > 0


async def test_stop_does_not_wait_for_subscribers(
    daemon: Daemon, http: aiohttp.ClientSession
) -> None:
    """An unread stream would otherwise delay the end of the process."""
    server = daemon.server("127.0.0.1:0")
    (address,) = await server.start()
    async with http.get(f"{address.base_url}/api/events") as response:
        assert response.status == 200
        async with asyncio.timeout(5):
            await server.stop()
    assert server.addresses == ()


async def test_several_addresses_are_served_at_once(
    daemon: Daemon, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """IPv4, a name, a unix socket, and IPv6 where the machine has it."""
    path = tmp_path / "admin.sock"
    texts = ["127.0.0.1:0", "localhost:0", f"unix:{path}"]
    if _has_ipv6():
        texts.append("[::1]:0")
    async with running(daemon.server(*texts)) as addresses:
        for address in addresses:
            if address.base_url is not None:
                assert address.port != 0
                async with http.get(f"{address.base_url}/livez") as response:
                    assert response.status == 200
        connector = aiohttp.UnixConnector(str(path))
        async with (
            aiohttp.ClientSession(connector=connector) as unix,
            unix.get("http://other.example/livez") as response,
        ):
            assert response.status == 200


async def test_a_port_in_use_is_an_error_with_the_setting(daemon: Daemon) -> None:
    """No other address stays open."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        server = daemon.server("127.0.0.1:0", address)
        with pytest.raises(StartError, match="admin_listen") as caught:
            await server.start()
    assert address in caught.value.message
    assert server.addresses == ()


async def test_a_socket_in_use_is_not_replaced(
    daemon: Daemon, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """One that a dead process has left is."""
    path = tmp_path / "admin.sock"
    async with running(daemon.server(f"unix:{path}")):
        with pytest.raises(StartError, match="already in use"):
            await daemon.server(f"unix:{path}").start()
    with socket.socket(socket.AF_UNIX) as left:
        path.unlink(missing_ok=True)
        left.bind(str(path))
    async with running(daemon.server(f"unix:{path}")) as (address,):
        assert address.path == str(path)
    assert not http.closed


async def test_bytes_that_are_not_http_get_a_400(base: str) -> None:
    """The next client is served."""
    port = int(base.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"\x16\x03\x01 not http\r\n\r\n")
    assert b" 400 " in await reader.readline()
    writer.close()
    await writer.wait_closed()
    async with aiohttp.ClientSession() as http, http.get(f"{base}/livez") as response:
        assert response.status == HTTPStatus.OK


def _has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False
