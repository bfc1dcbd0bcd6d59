"""The loopback listener: which requests it accepts as the redirect, and its responses."""

from __future__ import annotations

import asyncio
import socket

import aiohttp
import pytest

from bearerd.credential.authority.callback import PATH, CallbackServer
from bearerd.credential.authority.errors import SignInFailed
from bearerd.credential.authority.pkce import AuthorizationRequest, StateMismatch
from bearerd.errors import StartError
from tests.credential.stand_ins import soon

REQUEST = AuthorizationRequest("mine", "made-up-verifier")


async def get(url: str, **query: str) -> tuple[int, str]:
    """Return status and text of a page, as a browser gets it."""
    async with (
        aiohttp.ClientSession() as browser,
        browser.get(url, params=query) as response,
    ):
        for name in ("Cache-Control", "Content-Security-Policy", "Referrer-Policy"):
            assert name in response.headers
        return response.status, await response.text()


async def test_the_redirect_gives_the_code() -> None:
    """By the registered name, on loopback."""
    async with CallbackServer(REQUEST, (0,)) as callback:
        assert callback.redirect_uri.startswith("http://localhost:")
        status, text = await get(callback.redirect_uri, code="x", state="mine")
        assert (status, await soon(callback.wait_for_code())) == (200, "x")
    assert "close this page" in text


async def test_a_redirect_that_is_pasted_gives_the_code() -> None:
    """The first one counts; a second changes nothing."""
    async with CallbackServer(REQUEST, (0,)) as callback:
        callback.receive({"code": "first", "state": "mine"})
        callback.receive({"code": "second", "state": "mine"})
        assert await soon(callback.wait_for_code()) == "first"


async def test_a_redirect_with_another_state_is_400_and_the_wait_continues() -> None:
    """Any page in the browser can send one here."""
    async with CallbackServer(REQUEST, (0,)) as callback:
        status, text = await get(callback.redirect_uri, code="x", state="other")
        assert (status, "State mismatch" in text) == (400, True)
        with pytest.raises(StateMismatch):
            callback.receive({"code": "x"})
        status, _ = await get(callback.redirect_uri, code="right", state="mine")
        assert (status, await soon(callback.wait_for_code())) == (200, "right")


async def test_other_paths_are_404() -> None:
    """They do not end the wait either."""
    async with CallbackServer(REQUEST, (0,)) as callback:
        url = callback.redirect_uri.replace(PATH, "/other")
        assert (await get(url, code="x", state="mine"))[0] == 404
        callback.receive({"code": "x", "state": "mine"})
        assert await soon(callback.wait_for_code()) == "x"


async def test_an_authority_that_declines_ends_the_wait() -> None:
    """The reason is on the page too, escaped."""
    async with CallbackServer(REQUEST, (0,)) as callback:
        status, text = await get(callback.redirect_uri, error="<script>", state="mine")
        assert (status, "&lt;script&gt;" in text) == (403, True)
        with pytest.raises(SignInFailed, match="<script>"):
            await soon(callback.wait_for_code())


async def test_another_sign_in_may_ask_for_the_port() -> None:
    """As Codex does. A sign-in that is forgotten in a window must not block it."""
    async with CallbackServer(REQUEST, (0,)) as callback:
        url = callback.redirect_uri.replace(PATH, "/cancel")
        assert (await get(url))[0] == 200
        with pytest.raises(SignInFailed, match="another sign-in"):
            await soon(callback.wait_for_code())


async def test_the_second_port_is_taken_when_the_first_is_in_use() -> None:
    """And when both are, both are named."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with CallbackServer(REQUEST, (port, 0)) as callback:
            assert f":{port}/" not in callback.redirect_uri
        with pytest.raises(StartError, match=f"ports {port} and {port} of 127"):
            await CallbackServer(REQUEST, (port, port)).__aenter__()


async def test_a_waiter_that_is_cancelled_does_not_cancel_the_wait() -> None:
    """A second one gets the code."""
    async with CallbackServer(REQUEST, (0,)) as callback:
        waiter = asyncio.create_task(callback.wait_for_code())
        await asyncio.sleep(0)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        callback.receive({"code": "x", "state": "mine"})
        assert await soon(callback.wait_for_code()) == "x"
