"""The token endpoint and the revocation endpoint, when nothing goes wrong."""

import asyncio
from collections.abc import Callable

import aiohttp
import pytest

from bearerd.sandbox import CODEX_CLIENT_ID, ClientRejection, Sandbox, fingerprint
from bearerd.sandbox.authority.jwt import read_claims
from tests.sandbox.conftest import (
    Clock,
    Refresh,
    error_code,
    login,
    refresh_grant,
)


async def test_a_refresh_hands_out_a_new_pair(
    sandbox: Sandbox, http: aiohttp.ClientSession, refresh: Refresh
) -> None:
    """All fields of a token response, and a token that the upstream accepts."""
    first = login(sandbox)
    status, body = await refresh(first["refresh_token"])
    assert status == 200
    assert body["token_type"] == "Bearer"
    assert body["expires_in"] == 864000
    assert {
        body[key] for key in ("access_token", "refresh_token", "id_token")
    }.isdisjoint(first.values())
    headers = {"Authorization": f"Bearer {body['access_token']}"}
    async with http.get(
        f"{sandbox.upstream_url}/wham/usage", headers=headers
    ) as response:
        assert response.status == 200


async def test_a_call_is_recorded_with_a_fingerprint_and_no_secret(
    sandbox: Sandbox, refresh: Refresh, clock: Clock
) -> None:
    """The record has the time, the fields, the client and the outcome."""
    refresh_token = login(sandbox)["refresh_token"]
    await refresh(refresh_token)
    (call,) = sandbox.authority.records
    assert call.at == clock.seconds
    assert (call.outcome, call.rotated, call.status) == ("rotated", True, 200)
    assert call.finished
    assert call.refresh_fingerprint == fingerprint(refresh_token)
    assert call.body_keys == ("client_id", "grant_type", "refresh_token")
    assert call.content_type == "application/json"
    assert call.user_agent.startswith("Python/")
    assert refresh_token not in repr(call)


async def test_a_spent_token_is_refused_in_the_real_shape(
    sandbox: Sandbox, refresh: Refresh
) -> None:
    """401 with the code in the error object; the family is revoked."""
    refresh_token = login(sandbox)["refresh_token"]
    _, second = await refresh(refresh_token)
    status, body = await refresh(refresh_token)
    assert (status, error_code(body)) == (401, "refresh_token_reused")
    assert body["error"]["message"] == (  # type: ignore[index]
        "Your refresh token has already been used to generate a new access token. "
        "Please try signing in again."
    )
    assert (sandbox.authority.refreshes, sandbox.authority.reused) == (1, 1)
    status, body = await refresh(str(second["refresh_token"]))
    assert (status, error_code(body)) == (401, "refresh_token_invalidated")
    assert sandbox.authority.outcomes == {
        "rotated": 1,
        "refresh_token_reused": 1,
        "refresh_token_invalidated": 1,
    }


async def test_the_error_status_can_be_400(sandbox: Sandbox, refresh: Refresh) -> None:
    """The real authority has been seen with either status."""
    refresh_token = login(sandbox)["refresh_token"]
    sandbox.tokens.expire_refresh_tokens()
    sandbox.authority.token_endpoint.error_status = 400
    status, body = await refresh(refresh_token)
    assert (status, error_code(body)) == (400, "refresh_token_expired")


async def test_an_unknown_refresh_token_is_refused_in_the_standard_form(
    refresh: Refresh,
) -> None:
    """RFC 6749 section 5.2: the error is a string, the status 400."""
    status, body = await refresh("never-issued")
    assert (status, body["error"]) == (400, "invalid_grant")


