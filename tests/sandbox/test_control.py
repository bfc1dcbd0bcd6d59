"""Control of the sandbox from other processes, over HTTP."""

import asyncio
import json

import aiohttp
import pytest

from bearerd.sandbox import CODEX_CLIENT_ID, Sandbox
from bearerd.sandbox.authority.jwt import read_claims
from tests.sandbox.conftest import Clock, Refresh, error_code, login


class Remote:
    """An HTTP client of the control paths, as another process would be."""

    def __init__(self, sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
        self.url = sandbox.issuer_url
        self.http = http

    async def do(self, name: str, **arguments: object) -> dict[str, object]:
        """Run a command that succeeds; return its response."""
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
    """A client in another process."""
    return Remote(sandbox, http)


async def upstream_status(
    sandbox: Sandbox, http: aiohttp.ClientSession, access_token: str
) -> int:
    """Return the upstream's status for this token."""
    url = f"{sandbox.upstream_url}/codex/responses"
    headers = {"Authorization": f"Bearer {access_token}"}
    async with http.post(url, headers=headers) as response:
        return response.status


async def test_a_login_can_be_requested(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    """A whole auth document, for the first account or another one."""
    url = f"{sandbox.issuer_url}/sandbox/login"
    async with http.post(url) as response:
        document = await response.json()
    assert document["auth_mode"] == "chatgpt"
    assert document["tokens"]["account_id"] == "acct-sandbox-1"
    async with http.post(f"{url}?account=acct-9") as response:
        assert (await response.json())["tokens"]["account_id"] == "acct-9"
    access_token = document["tokens"]["access_token"]
    assert await upstream_status(sandbox, http, access_token) == 200


async def test_a_login_can_be_issued_in_the_past(
    sandbox: Sandbox, http: aiohttp.ClientSession, clock: Clock
) -> None:
    """Its tokens have an earlier `iat`; a wrong age is a 400."""
    url = f"{sandbox.issuer_url}/sandbox/login?issued_seconds_ago="
    async with http.post(url + "90") as response:
        tokens = (await response.json())["tokens"]
    assert read_claims(tokens["access_token"])["iat"] == int(clock.seconds) - 90
    async with http.post(url + "long") as response:
        assert response.status == 400
        assert "issued_seconds_ago" in await response.text()


async def test_the_report_has_counts_and_no_secret(
    sandbox: Sandbox, http: aiohttp.ClientSession, remote: Remote, refresh: Refresh
) -> None:
    """The authority's in one flat object, the upstream's in another one below."""
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
        "waiting_responses": 0,
        "access_lifetime_seconds": 864000,
        "device_codes": [],
        "clock_skew_seconds": 0,
        "incident": False,
        "upstream": {
            "requests": 2,
            "statuses": {"200": 1, "401": 1},
            "abandoned": 0,
            "waiting": 0,
            "waiting_responses": 0,
            "open_streams": 0,
            "waiting_streams": 0,
            "clock_skew_seconds": 0,
        },
    }
    for secret in tokens.values():
        assert secret == "acct-sandbox-1" or secret not in json.dumps(report)


async def test_tokens_can_be_ended(
    sandbox: Sandbox, http: aiohttp.ClientSession, remote: Remote, refresh: Refresh
) -> None:
    """Access tokens and families are revoked or expired, by account or all."""
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
    sandbox: Sandbox, remote: Remote, refresh: Refresh, clock: Clock
) -> None:
    """They hold for tokens that are issued or presented from then on."""
    await remote.do("set_access_lifetime", seconds=5)
    await remote.do("set_reuse", reuse="tolerate_one")
    tokens = login(sandbox)
    claims = read_claims(tokens["access_token"])
    assert isinstance(claims["exp"], int)
    assert isinstance(claims["iat"], int)
    assert claims["exp"] - claims["iat"] == 5
    await refresh(tokens["refresh_token"])
    assert (await refresh(tokens["refresh_token"]))[0] == 200
    await remote.do("set_reuse", reuse="grace_period", grace_seconds=0)
    assert (await refresh(tokens["refresh_token"]))[0] == 200
    clock.seconds += 1
    assert (await refresh(tokens["refresh_token"]))[0] == 401


async def test_clocks_can_be_set(sandbox: Sandbox, remote: Remote) -> None:
    """The authority's, unless the command names the upstream."""
    await remote.do("skew_clock", seconds=60)
    await remote.do("jump_clock", seconds=5)
    assert (await remote.report())["clock_skew_seconds"] == 65
    await remote.do("set_clock", at=1_000_000, server="upstream")
    assert sandbox.upstream.clock() == 1_000_000
    assert sandbox.authority.clock.skew_seconds == 65


