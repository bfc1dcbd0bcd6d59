"""The responses of the authority's faults, and their effect on the token."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from email.utils import parsedate_to_datetime

import aiohttp
import pytest
from multidict import CIMultiDictProxy

from bearerd.sandbox import AuthorityFault, Sandbox
from tests.sandbox.conftest import (
    Clock,
    Refresh,
    Sleeps,
    error_code,
    login,
    refresh_grant,
)

Reply = tuple[int, CIMultiDictProxy[str], bytes]


async def raw_refresh(
    sandbox: Sandbox, http: aiohttp.ClientSession, refresh_token: str
) -> Reply:
    """Return status, header fields and body of a refresh; follow no redirect."""
    async with http.post(
        sandbox.token_url, json=refresh_grant(refresh_token), allow_redirects=False
    ) as response:
        return response.status, response.headers, await response.read()


def media_type(headers: CIMultiDictProxy[str]) -> str:
    """Return the media type without its parameters; empty if there is none."""
    return headers.get("Content-Type", "").partition(";")[0]


def kind_of(value: object) -> str | None:
    """Return the kind of a fault, for the name of a case."""
    return value.kind if isinstance(value, AuthorityFault) else None


REPLACED = [
    (AuthorityFault("answer"), (500, "application/json", b"sandbox_fault")),
    (AuthorityFault("answer", status=429), (429, "application/json", b"429")),
    (AuthorityFault("answer", status=403, html=True), (403, "text/html", b"moment")),
    (AuthorityFault("answer", body="{}"), (500, "application/json", b"{}")),
    (AuthorityFault("empty"), (200, "application/json", b"")),
    (AuthorityFault("empty_object"), (200, "application/json", b"{}")),
    (AuthorityFault("html"), (200, "text/html", b"<html>")),
    (AuthorityFault("garbage"), (200, "application/json", b'{"access')),
    (
        AuthorityFault("unauthorized"),
        (401, "application/json", b'{"detail": "Unauthorized"}'),
    ),
    (AuthorityFault("unauthorized_empty"), (401, "", b"")),
    (AuthorityFault("unauthorized_page"), (401, "text/html", b"Sign in")),
    (AuthorityFault("rate_limited"), (429, "application/json", b"rate_limit")),
    (AuthorityFault("maintenance"), (503, "text/html", b"Maintenance")),
    (AuthorityFault("edge_error"), (502, "text/html", b"Error 502")),
    (AuthorityFault("edge_error", status=520), (520, "text/html", b"Error 520")),
    (
        AuthorityFault("refuse", code="server_error"),
        (500, "application/json", b'"error": "server_error"'),
    ),
    (
        AuthorityFault("refuse", code="temporarily_unavailable"),
        (503, "application/json", b'"error": "temporarily_unavailable"'),
    ),
]
NOT_REACHED = [
    (AuthorityFault("challenge"), (403, "text/html", b"_cf_chl_opt")),
    (AuthorityFault("proxy_authentication"), (407, "text/html", b"Proxy")),
    (AuthorityFault("redirect"), (302, "", b"")),
    (AuthorityFault("redirect", status=307), (307, "", b"")),
    (AuthorityFault("edge_error", status=522), (522, "text/html", b"Error 522")),
    (AuthorityFault("edge_error", status=1020), (403, "text/plain", b"1020")),
    (
        AuthorityFault("refuse", code="invalid_client"),
        (401, "application/json", b'"error": "invalid_client"'),
    ),
    (
        AuthorityFault("refuse", code="unauthorized_client"),
        (400, "application/json", b'"error": "unauthorized_client"'),
    ),
]


@pytest.mark.parametrize(("fault", "expected"), REPLACED, ids=kind_of)
async def test_a_response_that_is_replaced_has_spent_the_token(
    sandbox: Sandbox,
    http: aiohttp.ClientSession,
    refresh: Refresh,
    *,
    fault: AuthorityFault,
    expected: tuple[int, str, bytes],
) -> None:
    """The call arrived, so the next one with this token revokes the family."""
    refresh_token = login(sandbox)["refresh_token"]
    sandbox.authority.fault(fault, times=1)
    status, headers, body = await raw_refresh(sandbox, http, refresh_token)
    assert (status, media_type(headers)) == expected[:2]
    assert expected[2] in body
    (call,) = sandbox.authority.records
    assert (call.outcome, call.rotated) == (f"fault:{fault.kind}", True)
    _, second = await refresh(refresh_token)
    assert error_code(second) == "refresh_token_reused"


@pytest.mark.parametrize(("fault", "expected"), REPLACED, ids=kind_of)
async def test_before_spending_the_same_response_spares_the_token(
    sandbox: Sandbox,
    http: aiohttp.ClientSession,
    refresh: Refresh,
    *,
    fault: AuthorityFault,
    expected: tuple[int, str, bytes],
) -> None:
    """The next call succeeds."""
    refresh_token = login(sandbox)["refresh_token"]
    sandbox.authority.fault(replace(fault, before_spending=True), times=1)
    status, _, body = await raw_refresh(sandbox, http, refresh_token)
    assert status == expected[0]
    assert expected[2] in body
    assert (await refresh(refresh_token))[0] == 200
    assert sandbox.authority.outcomes == {f"fault:{fault.kind}": 1, "rotated": 1}


@pytest.mark.parametrize(("fault", "expected"), NOT_REACHED, ids=kind_of)
async def test_a_call_that_was_turned_away_has_not_spent_the_token(
    sandbox: Sandbox,
    http: aiohttp.ClientSession,
    refresh: Refresh,
    *,
    fault: AuthorityFault,
    expected: tuple[int, str, bytes],
) -> None:
    """An intermediary has responded, or the client was rejected."""
    refresh_token = login(sandbox)["refresh_token"]
    sandbox.authority.fault(fault, times=1)
    status, headers, body = await raw_refresh(sandbox, http, refresh_token)
    assert (status, media_type(headers)) == expected[:2]
    assert expected[2] in body
    assert sandbox.authority.refreshes == 0
    assert (await refresh(refresh_token))[0] == 200


@pytest.mark.parametrize(
    ("fault", "fields"),
    [
        (
            AuthorityFault("challenge"),
            {"server": "cloudflare", "cf-mitigated": "challenge"},
        ),
        (AuthorityFault("edge_error", status=520), {"server": "cloudflare"}),
        (
            AuthorityFault("proxy_authentication"),
            {"Proxy-Authenticate": 'Basic realm="proxy"'},
        ),
        (AuthorityFault("redirect"), {"Location": "/redirected"}),
        (AuthorityFault("rate_limited"), {"Retry-After": "30"}),
        (AuthorityFault("rate_limited", retry_after_seconds=7), {"Retry-After": "7"}),
        (AuthorityFault("answer", retry_after="soon"), {"Retry-After": "soon"}),
        (
            AuthorityFault("maintenance", retry_after_seconds=120),
            {"Retry-After": "120"},
        ),
    ],
    ids=kind_of,
)
async def test_a_response_has_the_fields_of_a_real_one(
    sandbox: Sandbox,
    http: aiohttp.ClientSession,
    fault: AuthorityFault,
    fields: dict[str, str],
) -> None:
    """Clients decide by these fields."""
    sandbox.authority.fault(fault)
    _, headers, _ = await raw_refresh(sandbox, http, "any")
    assert {name: headers[name] for name in fields} == fields


async def test_retry_after_can_be_a_date(
    sandbox: Sandbox, http: aiohttp.ClientSession, clock: Clock
) -> None:
    """RFC 9110 section 10.2.3; the date is by the authority's clock."""
    sandbox.authority.clock.skew(60)
    fault = AuthorityFault(
        "rate_limited", retry_after_seconds=600, retry_after_form="date"
    )
    sandbox.authority.fault(fault)
    _, headers, _ = await raw_refresh(sandbox, http, "any")
    retry_at = parsedate_to_datetime(headers["Retry-After"])
    assert retry_at.timestamp() == clock.seconds + 660


