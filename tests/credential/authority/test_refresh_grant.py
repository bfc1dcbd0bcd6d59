"""The refresh grant: what each response means, and what is sent."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from bearerd.credential.authority.client import AuthorityClient
from bearerd.credential.authority.errors import AuthorityFailure
from bearerd.credential.authority.refresh_grant import Grant, RefreshGrant, interpret
from bearerd.credential.token import account_claim
from bearerd.sandbox import CODEX_CLIENT_ID, AuthorityFault, Sandbox, fingerprint
from tests.credential.authority.conftest import AGENT
from tests.credential.stand_ins import (
    MARK,
    START,
    access_token,
    credential_for,
    identity,
    jwt,
    soon,
)


def body(**fields: object) -> bytes:
    """Return a JSON object."""
    return json.dumps(fields).encode()


def openai(code: object) -> bytes:
    """Return an error in OpenAI's form."""
    return body(error={"message": "Sorry.", "type": "x", "param": None, "code": code})


@pytest.mark.parametrize(
    ("status", "content", "outcome", "reason"),
    [
        (401, openai("refresh_token_expired"), "refused", "expired"),
        (401, openai("refresh_token_reused"), "refused", "reused"),
        (401, openai("refresh_token_invalidated"), "refused", "revoked"),
        (400, openai("refresh_token_expired"), "refused", "expired"),
        (400, openai("refresh_token_reused"), "refused", "reused"),
        (400, openai("Refresh_Token_Invalidated"), "refused", "revoked"),
        (403, openai("refresh_token_reused"), "refused", "reused"),
        (429, openai("refresh_token_reused"), "refused", "reused"),
        (500, openai("refresh_token_reused"), "refused", "reused"),
        (400, body(error="refresh_token_expired"), "refused", "expired"),
        (400, body(code="refresh_token_reused"), "refused", "reused"),
        (400, body(error=None, code="refresh_token_reused"), "refused", "reused"),
        (400, body(error="invalid_grant"), "refused", "other"),
        (400, body(error="invalid_client"), "misconfigured", "invalid_client"),
        (401, body(error="invalid_client"), "misconfigured", "invalid_client"),
        (
            400,
            body(error="unauthorized_client"),
            "misconfigured",
            "unauthorized_client",
        ),
        (401, openai("token_expired"), "rejected", "http_401"),
        (401, openai(None), "rejected", "http_401"),
        (401, b"", "rejected", "http_401"),
        (401, body(detail="Unauthorized"), "rejected", "http_401"),
        (401, b"<html>no</html>", "rejected", "http_401"),
        (200, openai("refresh_token_reused"), "refused", "reused"),
        (200, body(error="invalid_grant"), "refused", "other"),
        (400, body(error="invalid_request"), "rejected", "http_400"),
        (400, body(error="temporarily_unavailable"), "rejected", "http_400"),
        (400, b"", "rejected", "http_400"),
        (400, b"[" * 100_000, "rejected", "http_400"),
        (403, b"<html>Just a moment</html>", "rejected", "http_403"),
        (404, b"", "rejected", "http_404"),
        (405, b"", "rejected", "http_405"),
        (407, b"", "rejected", "http_407"),
        (429, b"", "rejected", "http_429"),
        (302, b"", "rejected", "http_302"),
        (304, b"", "rejected", "http_304"),
        (500, body(error="temporary-failure"), "unclear", "http_500"),
        (500, b"", "unclear", "http_500"),
        (502, b"<html>Bad gateway</html>", "unclear", "http_502"),
        (503, b"", "unclear", "http_503"),
        (504, b"", "unclear", "http_504"),
        (599, b"", "unclear", "http_599"),
        (200, b"", "unclear", "200_without_tokens"),
        (200, b"{}", "unclear", "200_without_tokens"),
        (200, b"[]", "unclear", "200_without_tokens"),
        (200, b"null", "unclear", "200_without_tokens"),
        (200, b'{"access_token": "ey', "unclear", "200_without_tokens"),
        (200, b"<html>welcome</html>", "unclear", "200_without_tokens"),
        (200, b"[" * 100_000, "unclear", "200_without_tokens"),
        (200, body(access_token=""), "unclear", "200_without_tokens"),
        (200, body(access_token=7), "unclear", "200_without_tokens"),
        (200, body(access_token=None), "unclear", "200_without_tokens"),
        (200, body(id_token=jwt({"sub": "x"})), "unclear", "200_without_tokens"),
        (204, b"", "unclear", "204_without_tokens"),
    ],
)
def test_a_response_without_a_grant_has_one_meaning(
    status: int, content: bytes, outcome: str, reason: str
) -> None:
    """Only a code that speaks of the token is final. The body is never quoted."""
    with pytest.raises(AuthorityFailure) as failure:
        interpret(status, {}, content)
    assert (failure.value.outcome, failure.value.reason) == (outcome, reason)
    assert str(failure.value) == f"{outcome}: {reason}"


