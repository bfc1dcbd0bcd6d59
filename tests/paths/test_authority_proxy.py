"""The way to the authority through a company's proxy: CONNECT, TLS, then the call.

Each caller takes it: the daemon's refresh, `token`, `login` in both forms, `logout` and
`doctor --online`. The authority's name resolves nowhere, so only the proxy leads there.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from bearerd.cli.sign_in import RevokePrevious, sign_in
from bearerd.credential.authority.browser_flow import sign_in_by_browser
from bearerd.credential.authority.client import AuthorityClient
from bearerd.credential.authority.errors import CallFailed
from bearerd.credential.token import Credential
from bearerd.sandbox import Sandbox
from bearerd.settings import Settings, load_settings
from tests.support import (
    Canary,
    Finished,
    Start,
    read_login,
    run_command,
    run_in_process,
    tokens_of,
    write_login,
)
from tests.support.connect_proxy import (
    AUTHORITY,
    ISSUER_URL,
    TOKEN_URL,
    UPSTREAM,
    UPSTREAM_URL,
    Certificate,
    ConnectProxy,
    connect_proxy,
)
from tests.support.daemon import empty_config

TO_AUTHORITY = f"CONNECT {AUTHORITY}:443"
TO_UPSTREAM = f"CONNECT {UPSTREAM}:443"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for the authority and the upstream, which no store trusts."""
    return Certificate.make(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def proxy(
    sandbox: Sandbox, certificate: Certificate
) -> AsyncIterator[ConnectProxy]:
    """A proxy that listens."""
    async with connect_proxy(sandbox, certificate) as running:
        yield running


# The daemon.


async def test_a_refresh_goes_through_the_proxy_that_is_set(
    start: Start, sandbox: Sandbox, proxy: ConnectProxy
) -> None:
    """Codex's scenario 1 in full: by the proxy, in the name of the client that is set,
    with exactly three fields. Better than Codex: the User-Agent is our own.
    """
    sandbox.authority.clients.register("staging-client")
    daemon = await start(
        token_url=TOKEN_URL,
        upstream_proxy=proxy.url,
        ca_file=proxy.ca_file,
        client_id="staging-client",
    )
    before = tokens_of(read_login(daemon.store))
    sandbox.revoke_access_tokens()
    reply = await daemon.client.send()
    assert (reply.status, reply.recovery) == (200, "refresh")
    assert proxy.connects == [TO_AUTHORITY]
    (request,) = proxy.requests
    head, body = bytes(request).split(b"\r\n\r\n", 1)
    assert json.loads(body) == {
        "client_id": "staging-client",
        "grant_type": "refresh_token",
        "refresh_token": before["refresh_token"],
    }
    assert b"\r\nuser-agent: bearerd/" in head.lower()
    assert sandbox.authority.refreshes == 1
    after = tokens_of(read_login(daemon.store))
    assert sandbox.tokens.introspect(after["access_token"]).state == "live"


@pytest.mark.parametrize("status", [403, 407, 502])
async def test_a_proxy_that_refuses_costs_no_token(
    start: Start,
    sandbox: Sandbox,
    proxy: ConnectProxy,
    status: int,
) -> None:
    """Its status is not the authority's: the login is kept, and the next try may work."""
    proxy.refusal_status = status
    daemon = await start(
        token_url=TOKEN_URL, upstream_proxy=proxy.url, ca_file=proxy.ca_file
    )
    before = daemon.store.read_bytes()
    sandbox.revoke_access_tokens()
    reply = await daemon.client.send()
    assert (reply.status, reply.code) == (503, "authority_unavailable")
    assert f"was not reached (proxy_http_{status})" in reply.message
    assert (sandbox.authority.calls, daemon.store.read_bytes()) == (0, before)


async def test_an_authority_that_is_not_trusted_gets_no_token(
    start: Start, sandbox: Sandbox, proxy: ConnectProxy
) -> None:
    """Without `ca_file` the self-signed certificate is not trusted, and nothing is sent."""
    daemon = await start(token_url=TOKEN_URL, upstream_proxy=proxy.url, ca_file=None)
    sandbox.revoke_access_tokens()
    reply = await daemon.client.send()
    assert (reply.status, reply.code) == (503, "authority_unavailable")
    assert "was not reached" in reply.message
    assert (proxy.connects, sandbox.authority.calls) == ([TO_AUTHORITY], 0)


# The commands.


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The place of the profile's login, without a login."""
    return tmp_path / "data" / "auth.json"


def is_there(store: Path) -> bool:
    """Return True if the store has a login."""
    return store.exists()


def with_no_login(_sandbox: Sandbox, _store: Path) -> None:
    """Leave the store empty."""


def with_a_login(sandbox: Sandbox, store: Path) -> None:
    """Put a login there."""
    write_login(store, sandbox.auth_document())


def with_an_expired_login(sandbox: Sandbox, store: Path) -> None:
    """Put a login there that has to be refreshed before it is of use."""
    sandbox.tokens.access_lifetime_seconds = -60
    write_login(store, sandbox.auth_document())
    sandbox.tokens.access_lifetime_seconds = 3600


@dataclass(frozen=True, slots=True)
class Case:
    """A command, what is in the store before it, and the CONNECTs that it makes."""

    args: tuple[str, ...]
    prepare: Callable[[Sandbox, Path], None]
    connects: Mapping[str, int]

    @property
    def exit_code_without_authority(self) -> int:
        """Return 0 for `logout`, which removes the file in any case."""
        return 0 if self.args == ("logout",) else 1


COMMANDS = pytest.mark.parametrize(
    "case",
    [
        Case(("token",), with_an_expired_login, {TO_AUTHORITY: 1}),
        # A code, one poll, and the exchange.
        Case(("login", "--device"), with_no_login, {TO_AUTHORITY: 3}),
        # The same, and the previous login is revoked.
        Case(("login", "--device"), with_a_login, {TO_AUTHORITY: 4}),
        Case(("logout",), with_a_login, {TO_AUTHORITY: 1}),
        Case(("doctor", "--online"), with_a_login, {TO_AUTHORITY: 1, TO_UPSTREAM: 1}),
    ],
    ids=["token", "login", "login-again", "logout", "doctor"],
)


async def bearerd(store: Path, *args: str, is_process: bool = False) -> Finished:
    """Run a command over *store*, with the authority and the upstream behind the proxy.

    A command whose calls succeed over TLS needs a process of its own: it ends while its
    last connection is closing.
    """
    settings = {
        "store": store,
        "issuer_url": ISSUER_URL,
        "upstream_url": UPSTREAM_URL,
        "listen": "127.0.0.1:0",
        "admin_listen": "none",
    }
    home = store.parent.parent
    run = run_command if is_process else run_in_process
    return await run(home, *args, settings=settings)


@COMMANDS
async def test_a_command_calls_through_the_proxy_and_trusts_the_file(
    sandbox: Sandbox,
    proxy: ConnectProxy,
    store: Path,
    case: Case,
) -> None:
    """Each call is one CONNECT. Proxy and certificates are given as flags."""
    sandbox.authority.sign_in.device_auto_approve = True
    case.prepare(sandbox, store)
    way_out = ["--upstream-proxy", proxy.url, "--ca-file", str(proxy.ca_file)]
    ended = await bearerd(store, *case.args, *way_out, is_process=True)
    assert ended.code == 0, ended.stderr + ended.stdout
    assert "warning" not in ended.stderr
    assert Counter(proxy.connects) == case.connects
    assert len(proxy.requests) == len(proxy.connects)


@COMMANDS
async def test_a_proxy_that_refuses_is_one_clear_line(
    sandbox: Sandbox,
    proxy: ConnectProxy,
    store: Path,
    case: Case,
) -> None:
    """It names the proxy's status and what to do, and never the proxy's password."""
    case.prepare(sandbox, store)
    proxy.refusal_status = 407
    url = proxy.url.replace("http://", "http://someone:made-up-secret@")
    way_out = ["--upstream-proxy", url, "--ca-file", str(proxy.ca_file)]
    ended = await bearerd(store, *case.args, *way_out)
    lines = (ended.stdout + ended.stderr).splitlines()
    assert len([line for line in lines if "407" in line]) == len(case.connects)
    if "doctor" not in case.args:
        assert len(ended.stderr.splitlines()) == 1
    assert "made-up-secret" not in ended.stdout + ended.stderr
    assert ended.code == case.exit_code_without_authority
    assert set(proxy.connects) == set(case.connects)
    assert proxy.requests == []
    credentials = base64.b64encode(b"someone:made-up-secret").decode()
    assert set(proxy.authorizations) == {f"Basic {credentials}"}


@COMMANDS
async def test_a_server_that_is_not_trusted_is_one_clear_line(
    sandbox: Sandbox,
    proxy: ConnectProxy,
    store: Path,
    case: Case,
) -> None:
    """Without `ca_file` no command sends anything to it."""
    case.prepare(sandbox, store)
    ended = await bearerd(store, *case.args, "--upstream-proxy", proxy.url)
    output = ended.stdout + ended.stderr
    assert ended.code == case.exit_code_without_authority
    if case.args == ("token",):
        assert "was not reached (SSLCertVerificationError)" in output
    else:
        assert output.count("certificate is not trusted") == len(case.connects)
        assert "set `ca_file`" in output
    assert proxy.requests == []


async def test_a_logout_that_cannot_revoke_says_that_the_login_stays_valid(
    sandbox: Sandbox, proxy: ConnectProxy, store: Path
) -> None:
    """The file is removed all the same."""
    with_a_login(sandbox, store)
    proxy.refusal_status = 503
    way_out = ["--upstream-proxy", proxy.url, "--ca-file", str(proxy.ca_file)]
    ended = await bearerd(store, "logout", *way_out)
    (warning,) = ended.stderr.splitlines()
    assert warning.startswith("bearerd: warning: the previous login is not revoked")
    assert f"the proxy 127.0.0.1:{proxy.port} answered CONNECT with 503" in warning
    assert "check `upstream_proxy`" in warning
    assert not is_there(store)


# By browser: in this process, since the command listens on two fixed ports.


def settings_for(store: Path, **given: object) -> Settings:
    """Return settings with the authority behind the proxy."""
    flags = {"store": store, "issuer_url": ISSUER_URL, **given}
    return load_settings(
        {name: str(value) for name, value in flags.items()},
        environ={},
        config=empty_config(store.parent.parent),
    )


async def sign_in_with_a_browser(settings: Settings, sandbox: Sandbox) -> Credential:
    """Sign in as `bearerd login` does. The browser, which has a proxy of its own, is
    sent to the sandbox directly.
    """
    pages: asyncio.Queue[str] = asyncio.Queue()
    typed: asyncio.Queue[str] = asyncio.Queue()

    async def lines() -> AsyncIterator[str]:
        yield await typed.get()

    async def flow(client: AuthorityClient) -> Credential:
        return await sign_in_by_browser(
            client,
            show_page=pages.put_nowait,
            pasted_lines=lines(),
            on_mismatch=pytest.fail,
            ports=(0,),
        )

    signing_in = asyncio.create_task(
        sign_in(
            settings, settings.profile("default"), flow, RevokePrevious.UNLESS_SHARED
        )
    )
    page = (await pages.get()).replace(ISSUER_URL, sandbox.issuer_url)
    async with aiohttp.ClientSession() as browser, browser.get(page) as response:
        assert response.status == 200
    return await signing_in


async def test_a_browser_sign_in_exchanges_its_code_through_the_proxy(
    sandbox: Sandbox, proxy: ConnectProxy, store: Path
) -> None:
    """It is the only call of ours. The redirect to loopback uses no proxy."""
    settings = settings_for(store, upstream_proxy=proxy.url, ca_file=str(proxy.ca_file))
    credential = await sign_in_with_a_browser(settings, sandbox)
    assert proxy.connects == [TO_AUTHORITY]
    assert tokens_of(read_login(store))["refresh_token"] == credential.refresh_token


async def test_a_browser_sign_in_that_the_proxy_refuses_stores_nothing(
    sandbox: Sandbox, proxy: ConnectProxy, store: Path
) -> None:
    """The error names the proxy and the setting."""
    proxy.refusal_status = 403
    settings = settings_for(store, upstream_proxy=proxy.url, ca_file=str(proxy.ca_file))
    with pytest.raises(CallFailed, match=r"answered CONNECT with 403; check `upstream"):
        await sign_in_with_a_browser(settings, sandbox)
    assert (proxy.requests, is_there(store)) == ([], False)


async def test_a_browser_sign_in_trusts_the_file_alone(
    sandbox: Sandbox, proxy: ConnectProxy, store: Path
) -> None:
    """Without `ca_file` the code is not sent."""
    settings = settings_for(store, upstream_proxy=proxy.url)
    with pytest.raises(CallFailed, match="certificate is not trusted"):
        await sign_in_with_a_browser(settings, sandbox)
    assert (proxy.requests, is_there(store)) == ([], False)


# Loopback.


async def test_an_authority_on_loopback_is_called_directly(
    sandbox: Sandbox, proxy: ConnectProxy, store: Path, canary: Canary
) -> None:
    """As on the upstream leg: plain http:// is for loopback, and needs no proxy."""
    with_a_login(sandbox, store)
    ended = await run_in_process(
        store.parent.parent,
        "logout",
        settings={
            "store": store,
            "issuer_url": sandbox.issuer_url,
            "upstream_proxy": proxy.url,
        },
    )
    canary.saw("stderr", ended.stderr)
    assert ended.code == 0
    assert proxy.connects == []
    assert len(sandbox.authority.revoked_fingerprints) == 1
