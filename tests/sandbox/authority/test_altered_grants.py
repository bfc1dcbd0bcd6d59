"""Grants with a token missing, malformed, old, or of another account."""

import asyncio
import json

import aiohttp
import pytest

from bearerd.sandbox import AuthorityFault, Sandbox
from bearerd.sandbox.authority.faults import ForeignTokens, TokenDefect, TokenName
from bearerd.sandbox.authority.grant import AUTH_CLAIM
from bearerd.sandbox.authority.jwt import read_claims
from tests.sandbox.conftest import (
    Clock,
    Refresh,
    error_code,
    login,
    refresh_grant,
)

TOKENS = ("access_token", "refresh_token", "id_token")
ACCOUNT = "acct-sandbox-1"


def account_of(token: object) -> object:
    """Return the account that a token names."""
    claims = read_claims(str(token))[AUTH_CLAIM]
    assert isinstance(claims, dict)
    return claims["chatgpt_account_id"]


async def upstream_status(
    sandbox: Sandbox, http: aiohttp.ClientSession, access_token: object
) -> int:
    """Return the upstream's status for this token."""
    headers = {"Authorization": f"Bearer {access_token}"}
    async with http.get(
        f"{sandbox.upstream_url}/wham/usage", headers=headers
    ) as response:
        return response.status


@pytest.mark.parametrize("missing", TOKENS)
async def test_a_token_can_be_missing(
    sandbox: Sandbox, refresh: Refresh, missing: str
) -> None:
    """The rest of the response is good, and the presented token is spent."""
    kind = f"omit_{missing}"
    sandbox.authority.fault(AuthorityFault(kind), times=1)  # type: ignore[arg-type]
    refresh_token = login(sandbox)["refresh_token"]
    status, body = await refresh(refresh_token)
    assert status == 200
    assert {key for key in body if key in TOKENS} == set(TOKENS) - {missing}
    assert sandbox.authority.refreshes == 1
    assert error_code((await refresh(refresh_token))[1]) == "refresh_token_reused"


async def test_a_missing_refresh_token_can_mean_that_the_old_one_is_valid(
    sandbox: Sandbox, http: aiohttp.ClientSession, refresh: Refresh
) -> None:
    """RFC 6749 section 6: a server that issues none keeps the old one."""
    fault = AuthorityFault("omit_refresh_token", before_spending=True)
    sandbox.authority.fault(fault, times=1)
    refresh_token = login(sandbox)["refresh_token"]
    _, body = await refresh(refresh_token)
    assert "refresh_token" not in body
    assert await upstream_status(sandbox, http, body["access_token"]) == 200
    assert sandbox.authority.refreshes == 0
    assert (await refresh(refresh_token))[0] == 200


async def test_a_grant_can_be_without_rotation(
    sandbox: Sandbox, refresh: Refresh
) -> None:
    """The same refresh token comes back, and is as good as before."""
    sandbox.authority.fault(AuthorityFault("without_rotation"), times=2)
    first = login(sandbox)
    for _ in range(2):
        _, body = await refresh(first["refresh_token"])
        assert body["refresh_token"] == first["refresh_token"]
        assert body["access_token"] != first["access_token"]
    assert (await refresh(first["refresh_token"]))[0] == 200
    assert sandbox.authority.outcomes == {"fault:without_rotation": 2, "rotated": 1}


async def test_an_id_token_can_be_no_token(sandbox: Sandbox, refresh: Refresh) -> None:
    """No client can decode it."""
    sandbox.authority.fault(AuthorityFault("bad_id_token"))
    _, body = await refresh(login(sandbox)["refresh_token"])
    with pytest.raises(ValueError, match="three"):
        read_claims(str(body["id_token"]))


