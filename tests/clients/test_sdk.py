"""The OpenAI SDK for Python, with a base URL and a client key and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bearerd.sandbox import Sandbox
from bearerd.sandbox.upstream.response_events import OUTPUT_TEXT
from tests.clients.scene import Scene
from tests.clients.sdk import OpenAI, Told
from tests.clients.snare import Snare
from tests.clients.tap import Tap


@pytest.mark.parametrize("base", ["/v1", "/backend-api/codex"])
@pytest.mark.parametrize("way", ["create", "helper"])
async def test_the_sdk_gets_its_response(
    base: str, way: str, scene: Scene, openai: OpenAI
) -> None:
    """A plain turn, by either base URL, event by event or put together at the end."""
    assert await openai.turn(scene.url + base, scene.key, way) == Told(text=OUTPUT_TEXT)
    assert scene.statuses() == [200]
    assert scene.sandbox.authority.calls == 0
    scene.assert_only_our_token_travelled()


@pytest.mark.parametrize(
    "die", [Sandbox.revoke_access_tokens, Sandbox.expire_access_tokens]
)
@pytest.mark.parametrize("way", ["create", "helper"])
async def test_the_sdk_never_learns_that_the_token_died(
    die: Callable[[Sandbox], int], way: str, scene: Scene, openai: OpenAI
) -> None:
    """The token is refused: one refresh, and the response."""
    die(scene.sandbox)
    assert await openai.turn(f"{scene.url}/v1", scene.key, way) == Told(
        text=OUTPUT_TEXT
    )
    assert scene.statuses() == [401, 200]
    scene.assert_one_refresh()
    scene.assert_only_our_token_travelled()


async def test_the_sdk_raises_what_to_do_about_a_dead_login(
    scene: Scene, openai: OpenAI
) -> None:
    """An AuthenticationError with the remedy, and no second request."""
    scene.sandbox.tokens.revoke_refresh_tokens()
    scene.sandbox.revoke_access_tokens()
    async with Tap(scene.url) as tap:
        told = await openai.turn(f"{tap.url}/v1", scene.key)
        assert [sent.target for sent in tap.sent()] == ["/v1/responses"]
    assert (told.raised, told.status) == ("AuthenticationError", 401)
    assert "bearerd login" in told.message
    assert scene.sandbox.authority.calls == 1


async def test_a_call_past_bearerd_would_be_seen(openai: OpenAI, snare: Snare) -> None:
    """The snare catches who asks for another host, so that its silence means something."""
    told = await openai.turn("https://elsewhere.invalid/v1", "no-key-at-all")
    assert told.raised == "APIConnectionError"
    assert set(snare.caught) == {"CONNECT elsewhere.invalid:443 HTTP/1.1"}
