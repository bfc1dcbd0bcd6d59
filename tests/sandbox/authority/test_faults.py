"""Everything the authority can be told to do wrong."""

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest

from bearerd.sandbox import AuthorityFault, Sandbox
from bearerd.sandbox.authority.grant import AUTH_CLAIM
from bearerd.sandbox.authority.jwt import read_claims
from tests.sandbox.conftest import Clock, Refresh, error_code, login


async def raw_refresh(
    sandbox: Sandbox, http: aiohttp.ClientSession, refresh_token: str
) -> tuple[int, str, bytes]:
    """Return status, content type and body of a refresh."""
    body = {
        "client_id": "c",
        "grant_type": "refresh_token",
        "refresh_token": refresh_token,
    }
    async with http.post(sandbox.token_url, json=body) as response:
        return response.status, response.content_type, await response.read()


def described(value: object) -> str | None:
    """Return the kind of a fault, for the name of a case."""
    return value.kind if isinstance(value, AuthorityFault) else None


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (AuthorityFault("answer"), (500, "application/json", b"sandbox_fault")),
        (AuthorityFault("answer", status=429), (429, "application/json", b"429")),
        (
            AuthorityFault("answer", status=403, html=True),
            (403, "text/html", b"Just a moment"),
        ),
        (AuthorityFault("answer", body="{}"), (500, "application/json", b"{}")),
        (AuthorityFault("empty"), (200, "application/json", b"")),
        (AuthorityFault("empty_object"), (200, "application/json", b"{}")),
        (AuthorityFault("html"), (200, "text/html", b"<html>")),
        (AuthorityFault("garbage"), (200, "application/json", b'{"access')),
    ],
    ids=described,
)
async def test_a_wrong_response_leaves_the_token_unspent(
    sandbox: Sandbox,
    http: aiohttp.ClientSession,
    refresh: Refresh,
    fault: AuthorityFault,
    expected: tuple[int, str, bytes],
) -> None:
    """Something stood before the authority; the next call goes well."""
    refresh_token = login(sandbox)["refresh_token"]
    sandbox.authority.fault(fault, times=1)
    response = await raw_refresh(sandbox, http, refresh_token)
    assert response[:2] == expected[:2]
    assert expected[2] in response[2]
    assert sandbox.authority.refreshes == 0
    assert (await refresh(refresh_token))[0] == 200
    assert sandbox.authority.outcomes == {f"fault:{fault.kind}": 1, "rotated": 1}


async def test_retry_after_is_said_when_told_to(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    """A 429 with a time to wait."""
    sandbox.authority.fault(AuthorityFault("answer", status=429, retry_after="7"))
    async with http.post(sandbox.token_url, json={}) as response:
        assert response.headers["Retry-After"] == "7"


@pytest.mark.parametrize("kind", ["empty", "empty_object", "garbage", "answer"])
async def test_a_wrong_response_can_spend_the_token_too(
    sandbox: Sandbox, http: aiohttp.ClientSession, kind: str
) -> None:
    """The rotation went well and its response was lost on the way."""
    fault = AuthorityFault(kind, rotates=True)  # type: ignore[arg-type]
    sandbox.authority.fault(fault, times=1)
    await raw_refresh(sandbox, http, login(sandbox)["refresh_token"])
    (call,) = sandbox.authority.records
    assert (call.outcome, call.rotated) == (f"fault:{kind}", True)
    assert sandbox.authority.refreshes == 1


@pytest.mark.parametrize(
    ("kind", "spent"), [("drop_before_rotation", 0), ("drop_after_rotation", 1)]
)
async def test_a_dropped_response_resets_the_connection(
    sandbox: Sandbox, refresh: Refresh, kind: str, spent: int
) -> None:
    """Before or after the token was spent, which the client cannot tell."""
    refresh_token = login(sandbox)["refresh_token"]
    sandbox.authority.fault(AuthorityFault(kind), times=1)  # type: ignore[arg-type]
    with pytest.raises(aiohttp.ClientConnectionError):
        await refresh(refresh_token)
    assert sandbox.authority.refreshes == spent
    (call,) = sandbox.authority.records
    assert (call.status, call.rotated) == (None, bool(spent))
    status, _ = await refresh(refresh_token)
    assert status == (401 if spent else 200)


async def test_there_is_nothing_to_drop_once_the_client_has_left(
    sandbox: Sandbox, refresh: Refresh
) -> None:
    """The token is spent all the same."""
    sandbox.authority.fault(AuthorityFault("drop_after_rotation"))
    sandbox.authority.gate.close()
    call = asyncio.create_task(refresh(login(sandbox)["refresh_token"]))
    await sandbox.authority.wait_for_waiting(1)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    for _ in range(3):  # until the server's side of the socket has noticed
        async with (
            aiohttp.ClientSession() as http,
            http.get(sandbox.issuer_url) as other,
        ):
            assert other.status == 404
    sandbox.authority.gate.open()
    await sandbox.authority.wait_for_outcomes(1)
    assert sandbox.authority.refreshes == 1


async def test_a_drop_is_a_reset_and_no_orderly_end(sandbox: Sandbox) -> None:
    """Read from a bare socket: RST, where an orderly end would read as empty."""
    sandbox.authority.fault(AuthorityFault("drop_before_rotation"))
    host, port = sandbox.issuer_url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
    )
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()


