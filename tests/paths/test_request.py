"""A request: listener, access policy, target, exchange, upstream, and the response
back.
"""

from __future__ import annotations

import hashlib
import json

import pytest

from bearerd.events import RequestFinished
from bearerd.sandbox import Sandbox
from tests.support import Start, read_login, tokens_of, write_login


async def test_a_request_gets_the_credential_and_its_response_returns(
    start: Start, sandbox: Sandbox
) -> None:
    """The upstream sees the login's token and account, and not the client key."""
    daemon = await start()
    reply = await daemon.client.send()
    assert reply.status == 200
    assert b"response.completed" in reply.body
    assert (reply.code, reply.recovery) == (None, None)
    (record,) = sandbox.upstream.records
    tokens = tokens_of(read_login(daemon.store))
    signed = f"Bearer {tokens['access_token']}".encode()
    assert record.header(b"authorization") == [signed]
    assert record.header(b"chatgpt-account-id") == [b"acct-sandbox-1"]
    assert daemon.client.key.encode() not in b"".join(map(b"".join, record.raw_headers))
    assert sandbox.authority.calls == 0
    (finished,) = daemon.announced(RequestFinished)
    assert (finished.client, finished.status, finished.attempts) == ("agent", 200, 1)


@pytest.mark.parametrize(
    ("asked", "reached"),
    [
        ("/backend-api/echo?a=%2Fb&c=d+e&", "/backend-api/echo?a=%2Fb&c=d+e&"),
        ("/backend-api/codex/models?x", "/backend-api/codex/models?x"),
        ("/v1/responses", "/backend-api/codex/responses"),
        (
            "/v1/models?client_version=1.2",
            "/backend-api/codex/models?client_version=1.2",
        ),
        ("/codex/responses", "/backend-api/codex/responses"),
        ("/responses", "/backend-api/codex/responses"),
        ("/profiles/default/backend-api/echo", "/backend-api/echo"),
        ("/profiles/default/v1/models", "/backend-api/codex/models"),
    ],
)
async def test_every_base_url_maps_to_the_upstreams_paths(
    start: Start, sandbox: Sandbox, asked: str, reached: str
) -> None:
    """The rest of the path and the query are forwarded byte for byte."""
    daemon = await start()
    await daemon.client.get(asked)
    (record,) = sandbox.upstream.records
    assert record.raw_path == reached


async def test_a_body_is_forwarded_unchanged(start: Start, sandbox: Sandbox) -> None:
    """Counted and hashed by the upstream."""
    daemon = await start()
    body = bytes(range(256)) * 1000
    reply = await daemon.client.send("/backend-api/echo", data=body)
    seen = json.loads(reply.body)
    assert (seen["method"], seen["body_length"]) == ("POST", len(body))
    assert seen["body_sha256"] == hashlib.sha256(body).hexdigest()
    assert sandbox.upstream.requests == 1


@pytest.mark.parametrize(
    ("asked", "headers", "told"),
    [
        ("/v1/models", {"Authorization": ""}, (401, "client_key_required")),
        ("/v1/models", {"Authorization": "Bearer no-key"}, (401, "client_key_invalid")),
        ("/v1/models", {"Host": "rebound.example"}, (403, "host_forbidden")),
        ("/v1/models", {"Origin": "https://page.example"}, (403, "origin_forbidden")),
        ("/backend-api/..%2fadmin", {}, (403, "target_forbidden")),
        ("/profiles/work/v1/models", {}, (403, "target_forbidden")),
        ("/", {}, (404, "not_found")),
    ],
)
async def test_a_rejected_request_reaches_no_server(
    start: Start,
    sandbox: Sandbox,
    asked: str,
    headers: dict[str, str],
    told: tuple[int, str],
) -> None:
    """The error is bearerd's own, in OpenAI's shape; neither upstream nor authority is
    called.
    """
    daemon = await start(profiles="work")
    write_login(daemon.settings.profile("work").store, sandbox.auth_document("acct-w"))
    reply = await daemon.client.get(asked, headers=headers)
    assert (reply.status, reply.code) == told
    assert len(reply.message) > len(told[1])
    assert (sandbox.upstream.requests, sandbox.authority.calls) == (0, 0)
