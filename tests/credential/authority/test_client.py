"""The one client: the way a call takes, its limits, and at which stage it can fail."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import traceback
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from bearerd.credential.authority.client import (
    RESPONSE_LIMIT_BYTES,
    AuthorityClient,
)
from bearerd.credential.authority.errors import CallFailed, CallStage
from bearerd.sandbox import Sandbox
from tests.credential.authority.scripted import scripted_client
from tests.credential.stand_ins import soon
from tests.support.connect_proxy import (
    ISSUER_URL,
    Certificate,
    ConnectProxy,
    connect_proxy,
)

SECRET = "made-up-secret"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate that no store trusts."""
    return Certificate.make(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def proxy(
    sandbox: Sandbox, certificate: Certificate
) -> AsyncIterator[ConnectProxy]:
    """A proxy with the sandbox behind it."""
    async with connect_proxy(sandbox, certificate) as running:
        yield running


@asynccontextmanager
async def client_of(
    url: str,
    *,
    proxy_url: str | None = None,
    ca_file: Path | None = None,
    timeout_seconds: float = 5.0,
) -> AsyncIterator[AuthorityClient]:
    """Give a client for *url*, with a session of its own."""
    tls = ssl.create_default_context(cafile=ca_file)
    connector = aiohttp.TCPConnector(force_close=True, ssl=tls)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield AuthorityClient(
            session,
            issuer_url=url,
            token_url=f"{url}/oauth/token",
            client_id="app_test",
            timeout_seconds=timeout_seconds,
            proxy_url=proxy_url,
        )


async def failed(client: AuthorityClient) -> CallFailed:
    """Return the failure of a call that carries a secret."""
    with pytest.raises(CallFailed) as failure:
        await soon(client.request("POST", client.token_url, json={"token": SECRET}))
    # With the causes, as a log would print them: aiohttp's quote a proxy's password.
    assert SECRET not in "".join(traceback.format_exception(failure.value))
    assert failure.value.message.startswith(client.token_url)
    return failure.value


# The way.


async def test_https_goes_through_the_proxy(proxy: ConnectProxy) -> None:
    """By CONNECT, with TLS that `ca_file` trusts."""
    async with client_of(
        ISSUER_URL, proxy_url=proxy.url, ca_file=proxy.ca_file
    ) as client:
        response = await soon(client.request("HEAD", ISSUER_URL))
    assert response.status == 404
    assert proxy.connects == ["CONNECT authority.invalid:443"]


async def test_loopback_goes_beside_the_proxy(
    sandbox: Sandbox, proxy: ConnectProxy
) -> None:
    """`http://` is allowed for loopback only."""
    async with client_of(sandbox.issuer_url, proxy_url=proxy.url) as client:
        response = await soon(client.request("HEAD", sandbox.issuer_url))
    assert (response.status, proxy.connects) == (404, [])


async def test_a_redirect_is_not_followed() -> None:
    """The content of a call is sent to the authority only."""
    async with scripted_client((302, b"")) as client:
        response = await client.request("POST", client.token_url, json={"a": SECRET})
    assert response.status == 302


# Responses.


async def test_every_status_is_a_response() -> None:
    """The caller decides what it means."""
    for status in (200, 204, 400, 401, 403, 429, 500, 503):
        async with scripted_client((status, b"")) as client:
            assert (await client.request("POST", client.token_url)).status == status


@pytest.mark.parametrize("status", [200, 201, 299])
async def test_the_body_of_a_success_is_handed_on_as_it_arrives(status: int) -> None:
    """Whole, and in order: it is written to disk before anything reads it."""
    received: list[bytes] = []
    content = b"x" * 300_000
    async with scripted_client((status, content)) as client:
        response = await client.request(
            "POST", client.token_url, on_body=received.append
        )
    assert b"".join(received) == content == response.content
    assert len(received) > 1


@pytest.mark.parametrize("status", [302, 400, 401, 500])
async def test_the_body_of_another_status_is_not(status: int) -> None:
    """It holds no tokens."""
    received: list[bytes] = []
    async with scripted_client((status, b"{}")) as client:
        await client.request("POST", client.token_url, on_body=received.append)
    assert received == []


async def test_the_response_is_limited_in_size() -> None:
    """At the limit it is whole; a byte more and it is none."""
    async with scripted_client((200, b"x" * RESPONSE_LIMIT_BYTES)) as client:
        response = await client.request("POST", client.token_url)
        assert len(response.content) == RESPONSE_LIMIT_BYTES
    async with scripted_client((200, b"x" * (RESPONSE_LIMIT_BYTES + 1))) as client:
        failure = await failed(client)
    assert (failure.stage, failure.reason) == (CallStage.SENT, "answer_too_large")


# Where it fails.


@pytest.mark.parametrize("status", [301, 403, 407, 502])
async def test_a_proxy_that_refuses_is_named(proxy: ConnectProxy, status: int) -> None:
    """With its status and the setting, and without its password."""
    proxy.refusal_status = status
    url = proxy.url.replace("http://", f"http://someone:{SECRET}@")
    async with client_of(ISSUER_URL, proxy_url=url, ca_file=proxy.ca_file) as client:
        failure = await failed(client)
    assert (failure.stage, failure.reason) == (
        CallStage.PROXY,
        f"proxy_http_{status}",
    )
    assert failure.detail == (
        f"the proxy 127.0.0.1:{proxy.port} answered CONNECT with {status}"
    )
    assert failure.remedy == "check `upstream_proxy`"


@pytest.mark.parametrize(
    ("host", "reason"), [("127.0.0.1", "Connection refused"), ("proxy.invalid", "")]
)
async def test_a_proxy_that_is_not_there_is_named(host: str, reason: str) -> None:
    """Also where its name is not known; the text for that is the resolver's."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # bound and not listening
        port = reserved.getsockname()[1]
        async with client_of(ISSUER_URL, proxy_url=f"http://{host}:{port}") as client:
            failure = await failed(client)
    assert failure.stage is CallStage.PROXY
    assert failure.detail.startswith(
        f"the proxy {host}:{port} is unreachable ({reason}"
    )


async def test_a_certificate_that_is_not_trusted_is_named(proxy: ConnectProxy) -> None:
    """With `ca_file` as the remedy; nothing was sent."""
    async with client_of(ISSUER_URL, proxy_url=proxy.url) as client:
        failure = await failed(client)
    assert (failure.stage, failure.reason) == (
        CallStage.TLS,
        "SSLCertVerificationError",
    )
    assert "its certificate is not trusted: self-signed certificate" in failure.detail
    assert "`ca_file`" in failure.message
    assert proxy.requests == []


async def test_a_server_without_tls_is_named(sandbox: Sandbox) -> None:
    """It may be the wrong port."""
    url = sandbox.issuer_url.replace("http://", "https://")
    async with client_of(url) as client:
        failure = await failed(client)
    assert failure.stage is CallStage.TLS
    assert "the TLS handshake failed" in failure.detail


async def test_a_refused_connection_has_sent_nothing() -> None:
    """The message names the command that finds the cause."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        async with client_of(url) as client:
            failure = await failed(client)
    assert (failure.stage, failure.reason) == (
        CallStage.CONNECTING,
        "ConnectionRefusedError",
    )
    assert failure.message == (
        f"{client.token_url} was not reached: Connection refused; check the network with "
        "`bearerd doctor --online`"
    )


async def test_a_url_that_cannot_be_called_has_sent_nothing() -> None:
    """The settings refuse it before; here too it is a failure and no crash."""
    async with client_of("http://") as client:
        failure = await failed(client)
    assert failure.stage is CallStage.CONNECTING


async def test_a_connection_that_breaks_off_may_have_sent_it() -> None:
    """The server may have acted on the request."""
    async with scripted_client(None) as client:
        failure = await failed(client)
    assert failure.stage is CallStage.SENT
    assert "sent no complete response" in failure.message


class Silence:
    """A server that never responds. Owns the received bytes."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.arrived = asyncio.Event()
        self.left = asyncio.Event()
        self.url = ""

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Read until the client leaves."""
        while data := await reader.read(65536):
            self.received += data
            self.arrived.set()
        writer.close()
        self.left.set()


@pytest.fixture
async def silence() -> AsyncIterator[Silence]:
    """A silent server."""
    made = Silence()
    async with AsyncExitStack() as stack:
        server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
        await stack.enter_async_context(server)
        made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield made


async def test_a_server_that_is_silent_ends_with_the_time(silence: Silence) -> None:
    """The whole call has one limit."""
    async with client_of(silence.url, timeout_seconds=0.2) as client:
        failure = await failed(client)
    assert (failure.stage, failure.reason) == (CallStage.SENT, "TimeoutError")
    assert "0.2 s" in failure.detail
    assert SECRET.encode() in silence.received


async def test_the_limit_of_a_call_takes_the_place_of_the_clients(
    silence: Silence,
) -> None:
    """The call of a refresh may take longer than any caller waits."""
    async with client_of(silence.url, timeout_seconds=60.0) as client:
        with pytest.raises(CallFailed, match=r"the timeout of 0\.2 s has passed"):
            await soon(client.request("POST", silence.url, timeout_seconds=0.2))
    async with client_of(silence.url, timeout_seconds=0.1) as client:
        with pytest.raises(CallFailed, match=r"the timeout of 0\.3 s has passed"):
            await soon(client.request("POST", silence.url, timeout_seconds=0.3))


@pytest.mark.parametrize("turns", range(8))
async def test_a_caller_may_be_cancelled_at_any_turn_of_the_loop(
    turns: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Also in the one in which the call fails. asyncio then logs no lost exception."""
    async with client_of("http://") as client:
        calling = asyncio.create_task(client.request("POST", client.token_url))
        for _ in range(turns):
            await asyncio.sleep(0)
        calling.cancel()
        with pytest.raises((asyncio.CancelledError, CallFailed)):
            await calling
    del calling
    gc.collect()
    assert caplog.records == []


async def test_a_caller_that_is_cancelled_ends_the_call(silence: Silence) -> None:
    """At once, and its connection is closed."""
    async with client_of(silence.url, timeout_seconds=60) as client:
        calling = asyncio.create_task(
            client.request("POST", silence.url, json={"a": "b"})
        )
        await soon(silence.arrived.wait())
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(calling)
        await soon(silence.left.wait())