@pytest.mark.parametrize(
    ("kind", "missing"),
    [("omit_refresh_token", "refresh_token"), ("omit_id_token", "id_token")],
)
async def test_a_field_can_be_missing(
    sandbox: Sandbox, refresh: Refresh, kind: str, missing: str
) -> None:
    """The rest of the response is good."""
    sandbox.authority.fault(AuthorityFault(kind))  # type: ignore[arg-type]
    status, body = await refresh(login(sandbox)["refresh_token"])
    assert status == 200
    expected = {"access_token", "refresh_token", "id_token"} - {missing}
    assert {key for key in body if key.endswith("_token")} == expected
    assert sandbox.authority.refreshes == 1


async def test_an_id_token_can_be_no_token(sandbox: Sandbox, refresh: Refresh) -> None:
    """One that no client can decode."""
    sandbox.authority.fault(AuthorityFault("bad_id_token"))
    _, body = await refresh(login(sandbox)["refresh_token"])
    with pytest.raises(ValueError, match="three"):
        read_claims(str(body["id_token"]))


async def test_the_response_can_be_for_another_account(
    sandbox: Sandbox, refresh: Refresh
) -> None:
    """The claims say whose it is."""
    fault = AuthorityFault("other_account", account_id="acct-else")
    sandbox.authority.fault(fault)
    _, body = await refresh(login(sandbox)["refresh_token"])
    claims = read_claims(str(body["access_token"]))[AUTH_CLAIM]
    assert isinstance(claims, dict)
    assert claims["chatgpt_account_id"] == "acct-else"


@pytest.mark.parametrize("status", [None, 400])
@pytest.mark.parametrize(
    "code",
    [
        "refresh_token_expired",
        "refresh_token_invalidated",
        "refresh_token_reused",
        "something_new",
    ],
)
async def test_a_refusal_can_be_ordered(
    sandbox: Sandbox, refresh: Refresh, code: str, status: int | None
) -> None:
    """Whatever the ledger thinks, and without touching it."""
    refresh_token = login(sandbox)["refresh_token"]
    fault = AuthorityFault("refuse", code=code, status=status)
    sandbox.authority.fault(fault, times=1)
    response = await refresh(refresh_token)
    assert (response[0], error_code(response[1])) == (status or 401, code)
    assert (sandbox.authority.refreshes, sandbox.authority.reused) == (0, 0)
    assert (await refresh(refresh_token))[0] == 200


@pytest.mark.parametrize("form", ["string", "object"])
async def test_invalid_grant_has_two_forms(
    sandbox: Sandbox, refresh: Refresh, form: str
) -> None:
    """RFC 6749's string, which is the default, or OpenAI's object."""
    fault = AuthorityFault("refuse", code="invalid_grant", status=400)
    if form == "object":
        fault = AuthorityFault(
            "refuse", code="invalid_grant", status=400, form="object"
        )
    sandbox.authority.fault(fault)
    status, body = await refresh("any")
    assert status == 400
    code = body["error"] if form == "string" else error_code(body)
    assert code == "invalid_grant"