async def test_a_client_that_follows_a_redirect_is_seen(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    """A 307 repeats the POST, with the refresh token in it."""
    sandbox.authority.fault(AuthorityFault("redirect", status=307))
    body = refresh_grant("any")
    async with http.post(sandbox.token_url, json=body) as response:
        assert response.status == 404
    assert sandbox.authority.paths == {"/oauth/token": 1, "/redirected": 1}


@pytest.mark.parametrize("status", [None, 400])
@pytest.mark.parametrize(
    "code",
    [
        "refresh_token_expired",
        "refresh_token_invalidated",
        "refresh_token_reused",
        "token_expired",
    ],
)
async def test_a_refusal_of_the_token_ends_its_family(
    sandbox: Sandbox, refresh: Refresh, code: str, status: int | None
) -> None:
    """Later calls get the same response without the fault; nothing is rotated."""
    refresh_token = login(sandbox)["refresh_token"]
    fault = AuthorityFault("refuse", code=code, status=status)
    sandbox.authority.fault(fault, times=1)
    first = await refresh(refresh_token)
    second = await refresh(refresh_token)
    assert (first[0], error_code(first[1])) == (status or 401, code)
    assert (second[0], error_code(second[1])) == (401, code)
    assert (sandbox.authority.refreshes, sandbox.authority.reused) == (0, 0)


async def test_a_refusal_can_be_wrong(sandbox: Sandbox, refresh: Refresh) -> None:
    """`before_spending`: the authority refuses a token that is as good as before."""
    refresh_token = login(sandbox)["refresh_token"]
    sandbox.authority.fault(AuthorityFault("refuse", before_spending=True), times=1)
    assert (await refresh(refresh_token))[0] == 401
    assert (await refresh(refresh_token))[0] == 200


@pytest.mark.parametrize("form", ["string", "object"])
async def test_invalid_grant_has_two_forms(
    sandbox: Sandbox, refresh: Refresh, form: str
) -> None:
    """RFC 6749's string, which is the default, or OpenAI's object."""
    fault = AuthorityFault("refuse", code="invalid_grant", status=400)
    if form == "object":
        fault = replace(fault, form="object")
    sandbox.authority.fault(fault)
    status, body = await refresh("any")
    assert status == 400
    code = body["error"] if form == "string" else error_code(body)
    assert code == "invalid_grant"


async def test_a_token_that_is_refused_anyway_can_get_another_response(
    sandbox: Sandbox, refresh: Refresh
) -> None:
    """A replaced response hides the refusal; the reuse counts all the same."""
    refresh_token = login(sandbox)["refresh_token"]
    await refresh(refresh_token)
    sandbox.authority.fault(AuthorityFault("answer", status=503), times=1)
    assert (await refresh(refresh_token))[0] == 503
    assert sandbox.authority.reused == 1


async def test_an_altered_grant_needs_a_good_token(
    sandbox: Sandbox, refresh: Refresh
) -> None:
    """There is no response to drop when nothing was rotated."""
    refresh_token = login(sandbox)["refresh_token"]
    await refresh(refresh_token)
    sandbox.authority.fault(AuthorityFault("drop_after_rotation"))
    status, body = await refresh(refresh_token)
    assert (status, error_code(body)) == (401, "refresh_token_reused")


class TestDelayed:
    """With a sleep that the test ends."""

    @pytest.fixture
    async def sandbox(self, clock: Clock, sleeps: Sleeps) -> AsyncIterator[Sandbox]:
        """A sandbox whose sleeps last as long as the test wants."""
        async with Sandbox(now=clock, sleep=sleeps) as running:
            yield running

    @pytest.mark.parametrize("before_spending", [False, True])
    async def test_a_delayed_response_has_rotated_at_arrival(
        self, sandbox: Sandbox, refresh: Refresh, sleeps: Sleeps, before_spending: bool
    ) -> None:
        """Unless the delay comes before the token is spent."""
        fault = AuthorityFault(
            "delay", delay_seconds=0.2, before_spending=before_spending
        )
        sandbox.authority.fault(fault)
        call = asyncio.create_task(refresh(login(sandbox)["refresh_token"]))
        assert await sleeps.begun.get() == 0.2
        assert sandbox.authority.refreshes == int(not before_spending)
        sleeps.over.set()
        assert (await call)[0] == 200
        assert sandbox.authority.outcomes == {"rotated": 1}

    async def test_a_late_response_and_an_early_repeat_end_the_login(
        self, sandbox: Sandbox, refresh: Refresh, sleeps: Sleeps
    ) -> None:
        """A client that gives up and presents the token again loses its family."""
        refresh_token = login(sandbox)["refresh_token"]
        fault = AuthorityFault("delay", delay_seconds=30)
        sandbox.authority.fault(fault, times=1)
        late = asyncio.create_task(refresh(refresh_token))
        await sleeps.begun.get()
        _, repeat = await refresh(refresh_token)
        assert error_code(repeat) == "refresh_token_reused"
        sleeps.over.set()
        status, body = await late
        assert status == 200
        _, after = await refresh(str(body["refresh_token"]))
        assert error_code(after) == "refresh_token_invalidated"

    async def test_every_kind_can_be_late(
        self, sandbox: Sandbox, refresh: Refresh, sleeps: Sleeps
    ) -> None:
        """A refusal after a while."""
        sandbox.authority.fault(AuthorityFault("refuse", delay_seconds=3))
        call = asyncio.create_task(refresh("any"))
        assert await sleeps.begun.get() == 3
        sleeps.over.set()
        assert (await call)[0] == 401

    async def test_another_path_can_be_late_too(
        self, sandbox: Sandbox, http: aiohttp.ClientSession, sleeps: Sleeps
    ) -> None:
        """A fault has a path; here it delays the page for a device's code."""
        fault = AuthorityFault("delay", delay_seconds=3, path="/codex/device")
        sandbox.authority.fault(fault)
        page = f"{sandbox.issuer_url}/codex/device"
        call = asyncio.ensure_future(http.get(page))
        assert await sleeps.begun.get() == 3
        sleeps.over.set()
        assert (await call).status == 200


@pytest.mark.parametrize("before_spending", [False, True])
async def test_a_call_can_hang_until_the_client_gives_up(
    sandbox: Sandbox, refresh: Refresh, before_spending: bool
) -> None:
    """The token is spent, unless the call hangs before that."""
    fault = AuthorityFault("hang", before_spending=before_spending)
    sandbox.authority.fault(fault, times=1)
    refresh_token = login(sandbox)["refresh_token"]
    call = asyncio.create_task(refresh(refresh_token))
    await sandbox.authority.wait_for_calls(1)
    assert not call.done()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert (await refresh(refresh_token))[0] == (200 if before_spending else 401)


async def test_faults_apply_in_order_and_the_standing_one_stays(
    sandbox: Sandbox, refresh: Refresh
) -> None:
    """Counted faults first, as they came; a new standing one replaces the old."""
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


@pytest.mark.parametrize("times", [0, -1])
async def test_a_fault_applies_at_least_once(sandbox: Sandbox, times: int) -> None:
    """A fault for no call at all would be a mistake of the test."""
    with pytest.raises(ValueError, match="at least 1"):
        sandbox.authority.fault(AuthorityFault("answer"), times=times)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/oauth/revoke", 500),
        ("GET", "/oauth/authorize", 500),
        ("POST", "/api/accounts/deviceauth/usercode", 500),
        ("POST", "/api/accounts/deviceauth/token", 500),
    ],
)
async def test_another_path_can_fail_by_itself(
    sandbox: Sandbox,
    http: aiohttp.ClientSession,
    refresh: Refresh,
    *,
    method: str,
    path: str,
    status: int,
) -> None:
    """A fault has one path; the token endpoint serves on."""
    sandbox.authority.fault(AuthorityFault("answer", path=path))
    async with http.request(method, sandbox.issuer_url + path, json={}) as response:
        assert response.status == status
    assert (await refresh(login(sandbox)["refresh_token"]))[0] == 200


@pytest.mark.parametrize("kind", ["drop_before_rotation", "reset_before_reading"])
async def test_another_path_can_be_reset(
    sandbox: Sandbox, http: aiohttp.ClientSession, kind: str
) -> None:
    """The revocation does not happen."""
    tokens = login(sandbox)
    fault = AuthorityFault(kind, path="/oauth/revoke")  # type: ignore[arg-type]
    sandbox.authority.fault(fault)
    body = {"token": tokens["refresh_token"]}
    with pytest.raises(aiohttp.ClientConnectionError):
        await http.post(f"{sandbox.issuer_url}/oauth/revoke", json=body)
    state = sandbox.tokens.introspect(tokens["access_token"]).state
    assert state == "live"


async def test_another_path_can_hang(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    """Until the client gives up."""
    path = "/api/accounts/deviceauth/token"
    sandbox.authority.fault(AuthorityFault("hang", path=path))
    url = sandbox.issuer_url + path
    timeout = aiohttp.ClientTimeout(total=0.05)
    with pytest.raises(TimeoutError):
        await http.post(url, json={}, timeout=timeout)
