"""TLS, certificates and the outgoing proxy, toward the upstream and the authority."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bearerd.sandbox import Sandbox
from tests.support import Canary
from tests.wire.gateway import Gateway, get, ok, post, running
from tests.wire.outgoing import (
    AUTHORITY,
    NAMES,
    UPSTREAM,
    Certificates,
    ConnectProxy,
    Server,
    TlsFront,
)
from tests.wire.peers import first_line, names, status, values
from tests.wire.renewals import refuse, renewing
from tests.wire.upgrades import ASKING, SWITCHED

URL = f"https://{UPSTREAM}/backend-api"


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """The certificates of these tests, trusted or not."""
    return Certificates(tmp_path_factory.mktemp("tls") / "certificates")


@pytest.fixture
async def front(certificates: Certificates) -> AsyncIterator[TlsFront]:
    """A TLS server with a valid certificate for every name in these tests."""
    async with TlsFront(certificates.server(*NAMES)) as listening:
        yield listening


@pytest.fixture
async def connect_proxy(front: TlsFront) -> AsyncIterator[ConnectProxy]:
    """A proxy that leads to the TLS server."""
    async with ConnectProxy({f"{UPSTREAM}:443": front.port}) as listening:
        yield listening


def direct(front: TlsFront) -> str:
    """Return the upstream's URL without a proxy."""
    return f"https://localhost:{front.port}/backend-api"


async def rejection(gateway: Gateway) -> tuple[int, bytes, str]:
    """Send a request; return the status, the code and the message of our own response."""
    client = await gateway.client()
    await client.send(post(b"/v1/responses", b"abc"))
    head, body = await client.response()
    (code,) = values(head, b"x-bearerd-error")
    return status(head), code, body.decode()


async def test_an_upstream_with_a_private_ca_is_reached(
    tmp_path: Path, certificates: Certificates, front: TlsFront
) -> None:
    """`ca_file`: over TLS, and one connection serves several requests."""
    async with running(
        tmp_path, upstream_url=direct(front), ca_file=str(certificates.ca_file)
    ) as gateway:
        front.behind = gateway.upstream.port
        client, peer, head = await gateway.asked(get(b"/v1/models"))
        assert values(head, b"host") == [f"localhost:{front.port}".encode()]
        for _ in range(3):
            await peer.send(ok())
            assert (await client.response())[1] == b"ok"
            await client.send(get(b"/v1/models"))
            await peer.head()
        assert front.connections == 1


async def test_requests_go_through_the_proxy(
    tmp_path: Path,
    certificates: Certificates,
    front: TlsFront,
    connect_proxy: ConnectProxy,
) -> None:
    """`upstream_proxy`: it gets the name and nothing but TLS."""
    async with running(
        tmp_path,
        upstream_url=URL,
        upstream_proxy=connect_proxy.url,
        ca_file=str(certificates.ca_file),
    ) as gateway:
        front.behind = gateway.upstream.port
        client, peer, head = await gateway.asked(post(b"/v1/responses", b"abc"))
        assert values(head, b"host") == [UPSTREAM.encode()]
        assert await peer.exactly(3) == b"abc"
        await peer.send(ok(b"first"))
        assert (await client.response())[1] == b"first"
        await client.send(get(b"/v1/models"))
        await peer.head()
        await peer.send(ok(b"second"))
        assert (await client.response())[1] == b"second"
        (asked,) = connect_proxy.requests
        assert first_line(asked) == b"CONNECT upstream.test:443 HTTP/1.1"
        assert names(asked) == {b"host"}


async def test_a_tunnel_goes_through_the_proxy(
    tmp_path: Path,
    certificates: Certificates,
    front: TlsFront,
    connect_proxy: ConnectProxy,
) -> None:
    """A WebSocket in TLS in a CONNECT; its end reaches both sides."""
    async with running(
        tmp_path,
        upstream_url=URL,
        upstream_proxy=connect_proxy.url,
        ca_file=str(certificates.ca_file),
    ) as gateway:
        front.behind = gateway.upstream.port
        client, peer, _ = await gateway.asked(ASKING)
        await peer.send(SWITCHED + b"behind")
        assert status(await client.head()) == 101
        assert await client.exactly(6) == b"behind"
        await client.send(b"from the client")
        assert await peer.exactly(15) == b"from the client"
        peer.close()
        assert await client.gone() == b""
        client.close()
        assert [told.status for told in await gateway.finished()] == [101]


