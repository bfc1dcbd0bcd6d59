"""The sandbox as a whole: start, stop, and running as a service."""

import asyncio
import json
import re
import socket

import aiohttp
import pytest

from bearerd.sandbox import Sandbox, UpstreamFault, serve_sandbox
from tests.sandbox.conftest import Clock, login


async def test_a_login_is_a_whole_auth_document(clock: Clock) -> None:
    """It has all that Codex requires of its file, with a time in UTC."""
    async with Sandbox(now=clock) as sandbox:
        document = sandbox.auth_document("acct-5")
    assert document["auth_mode"] == "chatgpt"
    assert document["OPENAI_API_KEY"] is None
    assert document["last_refresh"] == "2027-01-15T08:00:00.000000Z"
    tokens = document["tokens"]
    assert isinstance(tokens, dict)
    assert set(tokens) == {"id_token", "access_token", "refresh_token", "account_id"}
    assert tokens["account_id"] == "acct-5"
    assert re.fullmatch(r"sandbox-rt-1-0-[0-9a-f]+", tokens["refresh_token"])
    assert json.loads(json.dumps(document)) == document


async def test_the_addresses_are_on_loopback() -> None:
    """With ports that the system chose, over IPv4 or IPv6."""
    async with Sandbox() as sandbox:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", sandbox.issuer_url)
        assert sandbox.token_url == sandbox.issuer_url + "/oauth/token"
        assert re.fullmatch(
            r"http://127\.0\.0\.1:\d+/backend-api", sandbox.upstream_url
        )
    async with Sandbox(host="::1") as sandbox, aiohttp.ClientSession() as http:
        assert sandbox.issuer_url.startswith("http://[::1]:")
        async with http.get(sandbox.upstream_url + "/echo") as response:
            assert response.status == 401


async def test_stopping_waits_for_no_call() -> None:
    """Held, hung and streaming calls are cut, and their clients see that."""
    async with aiohttp.ClientSession() as http:
        async with Sandbox() as sandbox:
            headers = {"Authorization": f"Bearer {login(sandbox)['access_token']}"}
            sandbox.authority.gate.close()
            sandbox.upstream.streams.gate.close()
            fault = UpstreamFault("hang", path="wham/usage")
            sandbox.upstream.fault(fault)
            stream = await http.post(
                f"{sandbox.upstream_url}/codex/responses", headers=headers
            )
            calls = [
                asyncio.ensure_future(http.post(sandbox.token_url, json={})),
                asyncio.ensure_future(
                    http.get(f"{sandbox.upstream_url}/wham/usage", headers=headers)
                ),
            ]
            await sandbox.authority.wait_for_waiting(1)
            await sandbox.upstream.wait_for_requests(2)
            assert stream.status == 200
            started = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - started < 1
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(end, aiohttp.ClientConnectionError) for end in ends)
        with pytest.raises(aiohttp.ClientError):
            await stream.read()
    assert [call.outcome for call in sandbox.authority.records] == ["abandoned"]


async def test_a_taken_port_is_an_error_and_leaves_no_port_open() -> None:
    """The listener that had started is closed again."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        sandbox = Sandbox(upstream_port=taken.getsockname()[1])
        with pytest.raises(OSError, match="address"):
            await sandbox.__aenter__()
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientConnectorError):
            await http.get(sandbox.issuer_url)


async def test_it_serves_until_the_event_is_set() -> None:
    """It is announced once it listens, and closed when the call returns."""
    stop, announced = asyncio.Event(), asyncio.Queue[Sandbox]()
    service = asyncio.create_task(
        serve_sandbox(
            access_lifetime_seconds=5, announce=announced.put_nowait, stop=stop
        )
    )
    sandbox = await announced.get()
    async with aiohttp.ClientSession() as http:
        report = f"{sandbox.issuer_url}/sandbox/report"
        async with http.get(report) as response:
            assert (await response.json())["access_lifetime_seconds"] == 5
        stop.set()
        await service
        with pytest.raises(aiohttp.ClientConnectorError):
            await http.get(report)
