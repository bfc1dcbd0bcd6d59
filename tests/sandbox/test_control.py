"""Control from other processes, over HTTP."""

import asyncio
import json

import aiohttp
import pytest

from bearerd.sandbox import Sandbox
from bearerd.sandbox.authority.jwt import read_claims
from tests.sandbox.conftest import Refresh, error_code, login


class Remote:
    """What another process would do."""

    def __init__(self, sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
        self.url = sandbox.issuer_url
        self.http = http

    async def do(self, name: str, **arguments: object) -> dict[str, object]:
        """Give a command that is obeyed; return its response."""
        command = {"do": name, **arguments}
        async with self.http.post(
            f"{self.url}/sandbox/control", json=command
        ) as response:
            body: dict[str, object] = await response.json()
            assert response.status == 200, body
            return body

    async def report(self) -> dict[str, object]:
        """Return the counts."""
        async with self.http.get(f"{self.url}/sandbox/report") as response:
            body: dict[str, object] = await response.json()
            return body


@pytest.fixture
def remote(sandbox: Sandbox, http: aiohttp.ClientSession) -> Remote:
    """Another process."""
    return Remote(sandbox, http)


async def upstream_status(
    sandbox: Sandbox, http: aiohttp.ClientSession, access_token: str
) -> int:
    """Return what the upstream says to this token."""
    url = f"{sandbox.upstream_url}/codex/responses"
    headers = {"Authorization": f"Bearer {access_token}"}
    async with http.post(url, headers=headers) as response:
        return response.status


async def test_a_login_can_be_fetched(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    """A whole document, for the first account or another."""
    url = f"{sandbox.issuer_url}/sandbox/login"
    async with http.post(url) as response:
        document = await response.json()
    assert document["auth_mode"] == "chatgpt"
    assert document["tokens"]["account_id"] == "acct-sandbox-1"
    async with http.post(f"{url}?account=acct-9") as response:
        assert (await response.json())["tokens"]["account_id"] == "acct-9"
    access_token = document["tokens"]["access_token"]
    assert await upstream_status(sandbox, http, access_token) == 200


async def test_the_report_counts_and_tells_no_secret(
    sandbox: Sandbox, http: aiohttp.ClientSession, remote: Remote, refresh: Refresh
) -> None:
    """In one flat object, with the upstream's beneath."""
    tokens = login(sandbox)
    await refresh(tokens["refresh_token"])
    await upstream_status(sandbox, http, tokens["access_token"])
    await refresh(tokens["refresh_token"])
    await upstream_status(sandbox, http, tokens["access_token"])
    report = await remote.report()
    assert report == {
        "calls": 2,
        "refreshes": 1,
        "reused": 1,
        "outcomes": {"rotated": 1, "refresh_token_reused": 1},
        "max_overlapping_calls": 1,
        "waiting": 0,
        "access_lifetime_seconds": 864000,
        "device_codes": [],
        "upstream": {
            "requests": 2,
            "statuses": {"200": 1, "401": 1},
            "abandoned": 0,
            "waiting": 0,
            "open_streams": 0,
            "waiting_streams": 0,
        },
    }
    for secret in tokens.values():
        assert secret == "acct-sandbox-1" or secret not in json.dumps(report)


async def test_tokens_can_be_ended(
    sandbox: Sandbox, http: aiohttp.ClientSession, remote: Remote, refresh: Refresh
) -> None:
    """Access tokens and families, revoked or expired."""
    one, two = login(sandbox), login(sandbox, "acct-2")
    response = await remote.do("revoke_access_tokens", account_id="acct-2")
    assert response == {"done": "revoke_access_tokens", "result": 1}
    assert await upstream_status(sandbox, http, two["access_token"]) == 401
    assert await upstream_status(sandbox, http, one["access_token"]) == 200
    await remote.do("expire_access_tokens")
    assert await upstream_status(sandbox, http, one["access_token"]) == 401
    await remote.do("expire_refresh_tokens", account_id="acct-2")
    await remote.do("revoke_refresh_tokens")
    codes = [
        error_code((await refresh(tokens["refresh_token"]))[1]) for tokens in (one, two)
    ]
    assert codes == ["refresh_token_invalidated", "refresh_token_expired"]


async def test_lifetime_and_mode_can_be_set(
    sandbox: Sandbox, remote: Remote, refresh: Refresh
) -> None:
    """For tokens issued, and reuse seen, from then on."""
    await remote.do("set_access_lifetime", seconds=5)
    await remote.do("set_reuse", reuse="tolerate_one")
    tokens = login(sandbox)
    claims = read_claims(tokens["access_token"])
    assert isinstance(claims["exp"], int)
    assert isinstance(claims["iat"], int)
    assert claims["exp"] - claims["iat"] == 5
    await refresh(tokens["refresh_token"])
    assert (await refresh(tokens["refresh_token"]))[0] == 200


async def test_faults_can_be_ordered_and_cleared(
    sandbox: Sandbox, http: aiohttp.ClientSession, remote: Remote, refresh: Refresh
) -> None:
    """At both, counted or until cleared."""
    tokens = login(sandbox)
    await remote.do("authority_fault", kind="answer", status=429, times=1)
    assert (await refresh("any"))[0] == 429
    assert (await refresh("any"))[0] == 400
    await remote.do("upstream_fault", kind="answer", status=503)
    assert await upstream_status(sandbox, http, tokens["access_token"]) == 503
    await remote.do("clear_faults")
    assert await upstream_status(sandbox, http, tokens["access_token"]) == 200


async def test_calls_can_be_held_and_released(
    sandbox: Sandbox, http: aiohttp.ClientSession, remote: Remote, refresh: Refresh
) -> None:
    """At the authority, at the upstream and within a stream."""
    tokens = login(sandbox)
    for name in ("hold_authority", "hold_upstream"):
        await remote.do(name)
    await remote.do("hold_streams", after_events=2)
    calls = asyncio.gather(
        refresh(tokens["refresh_token"]),
        upstream_status(sandbox, http, tokens["access_token"]),
    )
    await sandbox.authority.wait_for_waiting(1)
    await sandbox.upstream.wait_for_waiting(1)
    assert (await remote.report())["waiting"] == 1
    await remote.do("release_authority")
    await remote.do("release_upstream")
    await sandbox.upstream.streams.gate.wait_for_waiting(1)
    await remote.do("release_streams")
    (status, _), streamed = await calls
    assert (status, streamed) == (200, 200)


async def test_responses_can_be_shaped(sandbox: Sandbox, remote: Remote) -> None:
    """The stream's script and whether a WebSocket is accepted."""
    await remote.do("set_stream", deltas=3, interval_seconds=0.5)
    assert sandbox.upstream.streams.script.deltas == 3
    for mode in ("accept", "refuse"):
        await remote.do("set_websocket", mode=mode)
        assert sandbox.upstream.websocket == mode


async def test_sign_ins_can_be_steered(sandbox: Sandbox, remote: Remote) -> None:
    """Who signs in next; and a device is let in."""
    await remote.do("sign_in_as", account="acct-7")
    assert sandbox.authority.sign_in.account.account_id == "acct-7"
    url = f"{sandbox.issuer_url}/api/accounts/deviceauth/usercode"
    async with remote.http.post(url, json={"client_id": "c"}) as response:
        user_code = (await response.json())["user_code"]
    assert (await remote.report())["device_codes"] == [user_code]
    assert (await remote.do("approve_device"))["result"] is True


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ("{}", "revoke_access_tokens"),
        ("[]", "revoke_access_tokens"),
        ("nonsense", "revoke_access_tokens"),
        ('{"do": ["x"]}', "revoke_access_tokens"),
        ('{"do": "sulk"}', "revoke_access_tokens"),
        ('{"do": "set_access_lifetime"}', "seconds"),
        ('{"do": "set_access_lifetime", "seconds": "soon"}', "soon"),
        ('{"do": "set_websocket", "mode": "sulk"}', "accept or refuse"),
        ('{"do": "authority_fault", "kind": "sulk"}', "one of delay"),
        ('{"do": "upstream_fault", "kind": "hang", "sulk": 1}', "sulk"),
        ('{"do": "set_reuse", "reuse": "sulk"}', "tolerate_one"),
    ],
)
async def test_a_wrong_command_says_what_is_wrong(
    sandbox: Sandbox, http: aiohttp.ClientSession, body: str, part: str
) -> None:
    """The list of names, or the name of the argument."""
    url = f"{sandbox.issuer_url}/sandbox/control"
    async with http.post(url, data=body.encode()) as response:
        assert response.status == 400
        assert part in (await response.json())["error"]["message"]