async def test_a_form_is_as_good_as_json(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    """Some agents send the refresh grant form-encoded, as RFC 6749 has it."""
    form = refresh_grant(login(sandbox)["refresh_token"])
    async with http.post(sandbox.token_url, data=form) as response:
        assert response.status == 200
    (call,) = sandbox.authority.records
    assert call.content_type == "application/x-www-form-urlencoded"
    assert call.outcome == "rotated"


@pytest.mark.parametrize(
    ("changed", "status", "code"),
    [
        ({"client_id": ""}, 401, "invalid_client"),
        ({"client_id": "app_unregistered"}, 401, "invalid_client"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"grant_type": ""}, 400, "invalid_request"),
        ({"refresh_token": ""}, 400, "invalid_request"),
    ],
)
async def test_a_wrong_field_is_refused_and_spends_nothing(
    sandbox: Sandbox,
    http: aiohttp.ClientSession,
    refresh: Refresh,
    *,
    changed: dict[str, str],
    status: int,
    code: str,
) -> None:
    """RFC 6749 section 5.2; the request is checked before the token."""
    refresh_token = login(sandbox)["refresh_token"]
    body = refresh_grant(refresh_token) | changed
    async with http.post(sandbox.token_url, json=body) as response:
        assert response.status == status
        assert (await response.json())["error"] == code
    assert sandbox.authority.outcomes == {code: 1}
    assert (await refresh(refresh_token))[0] == 200


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/plain", '{"grant_type": "refresh_token"}'),
        ("application/octet-stream", "grant_type=refresh_token"),
        ("application/json", "not json"),
        ("application/json", "[1]"),
        ("application/json", ""),
    ],
)
async def test_a_body_that_is_neither_json_nor_a_form_is_refused(
    sandbox: Sandbox, http: aiohttp.ClientSession, content_type: str, body: str
) -> None:
    """The media type counts, and so does what is in the body."""
    headers = {"Content-Type": content_type}
    async with http.post(
        sandbox.token_url, data=body.encode(), headers=headers
    ) as response:
        assert response.status == 400
        assert (await response.json())["error"] == "invalid_request"


@pytest.mark.parametrize(
    ("rejection", "content_type", "body_part"),
    [
        (ClientRejection(), "application/json", '"error": "invalid_client"'),
        (
            ClientRejection("unauthorized_client", status=400),
            "application/json",
            '"error": "unauthorized_client"',
        ),
        (
            ClientRejection(form="object"),
            "application/json",
            '"code": "invalid_client"',
        ),
        (ClientRejection(form="page"), "text/html", "Unknown application"),
    ],
    ids=lambda value: value.form if isinstance(value, ClientRejection) else None,
)
async def test_an_unregistered_client_is_rejected_in_the_chosen_form(
    sandbox: Sandbox,
    http: aiohttp.ClientSession,
    rejection: ClientRejection,
    content_type: str,
    body_part: str,
) -> None:
    """Real servers differ in code, status and shape."""
    sandbox.authority.clients.reject_with(rejection)
    body = refresh_grant(login(sandbox)["refresh_token"], client_id="app_else")
    async with http.post(sandbox.token_url, json=body) as response:
        assert response.status == rejection.status
        assert response.content_type == content_type
        assert body_part in await response.text()
    assert sandbox.authority.refreshes == 0


@pytest.mark.parametrize("wrong", [{"code": "nope"}, {"status": 403}, {"form": "nope"}])
def test_an_impossible_rejection_is_refused(wrong: dict[str, object]) -> None:
    """The message names the field and its choices."""
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name} must be one of"):
        ClientRejection(**wrong)  # type: ignore[arg-type]


async def test_a_client_can_be_registered_and_unregistered(
    sandbox: Sandbox, http: aiohttp.ClientSession, refresh: Refresh
) -> None:
    """A client id that was wrong and is corrected finds its token unspent."""
    refresh_token = login(sandbox)["refresh_token"]
    sandbox.authority.clients.unregister(CODEX_CLIENT_ID)
    assert (await refresh(refresh_token))[0] == 401
    sandbox.authority.clients.register("app_new")
    body = refresh_grant(refresh_token, client_id="app_new")
    async with http.post(sandbox.token_url, json=body) as response:
        assert response.status == 200


async def test_the_registered_clients_can_be_chosen(clock: Clock) -> None:
    """No other client is registered then, not even Codex."""
    async with (
        Sandbox(now=clock, client_ids=["app_only"]) as sandbox,
        aiohttp.ClientSession() as http,
    ):
        for client_id, status in (("app_only", 200), (CODEX_CLIENT_ID, 401)):
            token = login(sandbox)["refresh_token"]
            body = refresh_grant(token, client_id=client_id)
            async with http.post(sandbox.token_url, json=body) as response:
                assert response.status == status