async def test_a_response_can_be_huge(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    """More than 1 MiB, though good JSON with a good grant in it."""
    sandbox.authority.fault(AuthorityFault("huge"))
    refresh_token = login(sandbox)["refresh_token"]
    _, _, body = await raw_refresh(sandbox, http, refresh_token)
    assert len(body) > 1024 * 1024
    assert "access_token" in json.loads(body)


async def test_a_call_can_hang_until_the_client_gives_up(
    sandbox: Sandbox, refresh: Refresh
) -> None:
    """Nothing is spent, unless told to."""
    sandbox.authority.fault(AuthorityFault("hang"), times=1)
    refresh_token = login(sandbox)["refresh_token"]
    call = asyncio.create_task(refresh(refresh_token))
    await sandbox.authority.wait_for_calls(1)
    assert not call.done()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert (await refresh(refresh_token))[0] == 200


class Sleeps:
    """A sleep that lasts until a test says so."""

    def __init__(self) -> None:
        self.asked = asyncio.Queue[float]()
        self.over = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        self.asked.put_nowait(seconds)
        await self.over.wait()


@pytest.fixture
async def sleeps() -> Sleeps:
    """What the sandbox of these tests sleeps with."""
    return Sleeps()


class TestDelayed:
    """With a sleep that the test ends."""

    @pytest.fixture
    async def sandbox(self, clock: Clock, sleeps: Sleeps) -> AsyncIterator[Sandbox]:
        """A sandbox whose sleeps last as long as the test wants."""
        async with Sandbox(now=clock, sleep=sleeps) as running:
            yield running

    @pytest.mark.parametrize("early", [False, True])
    async def test_a_delay_comes_before_or_after_the_rotation(
        self, sandbox: Sandbox, refresh: Refresh, sleeps: Sleeps, early: bool
    ) -> None:
        """Just before the response, unless it is told to rotate on receipt."""
        fault = AuthorityFault("delay", delay_seconds=0.2, rotate_before_delay=early)
        sandbox.authority.fault(fault)
        call = asyncio.create_task(refresh(login(sandbox)["refresh_token"]))
        assert await sleeps.asked.get() == 0.2
        assert sandbox.authority.refreshes == int(early)
        sleeps.over.set()
        assert (await call)[0] == 200
        assert sandbox.authority.outcomes == {"rotated": 1}

    async def test_any_fault_can_be_late(
        self, sandbox: Sandbox, refresh: Refresh, sleeps: Sleeps
    ) -> None:
        """A refusal after a while."""
        sandbox.authority.fault(AuthorityFault("refuse", delay_seconds=3))
        call = asyncio.create_task(refresh("any"))
        assert await sleeps.asked.get() == 3
        sleeps.over.set()
        assert (await call)[0] == 401


async def test_a_spent_token_is_refused_whatever_else_goes_wrong(
    sandbox: Sandbox, refresh: Refresh
) -> None:
    """There is nothing to drop when nothing was rotated."""
    refresh_token = login(sandbox)["refresh_token"]
    await refresh(refresh_token)
    sandbox.authority.fault(AuthorityFault("drop_after_rotation"))
    status, body = await refresh(refresh_token)
    assert (status, error_code(body)) == (401, "refresh_token_reused")


async def test_faults_go_in_order_and_the_standing_one_stays(
    sandbox: Sandbox, refresh: Refresh
) -> None:
    """Counted ones first, as they came; a new standing one replaces the old."""
    orders: list[tuple[int, int | None]] = [
        (500, None),
        (501, None),
        (502, 1),
        (503, 2),
    ]
    for status, times in orders:
        sandbox.authority.fault(AuthorityFault("answer", status=status), times=times)
    seen = [(await refresh("any"))[0] for _ in range(5)]
    assert seen == [502, 503, 503, 501, 501]
    sandbox.authority.clear_faults()
    assert (await refresh("any"))[0] == 400


async def test_the_revocation_can_fail_by_itself(
    sandbox: Sandbox, http: aiohttp.ClientSession, refresh: Refresh
) -> None:
    """A fault has its path; the token endpoint goes on."""
    sandbox.authority.fault(AuthorityFault("answer", path="/oauth/revoke"))
    tokens = login(sandbox)
    url = f"{sandbox.issuer_url}/oauth/revoke"
    async with http.post(url, json={"token": tokens["refresh_token"]}) as response:
        assert response.status == 500
    assert (await refresh(tokens["refresh_token"]))[0] == 200


def test_an_impossible_fault_is_refused() -> None:
    """By the name of what is wrong."""
    with pytest.raises(ValueError, match=r"one of delay, hang, .*got 'sulk'"):
        AuthorityFault("sulk")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="always rotates"):
        AuthorityFault("omit_id_token", rotates=False)


async def test_a_fault_for_no_calls_is_refused(sandbox: Sandbox) -> None:
    """Zero times would be a fault that stays for ever by mistake."""
    with pytest.raises(ValueError, match="1 or more"):
        sandbox.authority.fault(AuthorityFault("hang"), times=0)