@pytest.mark.parametrize("status", [200, 201, 299])
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"access_token": "a"}, ("a", None, None)),
        ({"refresh_token": "r"}, (None, "r", None)),
        (
            {"access_token": "a", "refresh_token": "r", "id_token": "i"},
            ("a", "r", "i"),
        ),
        (
            {
                "access_token": "a",
                "refresh_token": None,
                "id_token": 7,
                "expires_in": "x",
            },
            ("a", None, None),
        ),
    ],
)
def test_any_2xx_with_a_token_is_a_grant(
    status: int, fields: dict[str, object], expected: tuple[str | None, ...]
) -> None:
    """All fields are optional. One that is no text counts as absent."""
    grant = interpret(status, {}, body(**fields))
    assert (grant.access_token, grant.refresh_token, grant.id_token) == expected


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("2.5", None),
        ("-1", None),
        ("inf", None),
        ("nan", None),
        ("", None),
        ("Fri, 15 Jan 2027 08:00:00 GMT", 90.0),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 0.0),
        ("9" * 5000, None),
        ("\u0661", None),
        (None, None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_a_number_of_seconds_or_a_date(
    status: int, value: str | None, seconds: float | None
) -> None:
    """A date counts from the response's own Date."""
    headers = {"Date": "Fri, 15 Jan 2027 07:58:30 GMT"}
    if value is not None:
        headers["Retry-After"] = value
    with pytest.raises(AuthorityFailure) as failure:
        interpret(status, headers, b"")
    assert failure.value.retry_after_seconds == seconds


def test_a_retry_after_date_without_a_date_field_says_nothing() -> None:
    """Two clocks are not compared."""
    headers = {"Retry-After": "Fri, 15 Jan 2027 08:00:00 GMT"}
    with pytest.raises(AuthorityFailure) as failure:
        interpret(429, headers, b"")
    assert failure.value.retry_after_seconds is None


@pytest.mark.parametrize(
    ("status", "content", "is_slow"),
    [
        (401, b"", True),
        (401, body(detail="Unauthorized"), True),
        (403, b"<html>Just a moment</html>", True),
        (407, b"", True),
        (404, b"<html>no</html>", True),
        (400, body(error="invalid_client"), True),
        (400, body(error="invalid_request"), False),
        (408, b"", False),
        (429, b"", False),
        (500, b"", False),
        (502, b"<html>Bad gateway</html>", False),
    ],
)
def test_the_slow_pace_is_for_what_time_alone_does_not_mend(
    status: int, content: bytes, is_slow: bool
) -> None:
    """An incident, a page, a proxy, a wrong client; not an authority that is busy."""
    with pytest.raises(AuthorityFailure) as failure:
        interpret(status, {}, content)
    assert failure.value.is_slow is is_slow


@pytest.mark.parametrize("token", ["a\r\nX-Injected: yes", "a\n", "\ud800", "a b", ""])
def test_a_token_that_is_not_visible_ascii_counts_as_none(token: str) -> None:
    """It would become a field of its own, or break every request."""
    content = json.dumps({"access_token": token, "refresh_token": "r"}).encode()
    grant = interpret(200, {}, content)
    assert (grant.access_token, grant.refresh_token) == (None, "r")


def test_a_grant_shows_no_secret() -> None:
    """Nor does a credential that is made of it."""
    grant = Grant(access_token=MARK, refresh_token=MARK, id_token=MARK)
    assert MARK not in repr(grant)
    assert MARK not in repr(grant.applied_to(credential_for(), START))


@pytest.mark.parametrize("absent", ["access_token", "refresh_token", "id_token"])
def test_a_token_that_the_grant_leaves_out_stays(absent: str) -> None:
    """RFC 6749 section 6: without a new refresh token the old one remains valid."""
    fields: dict[str, str] = {
        "access_token": access_token("new", expires_at=START + 99),
        "refresh_token": "new",
        "id_token": jwt({"sub": "new"}),
    }
    given = {name: None if name == absent else fields[name] for name in fields}
    spent = credential_for()
    renewed = Grant(
        given["access_token"], given["refresh_token"], given["id_token"]
    ).applied_to(spent, START)
    for name, value in fields.items():
        expected = getattr(spent, name) if name == absent else value
        assert getattr(renewed, name) == expected
    assert (renewed.account_id, renewed.user_id) == ("acct-1", "user-1")
    expires = spent.expires_at if absent == "access_token" else START + 99
    assert renewed.expires_at == expires


def test_an_opaque_token_expires_eight_days_after_the_grant() -> None:
    """Codex's rule. Without it, such a token would not be refreshed before it expires."""
    eight_days = 8 * 24 * 3600
    given = Grant(access_token="opaque", refresh_token="r", id_token=None)
    renewed = given.applied_to(credential_for(), START + 7)
    assert renewed.expires_at == START + 7 + eight_days
    kept = Grant(access_token=None, refresh_token="r2", id_token=None)
    assert kept.applied_to(renewed, START + 99).expires_at == renewed.expires_at


def test_an_id_token_that_is_no_jwt_is_left_out() -> None:
    """The old one stays, since Codex would reject the file for the new one."""
    grant = Grant(access_token="a", refresh_token="r", id_token="no jwt")
    assert (
        grant.applied_to(credential_for(), START).id_token == credential_for().id_token
    )


@pytest.mark.parametrize(
    ("stored", "in_access", "in_id", "other"),
    [
        ("acct-1", "acct-1", "acct-1", False),
        ("acct-1", "acct-2", "acct-2", True),
        ("acct-1", "acct-1", "acct-2", False),
        ("acct-1", None, "acct-2", True),
        ("acct-1", None, None, False),
        (None, "acct-2", None, False),
        (None, None, None, False),
    ],
)
def test_a_grant_for_another_account_is_noticed(
    stored: str | None, in_access: str | None, in_id: str | None, other: bool
) -> None:
    """Where both sides name one."""
    grant = Grant(
        access_token=jwt(identity(in_access, "u")),
        refresh_token="r",
        id_token=jwt(identity(in_id, "u")),
    )
    assert grant.names_another_account(credential_for(account=stored)) is other


@pytest.mark.parametrize("names_id", [True, False], ids=["id-token", "no-id-token"])
def test_a_grant_for_another_account_takes_no_name_over(names_id: bool) -> None:
    """Else the tokens of one account would bear the id token and the user of the other."""
    of_other = identity("acct-2", "user-2")
    id_token = jwt(of_other) if names_id else None
    presented = replace(credential_for(), id_token=jwt(identity("acct-1", "user-1")))
    foreign = Grant(
        access_token=access_token("x", expires_at=START + 9, **of_other),
        refresh_token="r",
        id_token=id_token,
    ).applied_to(presented, START)
    assert (foreign.account_id, foreign.user_id) == ("acct-2", "user-2")
    assert foreign.id_token == id_token


def test_an_id_token_of_another_account_decides_nothing_later() -> None:
    """It stays in the file, since Codex demands one, beside the tokens that were adopted."""
    adopted = replace(
        credential_for(account="acct-2", user="user-2"),
        access_token=jwt(identity("acct-2", "user-2")),
        id_token=jwt(identity("acct-1", "user-1")),
    )
    of_first = Grant(jwt(identity("acct-1", "user-1")), "r", None)
    of_second = Grant(jwt(identity("acct-2", "user-2")), "r", None)
    assert of_first.names_another_account(adopted)
    assert not of_second.names_another_account(adopted)


# On the wire.


def at(
    session: aiohttp.ClientSession, url: str, timeout_seconds: float = 5.0
) -> RefreshGrant:
    """Return the authority behind a URL."""
    client = AuthorityClient(
        session,
        issuer_url="http://issuer.invalid",
        token_url=url,
        client_id=CODEX_CLIENT_ID,
        timeout_seconds=timeout_seconds,
    )
    return RefreshGrant(client, timeout_seconds=timeout_seconds)


def sign_in(sandbox: Sandbox) -> str:
    """Sign in; return the refresh token."""
    tokens = sandbox.auth_document()["tokens"]
    assert isinstance(tokens, dict)
    return str(tokens["refresh_token"])


async def failed(authority: RefreshGrant, refresh_token: str) -> tuple[str, str]:
    """Return outcome and reason of a refresh that must fail."""
    with pytest.raises(AuthorityFailure) as failure:
        await soon(authority.refresh(refresh_token))
    assert refresh_token not in repr(failure.value) + repr(failure.value.__cause__)
    return failure.value.outcome, failure.value.reason


@asynccontextmanager
async def responding(response: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Yield the URL of a server that sends the same bytes to every request, and
    the requests as they came.
    """
    requests = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length")
        )
        requests.append(head + await reader.readexactly(length))
        writer.write(response)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/oauth/token", requests


async def test_a_refresh_on_the_wire_is_what_codex_sends(
    session: aiohttp.ClientSession,
) -> None:
    """Exactly three keys as JSON, our own User-Agent, and no credential in the head."""
    response = body(access_token="a", refresh_token="r")
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(response)
    async with responding(head + response) as (url, requests):
        await soon(at(session, url).refresh(f"{MARK}-r"))
    (request,) = requests
    head, content = request.split(b"\r\n\r\n", 1)
    assert json.loads(content) == {
        "client_id": CODEX_CLIENT_ID,
        "grant_type": "refresh_token",
        "refresh_token": f"{MARK}-r",
    }
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    assert head.startswith(b"POST /oauth/token HTTP/1.1\r\n")
    assert fields[b"content-type"] == b"application/json"
    assert fields[b"user-agent"] == AGENT.encode()
    assert b"authorization" not in fields
    assert b"cookie" not in fields
    assert MARK.encode() not in head


async def test_a_refresh_gives_the_next_tokens(
    session: aiohttp.ClientSession, sandbox: Sandbox
) -> None:
    """The old refresh token is spent by it."""
    refresh_token = sign_in(sandbox)
    authority = at(session, sandbox.token_url)
    grant = await soon(authority.refresh(refresh_token))
    assert grant.refresh_token not in (None, refresh_token)
    assert account_claim(grant.access_token) == "acct-sandbox-1"
    (call,) = sandbox.authority.records
    assert call.body_keys == ("client_id", "grant_type", "refresh_token")
    assert (call.content_type, call.user_agent) == ("application/json", AGENT)
    assert call.refresh_fingerprint == fingerprint(refresh_token)
    assert await failed(authority, refresh_token) == ("refused", "reused")


@pytest.mark.parametrize(
    ("fault", "outcome", "reason"),
    [
        (AuthorityFault("refuse", code="refresh_token_expired"), "refused", "expired"),
        (AuthorityFault("refuse", code="refresh_token_reused"), "refused", "reused"),
        (AuthorityFault("refuse"), "refused", "revoked"),
        (AuthorityFault("refuse", code="invalid_grant"), "refused", "other"),
        (AuthorityFault("answer", status=401), "rejected", "http_401"),
        (AuthorityFault("answer", status=403, html=True), "rejected", "http_403"),
        (AuthorityFault("answer", status=429), "rejected", "http_429"),
        (AuthorityFault("answer", status=500), "unclear", "http_500"),
        (AuthorityFault("html"), "unclear", "200_without_tokens"),
        (AuthorityFault("empty"), "unclear", "200_without_tokens"),
        (AuthorityFault("empty_object"), "unclear", "200_without_tokens"),
        (AuthorityFault("garbage"), "unclear", "200_without_tokens"),
        (AuthorityFault("huge"), "unclear", "answer_too_large"),
    ],
    ids=lambda value: value.kind if isinstance(value, AuthorityFault) else None,
)
async def test_an_authority_that_does_not_grant_is_understood(
    session: aiohttp.ClientSession,
    sandbox: Sandbox,
    fault: AuthorityFault,
    outcome: str,
    reason: str,
) -> None:
    """Through real sockets, one call each."""
    sandbox.authority.fault(fault)
    found = await failed(at(session, sandbox.token_url), sign_in(sandbox))
    assert found == (outcome, reason)
    assert sandbox.authority.calls == 1


@pytest.mark.parametrize("kind", ["drop_before_rotation", "drop_after_rotation"])
async def test_a_connection_that_breaks_after_the_request_is_unclear(
    session: aiohttp.ClientSession, sandbox: Sandbox, kind: str
) -> None:
    """It is not known whether the token was spent, and it is sent once."""
    sandbox.authority.fault(AuthorityFault(kind))  # type: ignore[arg-type]
    outcome, _ = await failed(at(session, sandbox.token_url), sign_in(sandbox))
    assert outcome == "unclear"
    assert sandbox.authority.calls == 1


async def test_an_authority_that_hangs_is_unclear_when_the_time_is_over(
    session: aiohttp.ClientSession, sandbox: Sandbox
) -> None:
    """One deadline covers the whole call."""
    sandbox.authority.fault(AuthorityFault("hang"))
    authority = at(session, sandbox.token_url, timeout_seconds=0.2)
    found = await failed(authority, sign_in(sandbox))
    assert found == ("unclear", "TimeoutError")


async def test_a_response_that_trickles_is_unclear_when_the_time_is_over(
    session: aiohttp.ClientSession,
) -> None:
    """A head that has arrived does not stop the deadline."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        await reader.read()  # until the client gives up
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        authority = at(session, f"http://127.0.0.1:{port}/", timeout_seconds=0.2)
        found = await failed(authority, "r-made-up")
    assert found == ("unclear", "TimeoutError")


async def test_a_refused_connection_leaves_the_token_unspent(
    session: aiohttp.ClientSession,
) -> None:
    """Nothing was sent."""
    with socket.socket() as reserved:
        reserved.bind(
            ("127.0.0.1", 0)
        )  # bound and not listening, so that no other program can
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}/oauth/token"
        found = await failed(at(session, url), "r-made-up")
    assert found == ("undelivered", "ConnectionRefusedError")


async def test_a_name_that_is_not_known_leaves_the_token_unspent() -> None:
    """The resolver raises, and nothing was sent."""

    class NoNames(AbstractResolver):
        async def resolve(
            self,
            host: str,
            port: int = 0,
            family: socket.AddressFamily = socket.AF_INET,
        ) -> list[ResolveResult]:
            raise OSError(f"no address for {host}:{port}, {family}")

        async def close(self) -> None:
            return

    connector = aiohttp.TCPConnector(resolver=NoNames())
    async with aiohttp.ClientSession(connector=connector) as session:
        outcome, _ = await failed(at(session, "http://auth.invalid/"), "r-made-up")
    assert outcome == "undelivered"


async def test_a_connection_that_never_opens_leaves_the_token_unspent(
    session: aiohttp.ClientSession,
) -> None:
    """A full backlog drops new connections. The time to connect ends before the call's."""
    with socket.socket() as listening, ExitStack() as knocking:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            one = knocking.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(listening.getsockname())
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        found = await failed(at(session, url, timeout_seconds=0.6), "r-made-up")
    assert found == ("undelivered", "TimeoutError")


async def test_a_tls_that_cannot_be_agreed_leaves_the_token_unspent(
    session: aiohttp.ClientSession, sandbox: Sandbox
) -> None:
    """The server speaks no TLS, and nothing was sent."""
    url = sandbox.token_url.replace("http://", "https://")
    outcome, _ = await failed(at(session, url), sign_in(sandbox))
    assert outcome == "undelivered"
    assert sandbox.authority.calls == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(
    session: aiohttp.ClientSession, sandbox: Sandbox, status: int
) -> None:
    """A refresh token is sent to the authority only."""
    response = (
        f"HTTP/1.1 {status} Moved\r\nLocation: {sandbox.token_url}\r\n"
        "Content-Length: 0\r\n\r\n"
    )
    async with responding(response.encode()) as (url, requests):
        found = await failed(at(session, url), sign_in(sandbox))
    assert found == ("rejected", f"http_{status}")
    assert len(requests) == 1
    assert sandbox.authority.calls == 0


@pytest.mark.parametrize(
    "response",
    [
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
        b"",
    ],
    ids=["another-protocol", "cut-short", "bad-chunk", "bad-gzip", "nothing"],
)
async def test_a_response_that_breaks_http_is_unclear(
    session: aiohttp.ClientSession, response: bytes
) -> None:
    """A server received the request, and it is not known what it did."""
    async with responding(response) as (url, requests):
        outcome, _ = await failed(at(session, url), "r-made-up")
    assert outcome == "unclear"
    assert len(requests) == 1


async def test_a_url_that_cannot_be_called_leaves_the_token_unspent(
    session: aiohttp.ClientSession,
) -> None:
    """The settings refuse it before. Here too it is a failure and no crash."""
    assert (await failed(at(session, "http://"), "r-made-up"))[0] == "undelivered"