@pytest.mark.parametrize(
    ("foreign_tokens", "accounts"),
    [
        ("all", ("acct-else", "acct-else")),
        ("access_token", ("acct-else", ACCOUNT)),
        ("id_token", (ACCOUNT, "acct-else")),
    ],
)
async def test_a_grant_for_another_account_has_spent_the_token(
    sandbox: Sandbox,
    refresh: Refresh,
    foreign_tokens: ForeignTokens,
    accounts: tuple[str, str],
) -> None:
    """All tokens, or one of them, name the other account."""
    fault = AuthorityFault(
        "other_account", account_id="acct-else", foreign_tokens=foreign_tokens
    )
    sandbox.authority.fault(fault, times=1)
    refresh_token = login(sandbox)["refresh_token"]
    _, body = await refresh(refresh_token)
    named = (account_of(body["access_token"]), account_of(body["id_token"]))
    assert named == accounts
    (call,) = sandbox.authority.records
    assert call.rotated
    assert (await refresh(str(body["refresh_token"])))[0] == 200
    assert error_code((await refresh(refresh_token))[1]) == "refresh_token_reused"


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize(
    ("defect", "part"),
    [
        ("crlf", "\r\nX-Injected: yes"),
        ("control", "\x00\x07\x1b"),
        ("surrogate", "\ud800"),
        ("empty", ""),
        ("huge", "x" * 200_000),
    ],
)
async def test_a_token_can_be_malformed(
    sandbox: Sandbox,
    refresh: Refresh,
    *,
    token: TokenName,
    defect: TokenDefect,
    part: str,
) -> None:
    """One token has the defect; the others are good, and the presented one is spent."""
    fault = AuthorityFault("malformed_token", token=token, defect=defect)
    sandbox.authority.fault(fault, times=1)
    status, body = await refresh(login(sandbox)["refresh_token"])
    assert status == 200
    value = str(body[token])
    assert value.endswith(part)
    assert bool(value) is (defect != "empty")
    assert sandbox.authority.refreshes == 1
    for other in set(TOKENS) - {token}:
        assert str(body[other]).isascii()


@pytest.mark.parametrize("defect", ["crlf", "control", "surrogate", "huge"])
async def test_a_malformed_refresh_token_is_accepted_as_it_was_handed_out(
    sandbox: Sandbox, refresh: Refresh, defect: TokenDefect
) -> None:
    """It is the only successor that there is."""
    fault = AuthorityFault("malformed_token", token="refresh_token", defect=defect)
    sandbox.authority.fault(fault, times=1)
    _, body = await refresh(login(sandbox)["refresh_token"])
    assert (await refresh(str(body["refresh_token"])))[0] == 200


async def test_an_access_token_with_a_line_break_injects_a_field(
    sandbox: Sandbox, refresh: Refresh
) -> None:
    """A client that does not check it sends a field more, and is accepted."""
    sandbox.authority.fault(AuthorityFault("malformed_token", defect="crlf"))
    _, body = await refresh(login(sandbox)["refresh_token"])
    host, port = sandbox.upstream_url.removeprefix("http://").split("/")[0].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"GET /backend-api/wham/usage HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {body['access_token']}\r\n\r\n".encode()
    )
    assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    writer.close()
    (record,) = sandbox.upstream.records
    assert record.header(b"x-injected") == [b"yes"]


async def test_a_grant_can_be_cached(
    sandbox: Sandbox, refresh: Refresh, clock: Clock
) -> None:
    """The access token of an earlier grant comes again, with its old `iat`."""
    first = login(sandbox)
    clock.seconds += 3000
    sandbox.authority.fault(AuthorityFault("cached_grant"), times=1)
    _, body = await refresh(first["refresh_token"])
    assert body["access_token"] == first["access_token"]
    assert body["refresh_token"] != first["refresh_token"]
    assert body["expires_in"] == 864000 - 3000
    claims = read_claims(str(body["access_token"]))
    assert claims["iat"] == int(clock.seconds) - 3000


async def test_a_token_can_be_new_and_yet_issued_in_the_past(
    sandbox: Sandbox, http: aiohttp.ClientSession, refresh: Refresh, clock: Clock
) -> None:
    """`iat` is in the past, and `exp` ten seconds ahead."""
    sandbox.tokens.access_lifetime_seconds = 3010
    sandbox.authority.fault(AuthorityFault("cached_grant", issued_seconds_ago=3000))
    _, body = await refresh(login(sandbox)["refresh_token"])
    claims = read_claims(str(body["access_token"]))
    assert claims["iat"] == int(clock.seconds) - 3000
    assert (claims["exp"], body["expires_in"]) == (int(clock.seconds) + 10, 10)
    assert await upstream_status(sandbox, http, body["access_token"]) == 200
    clock.seconds += 10
    assert await upstream_status(sandbox, http, body["access_token"]) == 401


async def test_a_response_can_be_huge(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    """More than 1 MiB, although it is good JSON with a good grant in it."""
    sandbox.authority.fault(AuthorityFault("huge"))
    body = refresh_grant(login(sandbox)["refresh_token"])
    async with http.post(sandbox.token_url, json=body) as response:
        content = await response.read()
    assert len(content) > 1024 * 1024
    assert "access_token" in json.loads(content)
