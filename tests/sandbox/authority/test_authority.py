"""The token endpoint when nothing is wrong with it, and its counts."""

import asyncio

import aiohttp
import pytest

from bearerd.sandbox import Sandbox, fingerprint
from tests.sandbox.conftest import Clock, Refresh, error_code, login


async def test_a_refresh_gives_a_pair_that_the_upstream_takes(
    sandbox: Sandbox, http: aiohttp.ClientSession, refresh: Refresh
) -> None:
    """The two stand-ins read one ledger."""
    status, body = await refresh(login(sandbox)["refresh_token"])
    assert status == 200
    assert body["token_type"] == "Bearer"
    assert body["expires_in"] == 864000
    headers = {"Authorization": f"Bearer {body['access_token']}"}
    async with http.get(
        f"{sandbox.upstream_url}/wham/usage", headers=headers
    ) as response:
        assert response.status == 200


async def test_a_call_is_recorded_with_a_fingerprint_and_no_secret(
    sandbox: Sandbox, refresh: Refresh, clock: Clock
) -> None:
    """Who called, when, with which fields, and how it ended."""
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
    """401 with the code in the error object, and the family is gone."""
    refresh_token = login(sandbox)["refresh_token"]
    _, second = await refresh(refresh_token)
    status, body = await refresh(refresh_token)
    assert (status, error_code(body)) == (401, "refresh_token_reused")
    assert (sandbox.authority.refreshes, sandbox.authority.reused) == (1, 1)
    status, body = await refresh(str(second["refresh_token"]))
    assert (status, error_code(body)) == (401, "refresh_token_invalidated")
    assert sandbox.authority.outcomes == {
        "rotated": 1,
        "refresh_token_reused": 1,
        "refresh_token_invalidated": 1,
    }


async def test_refusals_can_come_as_400(sandbox: Sandbox, refresh: Refresh) -> None:
    """The real authority has been seen with either status."""
    refresh_token = login(sandbox)["refresh_token"]
    sandbox.tokens.expire_refresh_tokens()
    sandbox.authority.refusal_status = 400
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
    """Some agents send the refresh grant form-encoded."""
    form = {
        "client_id": "app_sandbox",
        "grant_type": "refresh_token",
        "refresh_token": login(sandbox)["refresh_token"],
    }
    async with http.post(sandbox.token_url, data=form) as response:
        assert response.status == 200
    (call,) = sandbox.authority.records
    assert call.content_type == "application/x-www-form-urlencoded"
    assert call.outcome == "rotated"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ('{"grant_type": "refresh_token"}', 401, "invalid_client"),
        ('{"client_id": "c", "grant_type": "x"}', 400, "unsupported_grant_type"),
        ('{"client_id": "c"}', 400, "unsupported_grant_type"),
        ('{"client_id": "c", "grant_type": "refresh_token"}', 400, "invalid_grant"),
        ("not json", 401, "invalid_client"),
        ("[1]", 401, "invalid_client"),
    ],
)
async def test_a_wrong_call_is_refused(
    sandbox: Sandbox, http: aiohttp.ClientSession, body: str, status: int, code: str
) -> None:
    """And recorded under its code."""
    async with http.post(sandbox.token_url, data=body.encode()) as response:
        assert response.status == status
        assert (await response.json())["error"] == code
    assert sandbox.authority.outcomes == {code: 1}


async def test_calls_that_overlap_are_counted(
    sandbox: Sandbox, refresh: Refresh
) -> None:
    """Three stand at the hold together; the strict mode lets one of them win."""
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


async def test_a_hold_can_stand_after_the_rotation(
    sandbox: Sandbox, refresh: Refresh
) -> None:
    """The token is spent while the response is still held."""
    sandbox.authority.gate_follows_rotation = True
    sandbox.authority.gate.close()
    call = asyncio.create_task(refresh(login(sandbox)["refresh_token"]))
    await sandbox.authority.wait_for_waiting(1)
    assert sandbox.authority.refreshes == 1
    sandbox.authority.gate.open()
    status, _ = await call
    assert status == 200


async def test_a_call_goes_on_though_its_client_has_left(
    sandbox: Sandbox, refresh: Refresh
) -> None:
    """Rotation is not undone by hanging up."""
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
    """As `codex logout` asks for; unknown tokens are answered alike (RFC 7009)."""
    tokens = login(sandbox)
    url = f"{sandbox.issuer_url}/oauth/revoke"
    for revoked in (tokens["refresh_token"], "never-issued"):
        asked = {"token": revoked, "token_type_hint": "refresh_token", "client_id": "c"}
        async with http.post(url, json=asked) as response:
            assert response.status == 200
    _, body = await refresh(tokens["refresh_token"])
    assert error_code(body) == "refresh_token_invalidated"
    assert sandbox.authority.revoked_fingerprints == [
        fingerprint(tokens["refresh_token"]),
        fingerprint("never-issued"),
    ]


async def test_other_paths_are_not_found(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    """Neither a wrong path nor a wrong method reaches the ledger."""
    for url in (f"{sandbox.issuer_url}/nope", sandbox.token_url):
        async with http.get(url) as response:
            assert response.status == 404
    assert sandbox.authority.calls == 0
