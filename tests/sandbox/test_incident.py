"""An incident: a plain 401 to everything, and no token is touched."""

import aiohttp
import pytest

from bearerd.sandbox import AuthorityFault, Sandbox, UpstreamFault
from tests.sandbox.conftest import Clock, Refresh, login

PLAIN = {"detail": "Unauthorized"}


async def test_an_incident_rejects_everything_and_spares_every_token(
    sandbox: Sandbox, http: aiohttp.ClientSession, refresh: Refresh, clock: Clock
) -> None:
    """Both servers send the same response, and after its end everything is as before."""
    tokens = login(sandbox)
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    usage = f"{sandbox.upstream_url}/wham/usage"
    sandbox.incident(6)
    assert await refresh(tokens["refresh_token"]) == (401, PLAIN)
    for method, url in (
        ("GET", usage),
        ("POST", f"{sandbox.upstream_url}/codex/responses"),
        ("POST", f"{sandbox.issuer_url}/oauth/revoke"),
        ("GET", f"{sandbox.issuer_url}/oauth/authorize"),
    ):
        async with http.request(method, url, headers=headers, data=b"x") as response:
            assert (response.status, await response.json()) == (401, PLAIN)
    clock.seconds += 6
    async with http.get(usage, headers=headers) as response:
        assert response.status == 200
    assert (await refresh(tokens["refresh_token"]))[0] == 200
    assert sandbox.authority.outcomes == {"incident": 1, "rotated": 1}
    assert [call.rotated for call in sandbox.authority.records] == [False, True]
    assert sandbox.upstream.statuses == {401: 2, 200: 1}


async def test_an_incident_can_last_until_it_is_ended(
    sandbox: Sandbox, refresh: Refresh, clock: Clock
) -> None:
    """Without a time it does not end by itself."""
    token = login(sandbox)["refresh_token"]
    sandbox.incident()
    clock.seconds += 1_000_000
    assert (await refresh(token))[0] == 401
    sandbox.end_incident()
    assert (await refresh(token))[0] == 200


async def test_a_fault_waits_for_the_end_of_an_incident(
    sandbox: Sandbox, http: aiohttp.ClientSession, refresh: Refresh
) -> None:
    """A call that the incident rejects does not count for it."""
    sandbox.authority.fault(AuthorityFault("answer", status=503), times=1)
    sandbox.upstream.fault(UpstreamFault("answer", status=503), times=1)
    usage = f"{sandbox.upstream_url}/wham/usage"
    sandbox.incident()
    assert (await refresh("any"))[0] == 401
    async with http.get(usage) as response:
        assert response.status == 401
    sandbox.end_incident()
    assert (await refresh("any"))[0] == 503
    async with http.get(usage) as response:
        assert response.status == 503


@pytest.mark.parametrize("path", ["report", "login"])
async def test_an_incident_does_not_reach_the_control(
    sandbox: Sandbox, http: aiohttp.ClientSession, path: str
) -> None:
    """A test can still control the sandbox."""
    sandbox.incident()
    method = "GET" if path == "report" else "POST"
    async with http.request(method, f"{sandbox.issuer_url}/sandbox/{path}") as response:
        assert response.status == 200