async def test_the_authority_has_a_clock_of_its_own(
    sandbox: Sandbox, http: aiohttp.ClientSession, clock: Clock
) -> None:
    """`iat`, `exp` and the Date field come from it; the upstream's clock differs."""
    authority = sandbox.authority
    changes: list[tuple[Callable[[float], None], float, int]] = [
        (authority.clock.skew, 3600, 3600),
        (authority.clock.jump, -4000, -400),
        (authority.clock.set, clock() + 90, 90),
        (authority.clock.skew, 0, 0),
    ]
    for change, value, ahead_seconds in changes:
        change(value)
        token = login(sandbox)["refresh_token"]
        async with http.post(sandbox.token_url, json=refresh_grant(token)) as response:
            claims = read_claims((await response.json())["access_token"])
            date = response.headers["Date"]
        issued_at = int(clock.seconds) + ahead_seconds
        assert (claims["iat"], claims["exp"]) == (issued_at, issued_at + 864000)
        assert date == authority.clock.http_date()
        assert sandbox.upstream.clock() == clock.seconds
    clock.seconds += 7
    assert authority.clock() == clock.seconds


async def test_overlapping_calls_are_counted(
    sandbox: Sandbox, refresh: Refresh
) -> None:
    """Three calls wait at the gate; in the strict mode one of them gets a 200."""
    refresh_token = login(sandbox)["refresh_token"]
    sandbox.authority.gate.close()
    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(refresh(refresh_token)) for _ in range(3)]
        await sandbox.authority.wait_for_calls(3)
        await sandbox.authority.wait_for_waiting(3)
        assert sandbox.authority.waiting == 3
        assert sandbox.authority.refreshes == 0
        sandbox.authority.gate.open()
    await sandbox.authority.wait_for_outcomes(3)
    assert sorted(call.result()[0] for call in calls) == [200, 401, 401]
    assert sandbox.authority.max_overlapping_calls == 3
    assert (sandbox.authority.refreshes, sandbox.authority.reused) == (1, 2)


async def test_a_response_can_be_held_back(sandbox: Sandbox, refresh: Refresh) -> None:
    """The token is spent while the response is on its way."""
    sandbox.authority.response_gate.close()
    call = asyncio.create_task(refresh(login(sandbox)["refresh_token"]))
    await sandbox.authority.response_gate.wait_for_waiting(1)
    assert sandbox.authority.refreshes == 1
    sandbox.authority.response_gate.open()
    status, _ = await call
    assert status == 200


async def test_a_call_runs_to_its_end_although_its_client_has_left(
    sandbox: Sandbox, refresh: Refresh
) -> None:
    """A client that closes its connection does not undo a rotation."""
    sandbox.authority.gate.close()
    call = asyncio.create_task(refresh(login(sandbox)["refresh_token"]))
    await sandbox.authority.wait_for_waiting(1)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    sandbox.authority.gate.open()
    await sandbox.authority.wait_for_outcomes(1)
    assert sandbox.authority.refreshes == 1


async def test_a_revocation_ends_the_family(
    sandbox: Sandbox, http: aiohttp.ClientSession, refresh: Refresh
) -> None:
    """As `codex logout` requests it; an unknown token gets 200 too (RFC 7009)."""
    tokens = login(sandbox)
    url = f"{sandbox.issuer_url}/oauth/revoke"
    for revoked in (tokens["refresh_token"], "never-issued"):
        request = {
            "token": revoked,
            "token_type_hint": "refresh_token",
            "client_id": CODEX_CLIENT_ID,
        }
        async with http.post(url, json=request) as response:
            assert response.status == 200
    _, body = await refresh(tokens["refresh_token"])
    assert error_code(body) == "refresh_token_invalidated"
    assert sandbox.authority.revoked_fingerprints == [
        fingerprint(tokens["refresh_token"]),
        fingerprint("never-issued"),
    ]


async def test_a_revocation_checks_the_client_that_it_names(
    sandbox: Sandbox, http: aiohttp.ClientSession, refresh: Refresh
) -> None:
    """Codex names none beside an access token, and that is accepted."""
    tokens = login(sandbox)
    url = f"{sandbox.issuer_url}/oauth/revoke"
    body = {"token": tokens["refresh_token"], "client_id": "app_else"}
    async with http.post(url, json=body) as response:
        assert response.status == 401
    assert (await refresh(tokens["refresh_token"]))[0] == 200
    async with http.post(url, json={"token": tokens["access_token"]}) as response:
        assert response.status == 200
    assert sandbox.authority.revoked_fingerprints == [
        fingerprint(tokens["access_token"])
    ]


async def test_other_paths_are_not_found(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    """A wrong path or a wrong method is no token call; every path is counted."""
    for url in (f"{sandbox.issuer_url}/nope", sandbox.token_url):
        async with http.get(url) as response:
            assert response.status == 404
    assert sandbox.authority.calls == 0
    assert sandbox.authority.paths == {"/nope": 1, "/oauth/token": 1}