@pytest.mark.parametrize(
    ("userinfo", "pair"),
    [("", None), ("somebody:made%2Dup%40pass@", b"somebody:made-up@pass")],
)
async def test_the_authority_is_reached_through_the_proxy(
    tmp_path: Path, certificates: Certificates, userinfo: str, pair: bytes | None
) -> None:
    """A refresh uses the same proxy, with the same credentials."""
    context = certificates.server(*NAMES)
    async with Sandbox() as sandbox, TlsFront(context) as front:
        issuer = urlsplit(sandbox.issuer_url)
        behind = TlsFront(context, issuer.port or 0)
        async with behind:
            routes = {f"{UPSTREAM}:443": front.port, f"{AUTHORITY}:443": behind.port}
            async with (
                ConnectProxy(routes) as connect_proxy,
                renewing(
                    tmp_path,
                    sandbox,
                    upstream_url=URL,
                    token_url=f"https://{AUTHORITY}/oauth/token",
                    upstream_proxy=f"http://{userinfo}127.0.0.1:{connect_proxy.port}",
                    ca_file=str(certificates.ca_file),
                ) as gateway,
            ):
                front.behind = gateway.upstream.port
                client, peer, _ = await gateway.asked(get(b"/v1/models"))
                peer, head = await refuse(gateway, peer)
                await peer.send(ok())
                assert status((await client.response())[0]) == 200
                assert sandbox.authority.refreshes == 1
                targets = {
                    ask.split(b" ")[1].decode() for ask in connect_proxy.requests
                }
                assert targets == set(routes)
                expected = [b"Basic " + base64.b64encode(pair)] if pair else []
                for ask in connect_proxy.requests:
                    assert values(ask, b"proxy-authorization") == expected
                assert b"proxy-authorization" not in names(head)


REFUSALS = {
    407: b"HTTP/1.1 407 Proxy Authentication Required\r\n"
    b'Proxy-Authenticate: Basic realm="x"\r\nContent-Length: 2\r\n\r\nno',
    403: b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
    502: b"HTTP/1.0 502 Bad Gateway\r\n\r\n",
}


@pytest.mark.parametrize("code", REFUSALS)
async def test_a_proxy_that_refuses_is_named_in_the_error(
    tmp_path: Path, canary: Canary, certificates: Certificates, code: int
) -> None:
    """It is not taken for the upstream's response, and the proxy's password is not
    shown.
    """
    canary.knows("the proxy's password", "made-up-password")
    async with ConnectProxy({}, REFUSALS[code]) as connect_proxy:
        where = f"127.0.0.1:{connect_proxy.port}"
        async with running(
            tmp_path,
            upstream_url=URL,
            upstream_proxy=f"http://somebody:made-up-password@{where}",
            ca_file=str(certificates.ca_file),
        ) as gateway:
            answered, name, said = await rejection(gateway)
            canary.saw("an error", said)
            assert (answered, name) == (502, b"upstream_unreachable")
            assert where in said
            assert str(code) in said
            assert "upstream_proxy" in said


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nno TLS",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,
    ],
    ids=["end", "half a head", "garbage", "bytes behind", "endless"],
)
async def test_an_invalid_response_of_the_proxy_is_502(
    tmp_path: Path, certificates: Certificates, response: bytes
) -> None:
    """None of it reaches the client."""
    async with (
        ConnectProxy({}, response) as connect_proxy,
        running(
            tmp_path,
            upstream_url=URL,
            upstream_proxy=connect_proxy.url,
            ca_file=str(certificates.ca_file),
        ) as gateway,
    ):
        assert (await rejection(gateway))[:2] == (502, b"upstream_unreachable")


async def test_a_proxy_that_refuses_connections_is_502(tmp_path: Path) -> None:
    """The upstream is not tried directly."""
    async with running(
        tmp_path, upstream_url=URL, upstream_proxy="http://127.0.0.1:9"
    ) as gateway:
        assert (await rejection(gateway))[:2] == (502, b"upstream_unreachable")


@pytest.mark.parametrize("is_through_proxy", [False, True])
async def test_a_server_that_stays_silent_is_504(
    tmp_path: Path, certificates: Certificates, is_through_proxy: bool
) -> None:
    """Item 127: TLS has a limit, and so has a proxy that does not respond."""
    async with Silent() as silent:
        flags = {"upstream_url": f"https://localhost:{silent.port}/x"}
        if is_through_proxy:
            proxy = f"http://127.0.0.1:{silent.port}"
            flags = {"upstream_url": URL, "upstream_proxy": proxy}
        async with running(
            tmp_path,
            ca_file=str(certificates.ca_file),
            upstream_connect_timeout_seconds="0.3",
            **flags,
        ) as gateway:
            assert (await rejection(gateway))[:2] == (504, b"upstream_timeout")


