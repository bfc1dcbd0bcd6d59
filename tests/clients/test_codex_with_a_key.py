"""Codex CLI with bearerd as a provider of its own: the client key is all it has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from bearerd.sandbox import Sandbox, UpstreamFault
from bearerd.sandbox.upstream.response_events import OUTPUT_TEXT
from tests.clients.agent import Agent
from tests.clients.codex import Codex
from tests.clients.scene import Open, Scene
from tests.support import Canary, Finished, read_login


def assert_answered(turn: Finished) -> None:
    """Fail unless Codex printed the sandbox's answer, and nothing else, on stdout."""
    assert (turn.code, turn.stdout.strip()) == (0, OUTPUT_TEXT), turn.stderr


async def test_codex_gets_its_response(scene: Scene, codex: Codex) -> None:
    """A plain turn: one request, signed by bearerd, and no call to the authority."""
    codex.use_key(scene.url, scene.key)
    assert_answered(await codex.say())
    assert scene.statuses() == [200]
    assert scene.sandbox.authority.calls == 0
    scene.assert_only_our_token_travelled()


@pytest.mark.parametrize(
    "die", [Sandbox.revoke_access_tokens, Sandbox.expire_access_tokens]
)
async def test_codex_never_learns_that_the_token_died(
    die: Callable[[Sandbox], int], scene: Scene, codex: Codex
) -> None:
    """The token is refused between two turns: one refresh, and the response."""
    before = read_login(scene.store)
    codex.use_key(scene.url, scene.key)
    assert_answered(await codex.say())
    die(scene.sandbox)
    assert_answered(await codex.say())
    assert scene.statuses() == [200, 401, 200]
    scene.assert_one_refresh()
    assert read_login(scene.store)["tokens"] != before["tokens"]
    scene.assert_only_our_token_travelled()


async def test_codex_never_learns_that_the_token_expired_by_the_clock(
    sandbox: Sandbox, open_scene: Open, codex: Codex
) -> None:
    """The token's own `exp` is past: it is refreshed before it is ever sent."""
    lifetime_seconds = sandbox.tokens.access_lifetime_seconds
    sandbox.tokens.access_lifetime_seconds = -60
    expired = sandbox.auth_document()
    sandbox.tokens.access_lifetime_seconds = lifetime_seconds
    scene = await open_scene(login=expired)
    codex.use_key(scene.url, scene.key)
    assert_answered(await codex.say())
    assert scene.statuses() == [200]
    scene.assert_one_refresh()
    scene.assert_only_our_token_travelled()


async def test_several_codexes_share_one_refresh(
    scene: Scene, codex_command: Path, canary: Canary, tmp_path: Path
) -> None:
    """Agents that start at once on a dead token all get their responses."""
    homes = [tmp_path / f"agent-{number}" for number in range(4)]
    codexes = [Codex(codex_command, Agent(home, scene.snare, canary)) for home in homes]
    for codex in codexes:
        codex.use_key(scene.url, scene.key)
    scene.sandbox.revoke_access_tokens()
    for turn in await asyncio.gather(*(codex.say() for codex in codexes)):
        assert_answered(turn)
    scene.assert_one_refresh()
    scene.assert_only_our_token_travelled()


async def test_codex_turns_to_post_at_once_where_there_are_no_websockets(
    scene: Scene, codex: Codex
) -> None:
    """The upstream's 426 is delivered as it is; most others would cost seven tries."""
    codex.use_key(scene.url, scene.key, websockets=True)
    assert_answered(await codex.say())
    assert scene.statuses() == [426, 200]
    scene.assert_only_our_token_travelled()


async def test_a_websocket_opens_although_the_token_died(
    scene: Scene, codex: Codex
) -> None:
    """The handshake is refused, the token refreshed, and the turn goes by WebSocket."""
    scene.sandbox.upstream.websocket = "accept"
    scene.sandbox.revoke_access_tokens()
    codex.use_key(scene.url, scene.key, websockets=True)
    assert_answered(await codex.say())
    assert {record.method for record in scene.sandbox.upstream.records} == {"GET"}
    assert scene.statuses() == [401, 101]
    scene.assert_one_refresh()
    scene.assert_only_our_token_travelled()


async def test_a_turn_that_broke_off_goes_on_with_its_state(
    scene: Scene, codex: Codex
) -> None:
    """What the upstream breaks off is broken off toward Codex, which tries again.

    It sends back the turn's state: the field has passed in both directions.
    """
    upstream = scene.sandbox.upstream
    upstream.fault(UpstreamFault("reset_mid_stream", after_events=4), times=1)
    codex.use_key(scene.url, scene.key)
    assert_answered(await codex.say())
    states = [record.header(b"x-codex-turn-state") for record in upstream.records]
    assert states == [[], [b"sandbox-turn"]]


async def test_codex_says_what_to_do_about_a_dead_login(
    scene: Scene, codex: Codex
) -> None:
    """It gives up in seconds with the remedy on its screen; one call to the authority."""
    scene.sandbox.tokens.revoke_refresh_tokens()
    scene.sandbox.revoke_access_tokens()
    codex.use_key(scene.url, scene.key)
    turn = await codex.say()
    assert (turn.code, turn.stdout) == (1, "")
    assert "bearerd login" in turn.stderr
    assert scene.sandbox.authority.calls == 1
    assert scene.statuses() == [401]
    scene.assert_only_our_token_travelled()


async def test_codex_says_what_to_do_about_a_key_that_is_not_ours(
    scene: Scene, codex: Codex
) -> None:
    """Nothing reaches the upstream, and the remedy is on the screen."""
    codex.use_key(scene.url, "not-a-key-of-this-bearerd")
    turn = await codex.say()
    assert turn.code == 1
    assert "bearerd key create" in turn.stderr
    assert scene.sandbox.upstream.requests == 0


async def test_a_codex_that_is_not_told_to_be_quiet_is_caught(
    scene: Scene, codex: Codex
) -> None:
    """It calls other hosts by itself; that shows what the snare's silence is worth."""
    codex.use_key(scene.url, scene.key, is_quiet=False)
    assert_answered(await codex.say())
    assert scene.snare.caught
