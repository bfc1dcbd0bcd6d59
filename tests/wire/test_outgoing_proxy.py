"""TLS, certificates and the proxy on the way out, to the upstream and the authority."""

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
    """What the tests here trust, or do not."""
    return Certificates(tmp_path_factory.mktemp("tls") / "certificates")


@pytest.fixture
async def front(certificates: Certificates) -> AsyncIterator[TlsFront]:
    """A TLS end with a good certificate for every name here."""
    async with TlsFront(certificates.server(*NAMES)) as listening:
        yield listening


@pytest.fixture
async def way_out(front: TlsFront) -> AsyncIterator[ConnectProxy]:
    """A proxy that leads to the TLS end."""
    async with ConnectProxy({f"{UPSTREAM}:443": front.port}) as listening:
        yield listening


def direct(front: TlsFront) -> str:
    """Return the upstream's URL without a proxy."""
    return f"https://localhost:{front.port}/backend-api"


async def refused(gateway: Gateway) -> tuple[int, bytes, str]:
    """Ask, and return our own response: its status, its code, and what it says."""
    client = await gateway.client()
    await client.send(post(b"/v1/responses", b"abc"))
    head, body = await client.response()
    (code,) = values(head, b"x-bearerd-error")
    return status(head), code, body.decode()


async def test_an_upstream_with_a_certificate_of_ones_own_is_reached(
    tmp_path: Path, certificates: Certificates, front: TlsFront
) -> None:
    """`ca_file`: over TLS, and one connection serves many requests."""
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
    tmp_path: Path, certificates: Certificates, front: TlsFront, way_out: ConnectProxy
) -> None:
    """`upstream_proxy`: it is told the name alone, and sees nothing but TLS."""
    async with running(
        tmp_path,
        upstream_url=URL,
        upstream_proxy=way_out.url,
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
        (asked,) = way_out.requests
        assert first_line(asked) == b"CONNECT upstream.test:443 HTTP/1.1"
        assert names(asked) == {b"host"}


async def test_a_tunnel_goes_through_the_proxy(
    tmp_path: Path, certificates: Certificates, front: TlsFront, way_out: ConnectProxy
) -> None:
    """A WebSocket in TLS in a CONNECT; its end is told through all of them."""
    async with running(
        tmp_path,
        upstream_url=URL,
        upstream_proxy=way_out.url,
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
async def test_the_authority_is_asked_through_the_proxy_too(
    tmp_path: Path, certificates: Certificates, userinfo: str, pair: bytes | None
) -> None:
    """A refresh goes the same way, with the same credentials for the proxy."""
    context = certificates.server(*NAMES)
    async with Sandbox() as sandbox, TlsFront(context) as front:
        issuer = urlsplit(sandbox.issuer_url)
        behind = TlsFront(context, issuer.port or 0)
        async with behind:
            routes = {f"{UPSTREAM}:443": front.port, f"{AUTHORITY}:443": behind.port}
            async with (
                ConnectProxy(routes) as way_out,
                renewing(
                    tmp_path,
                    sandbox,
                    upstream_url=URL,
                    token_url=f"https://{AUTHORITY}/oauth/token",
                    upstream_proxy=f"http://{userinfo}127.0.0.1:{way_out.port}",
                    ca_file=str(certificates.ca_file),
                ) as gateway,
            ):
                front.behind = gateway.upstream.port
                client, peer, _ = await gateway.asked(get(b"/v1/models"))
                peer, head = await refuse(gateway, peer)
                await peer.send(ok())
                assert status((await client.response())[0]) == 200
                assert sandbox.authority.refreshes == 1
                targets = {ask.split(b" ")[1].decode() for ask in way_out.requests}
                assert targets == set(routes)
                expected = [b"Basic " + base64.b64encode(pair)] if pair else []
                for ask in way_out.requests:
                    assert values(ask, b"proxy-authorization") == expected
                assert b"proxy-authorization" not in names(head)


REFUSALS = {
    407: b"HTTP/1.1 407 Proxy Authentication Required\r\n"
    b'Proxy-Authenticate: Basic realm="x"\r\nContent-Length: 2\r\n\r\nno',
    403: b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
    502: b"HTTP/1.0 502 Bad Gateway\r\n\r\n",
}


@pytest.mark.parametrize("code", REFUSALS)
async def test_a_proxy_that_refuses_is_named_with_its_reason(
    tmp_path: Path, canary: Canary, certificates: Certificates, code: int
) -> None:
    """Never mistaken for the upstream's response; the proxy's password stays here."""
    canary.knows("the proxy's password", "made-up-password")
    async with ConnectProxy({}, REFUSALS[code]) as way_out:
        where = f"127.0.0.1:{way_out.port}"
        async with running(
            tmp_path,
            upstream_url=URL,
            upstream_proxy=f"http://somebody:made-up-password@{where}",
            ca_file=str(certificates.ca_file),
        ) as gateway:
            answered, name, said = await refused(gateway)
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
async def test_a_proxy_that_makes_no_sense_is_502(
    tmp_path: Path, certificates: Certificates, response: bytes
) -> None:
    """And nothing of it reaches the client."""
    async with (
        ConnectProxy({}, response) as way_out,
        running(
            tmp_path,
            upstream_url=URL,
            upstream_proxy=way_out.url,
            ca_file=str(certificates.ca_file),
        ) as gateway,
    ):
        assert (await refused(gateway))[:2] == (502, b"upstream_unreachable")


async def test_a_proxy_that_is_not_there_is_502(tmp_path: Path) -> None:
    """The upstream itself is not tried then."""
    async with running(
        tmp_path, upstream_url=URL, upstream_proxy="http://127.0.0.1:9"
    ) as gateway:
        assert (await refused(gateway))[:2] == (502, b"upstream_unreachable")


@pytest.mark.parametrize("is_through_proxy", [False, True])
async def test_one_who_never_says_hello_is_504(
    tmp_path: Path, certificates: Certificates, is_through_proxy: bool
) -> None:
    """Item 127: TLS has a limit, and so has a proxy that does not answer."""
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
            assert (await refused(gateway))[:2] == (504, b"upstream_timeout")


class Silent(Server):
    """Takes what comes, and says nothing."""

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Read to the end."""
        del writer
        await reader.read()


async def test_the_environments_proxies_are_not_picked_up(
    tmp_path: Path,
    certificates: Certificates,
    front: TlsFront,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Item 134: for neither of the two; who wants a proxy says so."""
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
    """Plain http is for loopback, which no proxy can reach."""
    del gateway
    async with (
        ConnectProxy({}) as trap,
        running(tmp_path, upstream_proxy=trap.url) as direct_gateway,
    ):
        client, _ = await direct_gateway.answered(ok())
        assert (await client.response())[1] == b"ok"
        assert trap.requests == []


async def test_a_certificate_that_nobody_vouches_for_is_said_to_be_that(
    tmp_path: Path, front: TlsFront
) -> None:
    """Item 133: with the setting that helps; no byte of the request went out."""
    async with running(tmp_path, upstream_url=direct(front)) as gateway:
        front.behind = gateway.upstream.port
        answered, name, said = await refused(gateway)
        assert (answered, name) == (502, b"upstream_unreachable")
        assert "no valid certificate" in said
        assert "ca_file" in said
        assert gateway.upstream.connections == 0


async def test_a_certificate_for_another_name_is_said_to_be_that(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Item 133."""
    async with (
        TlsFront(certificates.server("elsewhere.test")) as front,
        running(
            tmp_path, upstream_url=direct(front), ca_file=str(certificates.ca_file)
        ) as gateway,
    ):
        front.behind = gateway.upstream.port
        answered, name, said = await refused(gateway)
        assert (answered, name) == (502, b"upstream_unreachable")
        assert "localhost" in said
        assert "no valid certificate" in said
        assert gateway.upstream.connections == 0


async def test_an_upstream_that_speaks_no_tls_is_502(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Item 133: nothing is sent to it in the clear."""
    async with Plain() as plain:
        url = f"https://localhost:{plain.port}/x"
        async with running(
            tmp_path, upstream_url=url, ca_file=str(certificates.ca_file)
        ) as gateway:
            assert (await refused(gateway))[:2] == (502, b"upstream_unreachable")
            assert b"Bearer" not in plain.got


class Plain(Server):
    """Answers whatever comes with HTTP in the clear."""

    got = b""

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answer at once."""
        self.got += await reader.read(1 << 16)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()


@pytest.mark.parametrize("is_orderly", [True, False])
async def test_only_an_end_of_tls_ends_a_body_that_has_no_length(
    tmp_path: Path, certificates: Certificates, is_orderly: bool
) -> None:
    """RFC 9112 section 9.8: TLS says when it ends; an end of TCP may be anybody's."""
    async with Ending(certificates.server(*NAMES), is_orderly=is_orderly) as front:
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


class Ending(Server):
    """Answers without a length, and ends TLS, or TCP under it."""

    def __init__(self, context: ssl.SSLContext, *, is_orderly: bool) -> None:
        super().__init__(context)
        self._is_orderly = is_orderly

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answer, and end."""
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhalf of what was")
        await writer.drain()
        if self._is_orderly:
            writer.close()
            await writer.wait_closed()
        else:
            writer.transport.abort()
