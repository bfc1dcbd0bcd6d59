"""A running sandbox, and plain HTTP clients of it, for the tests of this room."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine

import aiohttp
import pytest

from bearerd.sandbox import CODEX_CLIENT_ID, Sandbox

Reply = tuple[int, dict[str, object]]
Refresh = Callable[[str], Coroutine[None, None, Reply]]


class Clock:
    """Real time as the sandbox sees it; it moves when a test sets it."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def __call__(self) -> float:
        return self.seconds


class Sleeps:
    """A sleep that lasts until a test sets `over`; `requested` has the durations."""

    def __init__(self) -> None:
        self.requested = list[float]()
        self.begun = asyncio.Queue[float]()
        self.over = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        self.requested.append(seconds)
        self.begun.put_nowait(seconds)
        await self.over.wait()


def login(sandbox: Sandbox, account: str = "acct-sandbox-1") -> dict[str, str]:
    """Sign in and return the tokens."""
    tokens = sandbox.auth_document(account)["tokens"]
    assert isinstance(tokens, dict)
    return tokens


def refresh_grant(refresh_token: str, **fields: str) -> dict[str, str]:
    """Return the body of a refresh as Codex sends it; `fields` replace its own."""
    return {
        "client_id": CODEX_CLIENT_ID,
        "grant_type": "refresh_token",
        "refresh_token": refresh_token,
        **fields,
    }


def error_code(body: dict[str, object]) -> object:
    """Return the code in an error of OpenAI's shape."""
    error = body["error"]
    assert isinstance(error, dict)
    assert {"message", "type", "param", "code"} == set(error)
    return error["code"]


@pytest.fixture
def clock() -> Clock:
    """The time from which the sandbox's clocks start."""
    return Clock()


@pytest.fixture
async def sleeps() -> Sleeps:
    """The sleep of the sandbox in tests of delays."""
    return Sleeps()


@pytest.fixture
async def sandbox(clock: Clock) -> AsyncIterator[Sandbox]:
    """A sandbox that listens, with a clock that stands still."""
    async with Sandbox(now=clock) as running:
        yield running


@pytest.fixture
async def http(sandbox: Sandbox) -> AsyncIterator[aiohttp.ClientSession]:
    """A client that is closed before the sandbox stops."""
    assert sandbox.issuer_url
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def refresh(sandbox: Sandbox, http: aiohttp.ClientSession) -> Refresh:
    """Call the token endpoint as Codex does; return status and body."""

    async def call(refresh_token: str) -> Reply:
        body = refresh_grant(refresh_token)
        async with http.post(sandbox.token_url, json=body) as response:
            return response.status, await response.json(content_type=None)

    return call
