"""The credential on the wire: ours, once per request, and recovered at most twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bearerd.sandbox import Sandbox
from tests.wire.gateway import (
    ACCESS_TOKEN,
    ACCOUNT,
    CLIENT_KEY,
    Gateway,
    get,
    ok,
    post,
    request,
    running,
)
from tests.wire.peers import Peer, names, status, values

REFUSED_BODY = b'{"error": {"code": "token_expired"}}'
REFUSED = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: %d\r\n\r\n%b" % (
    len(REFUSED_BODY),
    REFUSED_BODY,
)


@pytest.fixture
async def authority() -> AsyncIterator[Sandbox]:
    """An authority that refreshes; its upstream stays unused."""
    async with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
async def recoverable(tmp_path: Path, authority: Sandbox) -> AsyncIterator[Gateway]:
    """A gateway whose login the authority knows."""
    (tmp_path / "auth.json").write_text(json.dumps(authority.auth_document()))
    async with running(tmp_path, issuer_url=authority.issuer_url) as started:
        yield started


async def next_head(gateway: Gateway, peer: Peer) -> tuple[Peer, bytes]:
    """Return the next request's connection and head, over *peer* or over a new
    connection.
    """
    over_old = asyncio.create_task(peer.head())
    over_new = asyncio.create_task(gateway.upstream.accept())
    await asyncio.wait({over_old, over_new}, return_when=asyncio.FIRST_COMPLETED)
    if over_new.done():
        over_old.cancel()
        await asyncio.wait({over_old})
        peer = over_new.result()
        return peer, await peer.head()
    if over_old.exception() is not None:
        peer = await over_new
        return peer, await peer.head()
    over_new.cancel()
    return peer, over_old.result()


@pytest.mark.parametrize(
    "lines",
    [
        [b"Authorization: Bearer mine"],
        [b"AUTHORIZATION: Basic bWluZTptaW5l", b"authorization: Bearer mine"],
        [b"authorization:", b"Chatgpt-Account-Id: mine", b"x-openai-fedramp: true"],
        [b"x-bearerd-key: mine", b"X-Bearerd-Key: mine"],
    ],
)
async def test_client_credentials_never_reach_the_upstream(
    gateway: Gateway, lines: list[bytes]
) -> None:
    """Items 129, 130: one Authorization and one account, both ours."""
    _, _, head = await gateway.asked(get(b"/v1/models", *lines))
    assert values(head, b"authorization") == [b"Bearer " + ACCESS_TOKEN.encode()]
    assert values(head, b"chatgpt-account-id") == [ACCOUNT.encode()]
    assert not {b"x-bearerd-key", b"x-openai-fedramp"} & names(head)
    assert b"mine" not in head


@pytest.mark.parametrize("field", [b"Authorization: Bearer ", b"x-bearerd-key: "])
async def test_a_client_key_is_not_forwarded(tmp_path: Path, field: bytes) -> None:
    """Item 129: it admits the client and is then removed."""
    async with running(tmp_path, require_key="true") as gateway:
        line = field + CLIENT_KEY.encode()
        _, _, head = await gateway.asked(get(b"/v1/models", line))
        assert CLIENT_KEY.encode() not in head


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([], b"client_key_required"),
        ([b"Authorization: Basic bWluZTptaW5l"], b"client_key_required"),
        ([b"Authorization: Bearer wrong"], b"client_key_invalid"),
        ([b"x-bearerd-key: wrong"], b"client_key_invalid"),
    ],
)
async def test_without_a_valid_key_nothing_is_forwarded(
    tmp_path: Path, lines: list[bytes], code: bytes
) -> None:
    """Items 23, 112: and the challenge is ours."""
    async with running(tmp_path, require_key="true") as gateway:
        head = await gateway.refused(get(b"/v1/models", *lines))
        assert status(head) == 401
        assert values(head, b"x-bearerd-error") == [code]
        assert values(head, b"www-authenticate") == [b'Bearer realm="bearerd"']


async def test_a_401_is_recovered_with_one_refresh_and_one_replay(
    recoverable: Gateway, authority: Sandbox
) -> None:
    """Item 135: the client gets the response to the replay."""
    client, peer, first = await recoverable.asked(post(b"/v1/responses", b"abc"))
    assert await peer.exactly(3) == b"abc"
    await peer.send(REFUSED)
    peer, second = await next_head(recoverable, peer)
    assert await peer.exactly(3) == b"abc"
    assert values(first, b"authorization") != values(second, b"authorization")
    await peer.send(ok())
    head, body = await client.response()
    assert (status(head), body) == (200, b"ok")
    assert values(head, b"x-bearerd-recovery") == [b"refresh"]
    assert authority.authority.refreshes == 1
    assert [told.attempts for told in await recoverable.finished()] == [2]


async def test_a_second_401_is_delivered_unchanged(
    recoverable: Gateway, authority: Sandbox
) -> None:
    """Item 135: there is no third send and no second refresh."""
    client, peer, _ = await recoverable.asked(get(b"/v1/models"))
    await peer.send(REFUSED)
    peer, _ = await next_head(recoverable, peer)
    await peer.send(REFUSED)
    head, body = await client.response()
    assert (status(head), body) == (401, REFUSED_BODY)
    assert b"x-bearerd-error" not in names(head)
    assert [told.attempts for told in await recoverable.finished()] == [2]
    assert authority.authority.refreshes == 1


async def test_a_body_too_large_to_replay_is_streamed_and_its_401_delivered(
    tmp_path: Path, authority: Sandbox
) -> None:
    """Item 136: the 401 is marked, and the next request has the new credential."""
    (tmp_path / "auth.json").write_text(json.dumps(authority.auth_document()))
    async with running(
        tmp_path, issuer_url=authority.issuer_url, replay_limit_bytes="10"
    ) as gateway:
        body = b"x" * 100
        client, peer, first = await gateway.asked(post(b"/v1/responses", body))
        assert await peer.exactly(100) == body
        await peer.send(REFUSED)
        head, got = await client.response()
        assert (status(head), got) == (401, REFUSED_BODY)
        assert values(head, b"x-bearerd-error") == [b"replay_abandoned"]
        await client.send(get(b"/v1/models"))
        peer, second = await next_head(gateway, peer)
        assert values(first, b"authorization") != values(second, b"authorization")


async def test_a_401_in_mid_upload_replays_both_halves(recoverable: Gateway) -> None:
    """Item 137: first what was sent already, then the rest."""
    client, peer, _ = await recoverable.asked(
        request(b"POST", b"/v1/responses", b"Content-Length: 6") + b"abc"
    )
    assert await peer.exactly(3) == b"abc"
    await peer.send(REFUSED)
    peer, _ = await next_head(recoverable, peer)
    assert await peer.exactly(3) == b"abc"
    await client.send(b"def")
    assert await peer.exactly(3) == b"def"
    await peer.send(ok())
    assert (await client.response())[1] == b"ok"


@pytest.mark.parametrize("code", [400, 402, 403, 407, 429, 500, 503])
async def test_no_other_status_is_recovered(
    recoverable: Gateway, authority: Sandbox, code: int
) -> None:
    """Item 138: whatever the body says."""
    body = b'{"error": "token_expired"}'
    client, _ = await recoverable.answered(
        b"HTTP/1.1 %d No\r\nContent-Length: %d\r\n\r\n%b" % (code, len(body), body)
    )
    head, got = await client.response()
    assert (status(head), got) == (code, body)
    assert authority.authority.calls == 0


async def test_concurrent_401s_cause_one_refresh(
    recoverable: Gateway, authority: Sandbox
) -> None:
    """Items 139, 140: the later ones find a new credential."""
    clients = [await recoverable.client() for _ in range(20)]
    for client in clients:
        await client.send(get(b"/v1/models"))
    peers = [await recoverable.upstream.accept() for _ in clients]
    old = {values(await peer.head(), b"authorization")[0] for peer in peers}
    serving = [asyncio.create_task(serve(peer, old, REFUSED)) for peer in peers]
    responses = await asyncio.gather(*(client.response() for client in clients))
    assert {status(head) for head, _ in responses} == {200}
    assert authority.authority.refreshes == 1
    for task in serving:
        task.cancel()
    await asyncio.wait(serving)


async def serve(peer: Peer, old: set[bytes], refusal: bytes) -> None:
    """Respond 401 to the requests so far; then respond by the credential, until
    cancelled.
    """
    await peer.send(refusal)
    while True:
        head = await peer.head()
        is_old = values(head, b"authorization")[0] in old
        await peer.send(refusal if is_old else ok())


async def test_a_late_401_for_an_old_credential_causes_no_refresh(
    recoverable: Gateway, authority: Sandbox
) -> None:
    """Item 140: a newer credential is held already."""
    late, late_peer, _ = await recoverable.asked(get(b"/v1/late"))
    client, peer, _ = await recoverable.asked(get(b"/v1/models"))
    await peer.send(REFUSED)
    peer, _ = await next_head(recoverable, peer)
    await peer.send(ok())
    await client.response()
    await late_peer.send(REFUSED)
    peer, _ = await next_head(recoverable, late_peer)
    await peer.send(ok())
    assert status((await late.response())[0]) == 200
    assert authority.authority.refreshes == 1
