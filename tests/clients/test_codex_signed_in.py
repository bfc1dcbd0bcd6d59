"""Codex CLI as if signed in to ChatGPT: its access token is a client key of bearerd.

So it goes the way of a login: accounts/check first, a WebSocket before POST, bodies
compressed with zstd, and a refresh of its own if it ever sees a 401.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

import pytest

from bearerd.sandbox import Sandbox, fingerprint
from bearerd.sandbox.sandbox import FIRST_ACCOUNT
from bearerd.sandbox.upstream.response_events import OUTPUT_TEXT
from tests.clients.agent import PATIENCE_SECONDS
from tests.clients.codex import Codex
from tests.clients.scene import Scene
from tests.clients.tap import Tap

ZSTD_MAGIC = bytes.fromhex("28b52ffd")  # RFC 8878 section 3.1.1, little-endian


@pytest.fixture
async def tap(scene: Scene) -> AsyncIterator[Tap]:
    """A tap before the daemon."""
    async with Tap(scene.url) as tap:
        yield tap


@pytest.fixture
def signed_in(codex: Codex, scene: Scene, tap: Tap) -> Codex:
    """Codex with the surrogate login, before the tap."""
    codex.sign_in(tap.port, scene.key, FIRST_ACCOUNT, scene.sandbox.token_url)
    return codex


async def test_a_signed_in_codex_gets_its_response(
    scene: Scene, signed_in: Codex
) -> None:
    """accounts/check is answered, the WebSocket is declined at once, the POST streams."""
    turn = await signed_in.say()
    assert (turn.code, turn.stdout.strip()) == (0, OUTPUT_TEXT), turn.stderr
    assert scene.statuses("/backend-api/wham/accounts/check") == [200]
    assert scene.statuses() == [426, 200]
    assert scene.sandbox.authority.calls == 0
    scene.assert_only_our_token_travelled()


async def test_a_compressed_body_passes_untouched(
    scene: Scene, signed_in: Codex, tap: Tap
) -> None:
    """The upstream gets the very bytes that Codex compressed, and is told so."""
    assert (await signed_in.say()).code == 0
    (sent,) = [request for request in tap.sent() if request.method == "POST"]
    records = scene.sandbox.upstream.records
    (came,) = [record for record in records if record.method == "POST"]
    assert sent.body.startswith(ZSTD_MAGIC)
    assert (came.body_length, came.body_sha256) == (len(sent.body), sent.sha256)
    assert came.header(b"content-encoding") == [b"zstd"]
    assert came.header(b"content-length") == [str(len(sent.body)).encode()]


async def test_a_signed_in_codex_never_refreshes(
    scene: Scene, signed_in: Codex
) -> None:
    """The token dies: bearerd refreshes once; to the byte, Codex's login file stays."""
    before = signed_in.login_file.read_bytes()
    scene.sandbox.revoke_access_tokens()
    turn = await signed_in.say()
    assert (turn.code, turn.stdout.strip()) == (0, OUTPUT_TEXT), turn.stderr
    scene.assert_one_refresh()
    assert signed_in.login_file.read_bytes() == before
    scene.assert_only_our_token_travelled()


async def test_a_compressed_body_is_sent_again_as_it_was(
    scene: Scene, signed_in: Codex, tap: Tap
) -> None:
    """The token dies while the POST is under way: the replay has the same bytes."""
    upstream = scene.sandbox.upstream
    upstream.gate.close()
    saying = asyncio.create_task(signed_in.say())
    await post_is_held(scene.sandbox)
    scene.sandbox.revoke_access_tokens()
    upstream.gate.open()
    turn = await saying
    assert (turn.code, turn.stdout.strip()) == (0, OUTPUT_TEXT), turn.stderr
    (sent,) = [request for request in tap.sent() if request.method == "POST"]
    came = [record for record in upstream.records if record.method == "POST"]
    assert [record.status for record in came] == [401, 200]
    assert {record.body_sha256 for record in came} == {sent.sha256}
    scene.assert_one_refresh()


async def test_a_signed_in_codex_may_talk_by_websocket(
    scene: Scene, signed_in: Codex
) -> None:
    """Where the upstream accepts WebSockets, the turn goes through one; no POST."""
    scene.sandbox.upstream.websocket = "accept"
    turn = await signed_in.say()
    assert (turn.code, turn.stdout.strip()) == (0, OUTPUT_TEXT), turn.stderr
    assert scene.statuses() == [101]
    scene.assert_only_our_token_travelled()


async def test_a_signed_in_codex_has_nothing_to_spend_on_a_dead_login(
    scene: Scene, signed_in: Codex
) -> None:
    """It ends with the remedy on its screen, after one call of ours to the authority.

    Codex then asks for a refresh by itself, for which it has no refresh token.
    """
    scene.sandbox.tokens.revoke_refresh_tokens()
    scene.sandbox.revoke_access_tokens()
    turn = await signed_in.say()
    assert turn.code == 1
    assert "bearerd login" in turn.stderr
    ours, *asked_by_codex = scene.sandbox.authority.records
    assert ours.outcome == "refresh_token_invalidated"
    assert {c.refresh_fingerprint for c in asked_by_codex} <= {fingerprint("")}
    scene.assert_only_our_token_travelled()


async def post_is_held(sandbox: Sandbox) -> None:
    """Return once the POST stands before the upstream's hold; let all else through."""
    upstream = sandbox.upstream
    for count in itertools.count(1):
        await upstream.wait_for_requests(count, timeout_seconds=PATIENCE_SECONDS)
        await upstream.wait_for_waiting(1, timeout_seconds=PATIENCE_SECONDS)
        if upstream.records[count - 1].method == "POST":
            return
        upstream.gate.release(1)
