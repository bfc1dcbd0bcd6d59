"""A running sandbox, and clients of it, for the tests of this room."""

from collections.abc import AsyncIterator, Callable, Coroutine

import aiohttp
import pytest

from bearerd.sandbox import Sandbox

Reply = tuple[int, dict[str, object]]
Refresh = Callable[[str], Coroutine[None, None, Reply]]


class Clock:
    """Time that moves when a test says so."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def __call__(self) -> float:
        return self.seconds


def login(sandbox: Sandbox, account: str = "acct-sandbox-1") -> dict[str, str]:
    """Sign in and return the tokens."""
    tokens = sandbox.auth_document(account)["tokens"]
    assert isinstance(tokens, dict)
    return tokens


def error_code(body: dict[str, object]) -> object:
    """Return the code in an error of OpenAI's shape."""
    error = body["error"]
    assert isinstance(error, dict)
    assert {"message", "type", "param", "code"} == set(error)
    return error["code"]


@pytest.fixture
def clock() -> Clock:
    """The sandbox's clock."""
    return Clock()


@pytest.fixture
async def sandbox(clock: Clock) -> AsyncIterator[Sandbox]:
    """A sandbox that listens, with a clock that stands still."""
    async with Sandbox(now=clock) as running:
        yield running


@pytest.fixture
async def http(sandbox: Sandbox) -> AsyncIterator[aiohttp.ClientSession]:
    """A client that leaves before the sandbox stops."""
    assert sandbox.issuer_url
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def refresh(sandbox: Sandbox, http: aiohttp.ClientSession) -> Refresh:
    """Call the token endpoint as Codex does; return status and body."""

    async def call(refresh_token: str) -> Reply:
        body = {
            "client_id": "app_sandbox",
            "grant_type": "refresh_token",
            "refresh_token": refresh_token,
        }
        async with http.post(sandbox.token_url, json=body) as response:
            return response.status, await response.json(content_type=None)

    return call