async def test_clients_can_be_registered_and_rejected(
    remote: Remote, refresh: Refresh
) -> None:
    """The response to an unregistered client has the chosen form."""
    await remote.do("unregister_client", client_id=CODEX_CLIENT_ID)
    await remote.do("set_client_rejection", code="unauthorized_client", status=400)
    status, body = await refresh("any")
    assert (status, body["error"]) == (400, "unauthorized_client")
    await remote.do("register_client", client_id=CODEX_CLIENT_ID)
    assert (await refresh("any"))[1]["error"] == "invalid_grant"


async def test_an_incident_can_begin_and_end(remote: Remote, refresh: Refresh) -> None:
    """The control commands work on while everything else is rejected."""
    await remote.do("incident", seconds=3600)
    assert (await remote.report())["incident"] is True
    assert (await refresh("any"))[0] == 401
    await remote.do("end_incident")
    assert (await remote.report())["incident"] is False
    assert (await refresh("any"))[0] == 400


async def test_faults_can_be_added_and_cleared(
    sandbox: Sandbox, http: aiohttp.ClientSession, remote: Remote, refresh: Refresh
) -> None:
    """At both servers, for some calls or until they are cleared."""
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


async def test_responses_can_be_held_and_released(
    sandbox: Sandbox, http: aiohttp.ClientSession, remote: Remote, refresh: Refresh
) -> None:
    """The token is spent, and the credential was checked, while they are held."""
    tokens = login(sandbox)
    await remote.do("hold_authority_responses")
    await remote.do("hold_upstream_responses")
    calls = asyncio.gather(
        refresh(tokens["refresh_token"]),
        upstream_status(sandbox, http, tokens["access_token"]),
    )
    await sandbox.authority.response_gate.wait_for_waiting(1)
    await sandbox.upstream.response_gate.wait_for_waiting(1)
    report = await remote.report()
    assert (report["waiting_responses"], report["refreshes"]) == (1, 1)
    sandbox.revoke_access_tokens()
    await remote.do("release_authority_responses")
    await remote.do("release_upstream_responses")
    (status, _), streamed = await calls
    assert (status, streamed) == (200, 200)


async def test_responses_can_be_shaped(sandbox: Sandbox, remote: Remote) -> None:
    """The shape of streams, the usage, and whether a WebSocket is accepted."""
    await remote.do("set_stream", deltas=3, interval_seconds=0.5)
    assert sandbox.upstream.streams.script.deltas == 3
    await remote.do("set_usage", primary_used_percent=80)
    assert sandbox.upstream.usage.primary_used_percent == 80
    for mode in ("accept", "refuse"):
        await remote.do("set_websocket", mode=mode)
        assert sandbox.upstream.websocket == mode


async def test_sign_ins_can_be_chosen_and_approved(
    sandbox: Sandbox, remote: Remote
) -> None:
    """The account that signs in next is chosen; a device is approved."""
    await remote.do("sign_in_as", account="acct-7")
    assert sandbox.authority.sign_in.account.account_id == "acct-7"
    url = f"{sandbox.issuer_url}/api/accounts/deviceauth/usercode"
    async with remote.http.post(url, json={"client_id": CODEX_CLIENT_ID}) as response:
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
        ('{"do": "nope"}', "revoke_access_tokens"),
        ('{"do": "set_access_lifetime"}', "seconds"),
        ('{"do": "set_access_lifetime", "seconds": "soon"}', "soon"),
        ('{"do": "set_websocket", "mode": "nope"}', "accept or refuse"),
        ('{"do": "authority_fault", "kind": "nope"}', "one of delay"),
        ('{"do": "upstream_fault", "kind": "hang", "nope": 1}', "nope"),
        ('{"do": "set_reuse", "reuse": "nope"}', "tolerate_one"),
        ('{"do": "set_clock", "at": 1, "server": "x"}', "authority or upstream"),
        ('{"do": "set_clock", "at": "noon"}', "noon"),
        ('{"do": "set_client_rejection", "status": 500}', "status must be one of"),
        ('{"do": "set_usage", "primary_used_percent": -1}', "at least 0"),
    ],
)
async def test_a_wrong_command_says_what_is_wrong(
    sandbox: Sandbox, http: aiohttp.ClientSession, body: str, part: str
) -> None:
    """The message has the list of names, or the name of the argument."""
    url = f"{sandbox.issuer_url}/sandbox/control"
    async with http.post(url, data=body.encode()) as response:
        assert response.status == 400
        assert part in (await response.json())["error"]["message"]
