"""What the upstream can do wrong, and what its client gets."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from yarl import URL

from bearerd.sandbox import Sandbox, UpstreamFault
from tests.sandbox.conftest import login


@pytest.fixture
async def http(sandbox: Sandbox) -> AsyncIterator[aiohttp.ClientSession]:
    """A client whose base is the upstream, with a live token."""
    headers = {"Authorization": f"Bearer {login(sandbox)['access_token']}"}
    base = URL(sandbox.upstream_url + "/")
    async with aiohttp.ClientSession(base, headers=headers) as session:
        yield session


async def test_everything_can_be_rejected_with_a_good_token(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    """Until the fault is cleared, with a chosen body."""
    body = '{"detail":"Unauthorized"}'
    sandbox.upstream.fault(UpstreamFault("answer", status=401, body=body))
    for path in ("wham/usage", "codex/models"):
        async with http.get(path) as response:
            assert (response.status, await response.text()) == (401, body)
    sandbox.upstream.clear_faults()
    async with http.get("wham/usage") as response:
        assert response.status == 200


async def test_one_path_can_be_rejected_while_the_others_work(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    """The query is not part of the path."""
    sandbox.upstream.fault(UpstreamFault("answer", status=401, path="codex/models"))
    async with http.get("codex/models?client_version=1") as response:
        assert response.status == 401
        assert (await response.json())["error"]["code"] == "sandbox_fault"
    async with http.get("wham/usage") as response:
        assert response.status == 200


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_request_can_fail_with_retry_after(
    sandbox: Sandbox, http: aiohttp.ClientSession, status: int
) -> None:
    """For a number of requests."""
    fault = UpstreamFault("answer", status=status, retry_after="2")
    sandbox.upstream.fault(fault, times=2)
    seen = []
    for _ in range(3):
        async with http.get("wham/usage") as response:
            seen.append((response.status, response.headers.get("Retry-After")))
    assert seen == [(status, "2"), (status, "2"), (200, None)]
    assert sandbox.upstream.statuses == {status: 2, 200: 1}


async def test_a_page_can_come_instead_of_json(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    """403 with HTML, as content networks send it."""
    sandbox.upstream.fault(UpstreamFault("answer", status=403, html=True))
    async with http.get("wham/usage") as response:
        assert (response.status, response.content_type) == (403, "text/html")


async def test_a_response_can_come_before_the_body_was_sent(sandbox: Sandbox) -> None:
    """A server that rejects early does not wait for the upload."""
    sandbox.upstream.fault(UpstreamFault("answer", status=413, before_body=True))
    base = URL(sandbox.upstream_url)
    reader, writer = await asyncio.open_connection(base.host, base.port)
    writer.write(b"POST /backend-api/echo HTTP/1.1\r\nHost: x\r\n")
    writer.write(b"Content-Length: 1000\r\n\r\npart of it")
    assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
    writer.close()


async def test_a_connection_can_be_reset_before_the_head(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    """After the request was read."""
    sandbox.upstream.fault(UpstreamFault("reset_before_head"), times=1)
    with pytest.raises(aiohttp.ClientConnectionError):
        await http.post("echo", data=b"abc")
    (record,) = sandbox.upstream.records
    assert (record.outcome, record.status, record.body_length) == ("broken", None, 3)


async def test_a_stream_can_be_reset_midway(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    """After as many events as the fault has."""
    sandbox.upstream.fault(UpstreamFault("reset_mid_stream", after_events=2))
    sandbox.upstream.streams.gate_after_events = 1
    sandbox.upstream.streams.gate.close()
    async with http.post("codex/responses") as response:
        first = await response.content.readuntil(b"\n\n")
        assert b"response.created" in first
        sandbox.upstream.streams.gate.open()
        with pytest.raises(aiohttp.ClientError):
            await response.read()
    (record,) = sandbox.upstream.records
    assert (record.outcome, record.status) == ("broken", 200)
    assert record.sent_bytes > len(first)
    assert sandbox.upstream.streams.open == 0


async def test_a_delayed_stream_is_whole(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    """A delay breaks nothing."""
    sandbox.upstream.fault(UpstreamFault("delay", delay_seconds=1e-6))
    async with http.post("codex/responses") as response:
        assert b"response.completed" in await response.read()


async def test_a_body_can_be_shorter_than_promised(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    """The connection ends in order, but too early."""
    sandbox.upstream.fault(UpstreamFault("short_body"))
    async with http.get("wham/usage") as response:
        assert response.headers["Content-Length"] == "1000"
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
    (record,) = sandbox.upstream.records
    assert (record.outcome, record.sent_bytes) == ("broken", 100)


async def test_a_request_can_hang(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    """Until its client leaves."""
    sandbox.upstream.fault(UpstreamFault("hang"), times=1)
    call = asyncio.ensure_future(http.get("wham/usage"))
    await sandbox.upstream.wait_for_requests(1)
    call.cancel()
    await sandbox.upstream.wait_for_abandoned(1)
    async with http.get("wham/usage") as response:
        assert response.status == 200


@pytest.mark.parametrize(("judged_first", "status"), [(True, 200), (False, 401)])
async def test_a_response_can_be_late(judged_first: bool, status: int) -> None:
    """The credential is checked before the delay or after it."""
    delays, over = asyncio.Queue[float](), asyncio.Event()

    async def sleep(seconds: float) -> None:
        delays.put_nowait(seconds)
        await over.wait()

    fault = UpstreamFault("delay", delay_seconds=9, judged_first=judged_first)
    async with Sandbox(sleep=sleep) as sandbox, aiohttp.ClientSession() as http:
        sandbox.upstream.fault(fault)
        headers = {"Authorization": f"Bearer {login(sandbox)['access_token']}"}
        url = f"{sandbox.upstream_url}/wham/usage"
        call = asyncio.ensure_future(http.get(url, headers=headers))
        assert await delays.get() == 9
        sandbox.revoke_access_tokens()
        over.set()
        assert (await call).status == status


def test_an_unknown_kind_is_refused() -> None:
    """The message has the kinds."""
    with pytest.raises(ValueError, match="reset_before_head"):
        UpstreamFault("nope")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fault", "status", "media_type", "part"),
    [
        (UpstreamFault("unauthorized"), 401, "application/json", '"Unauthorized"'),
        (UpstreamFault("unauthorized_empty"), 401, "", ""),
        (UpstreamFault("unauthorized_page"), 401, "text/html", "Sign in"),
        (
            UpstreamFault("unauthorized_resource"),
            401,
            "application/json",
            '{"detail": "Forbidden"}',
        ),
        (
            UpstreamFault("account_deactivated"),
            401,
            "application/json",
            '"code": "account_deactivated"',
        ),
        (UpstreamFault("challenge"), 403, "text/html", "_cf_chl_opt"),
        (UpstreamFault("proxy_authentication"), 407, "text/html", "Proxy"),
        (UpstreamFault("rate_limited"), 429, "application/json", "rate_limit"),
        (
            UpstreamFault("usage_limit_reached"),
            429,
            "application/json",
            '"type": "usage_limit_reached"',
        ),
        (UpstreamFault("maintenance"), 503, "text/html", "Maintenance"),
        (UpstreamFault("edge_error", status=502), 502, "text/html", "Error 502"),
        (UpstreamFault("edge_error", status=520), 520, "text/html", "Error 520"),
        (UpstreamFault("edge_error", status=522), 522, "text/html", "Error 522"),
        (UpstreamFault("edge_error", status=1020), 403, "text/plain", "1020"),
        (UpstreamFault("redirect", location="/else"), 302, "", ""),
    ],
    ids=lambda value: value.kind if isinstance(value, UpstreamFault) else None,
)
async def test_a_good_request_can_get_the_response_of_something_else(
    sandbox: Sandbox,
    http: aiohttp.ClientSession,
    *,
    fault: UpstreamFault,
    status: int,
    media_type: str,
    part: str,
) -> None:
    """A content network, a proxy, an identity provider in trouble, or a limit."""
    sandbox.upstream.fault(fault, times=1)
    async with http.get("wham/usage", allow_redirects=False) as response:
        assert response.status == status
        found = response.headers.get("Content-Type", "").partition(";")[0]
        assert found == media_type
        assert part in await response.text()
    async with http.get("wham/usage") as response:
        assert response.status == 200


@pytest.mark.parametrize(
    ("fault", "fields"),
    [
        (
            UpstreamFault("challenge"),
            {"server": "cloudflare", "cf-mitigated": "challenge"},
        ),
        (UpstreamFault("edge_error", status=1020), {"server": "cloudflare"}),
        (
            UpstreamFault("account_deactivated"),
            {"x-openai-authorization-error": "account_deactivated"},
        ),
        (UpstreamFault("rate_limited", retry_after_seconds=9), {"Retry-After": "9"}),
        (
            UpstreamFault(
                "rate_limited", retry_after_seconds=60, retry_after_form="date"
            ),
            {"Retry-After": "Fri, 15 Jan 2027 08:01:00 GMT"},
        ),
        (
            UpstreamFault("usage_limit_reached"),
            {"x-codex-primary-used-percent": "100"},
        ),
    ],
    ids=lambda value: value.kind if isinstance(value, UpstreamFault) else None,
)
async def test_the_response_of_something_else_has_its_fields(
    sandbox: Sandbox,
    http: aiohttp.ClientSession,
    fault: UpstreamFault,
    fields: dict[str, str],
) -> None:
    """Clients decide by these fields."""
    sandbox.upstream.fault(fault)
    async with http.get("wham/usage") as response:
        assert {name: response.headers[name] for name in fields} == fields