class Silent(Server):
    """Reads, and sends nothing."""

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Read to the end."""
        del writer
        await reader.read()


async def test_proxy_variables_of_the_environment_are_ignored(
    tmp_path: Path,
    certificates: Certificates,
    front: TlsFront,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Item 134: for both servers; a proxy has to be set in our own settings."""
    async with Sandbox() as sandbox, ConnectProxy({}) as trap:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, trap.url)
            monkeypatch.setenv(name.lower(), trap.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        async with renewing(
            tmp_path,
            sandbox,
            upstream_url=direct(front),
            ca_file=str(certificates.ca_file),
        ) as gateway:
            front.behind = gateway.upstream.port
            client, peer, _ = await gateway.asked(get(b"/v1/models"))
            peer, _ = await refuse(gateway, peer)
            await peer.send(ok())
            assert status((await client.response())[0]) == 200
            assert sandbox.authority.refreshes == 1
            assert trap.requests == []


async def test_a_loopback_upstream_needs_no_proxy(
    gateway: Gateway, tmp_path: Path
) -> None:
    """Plain http is for loopback, which a proxy cannot reach."""
    del gateway
    async with (
        ConnectProxy({}) as trap,
        running(tmp_path, upstream_proxy=trap.url) as direct_gateway,
    ):
        client, _ = await direct_gateway.answered(ok())
        assert (await client.response())[1] == b"ok"
        assert trap.requests == []


async def test_an_untrusted_certificate_is_reported(
    tmp_path: Path, front: TlsFront
) -> None:
    """Item 133: with the setting that helps; no byte of the request is sent."""
    async with running(tmp_path, upstream_url=direct(front), ca_file=None) as gateway:
        front.behind = gateway.upstream.port
        answered, name, said = await rejection(gateway)
        assert (answered, name) == (502, b"upstream_unreachable")
        assert "no valid certificate" in said
        assert "ca_file" in said
        assert gateway.upstream.connections == 0


async def test_a_certificate_for_another_name_is_reported(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Item 133: RFC 9110 section 4.3.4."""
    async with (
        TlsFront(certificates.server("elsewhere.test")) as front,
        running(
            tmp_path, upstream_url=direct(front), ca_file=str(certificates.ca_file)
        ) as gateway,
    ):
        front.behind = gateway.upstream.port
        answered, name, said = await rejection(gateway)
        assert (answered, name) == (502, b"upstream_unreachable")
        assert "localhost" in said
        assert "no valid certificate" in said
        assert gateway.upstream.connections == 0


async def test_an_upstream_without_tls_is_502(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Item 133: nothing is sent to it in clear text."""
    async with PlainHttp() as plain:
        url = f"https://localhost:{plain.port}/x"
        async with running(
            tmp_path, upstream_url=url, ca_file=str(certificates.ca_file)
        ) as gateway:
            assert (await rejection(gateway))[:2] == (502, b"upstream_unreachable")
            assert b"Bearer" not in plain.got


class PlainHttp(Server):
    """Responds to anything with HTTP in clear text."""

    got = b""

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Respond at once."""
        self.got += await reader.read(1 << 16)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()


@pytest.mark.parametrize("is_orderly", [True, False])
async def test_only_a_tls_close_ends_a_body_without_a_length(
    tmp_path: Path, certificates: Certificates, is_orderly: bool
) -> None:
    """RFC 9112 section 9.8: anybody on the way can close the TCP connection."""
    async with ClosingServer(
        certificates.server(*NAMES), is_orderly=is_orderly
    ) as front:
        url = f"https://localhost:{front.port}/x"
        async with running(
            tmp_path, upstream_url=url, ca_file=str(certificates.ca_file)
        ) as gateway:
            client = await gateway.client()
            await client.send(get(b"/v1/models"))
            assert status(await client.head()) == 200
            assert await client.until(b"was\r\n") == b"10\r\nhalf of what was\r\n"
            if is_orderly:
                assert await client.exactly(5) == b"0\r\n\r\n"
            else:
                assert await client.gone() == b""


class ClosingServer(Server):
    """Responds without a length, then closes TLS, or the TCP connection under it."""

    def __init__(self, context: ssl.SSLContext, *, is_orderly: bool) -> None:
        super().__init__(context)
        self._is_orderly = is_orderly

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Respond, and close."""
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhalf of what was")
        await writer.drain()
        if self._is_orderly:
            writer.close()
            await writer.wait_closed()
        else:
            writer.transport.abort()
