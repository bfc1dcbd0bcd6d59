"""A request: listener, gate, target, exchange, upstream, and the answer back."""

from __future__ import annotations

from proxy.sandbox import Sandbox
from tests.support import Start


async def test_a_request_is_signed_and_its_answer_comes_back(
    start: Start, sandbox: Sandbox
) -> None:
    """The upstream sees the login's bearer and account, and nothing of the key."""
    daemon = await start()
    reply = await daemon.client.send()
    assert reply.status == 200
    assert b"response.completed" in reply.body
    (record,) = sandbox.upstream.records
    assert record.header(b"chatgpt-account-id") == [b"acct-sandbox-1"]
    (bearer,) = record.header(b"authorization")
    assert daemon.client.key.encode() not in bearer
    assert sandbox.authority.calls == 0
