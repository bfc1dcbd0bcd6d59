"""Two kinds of agent: one with a copy of the login, and one with a client key.

Both send the same request, so that a difference in their results has one cause: which
program refreshes the login.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Protocol

import aiohttp

from bearerd.harness.result import TurnResult
from bearerd.sandbox import CODEX_CLIENT_ID

TURN: Final = {
    "model": "gpt-5.5",
    "input": [{"role": "user", "content": "Say hello."}],
    "stream": True,
    "store": False,
}
TURN_TIMEOUT_SECONDS: Final = 15.0
"""A response takes milliseconds here; after this time it never comes."""

LAST_EVENT: Final = b"event: response.completed"
SIGN_IN_CODES: Final = frozenset({"login_required", "account_changed"})


def open_session() -> aiohttp.ClientSession:
    """Return a session for any number of agents at once."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=TURN_TIMEOUT_SECONDS),
        trust_env=False,
    )


class Agent(Protocol):
    """A client of a model. `signed_out` is why no request can succeed any more, or None."""

    signed_out: str | None

    async def send_turn(self) -> TurnResult:
        """Send one request, and handle a 401 as such an agent does."""


class KeyAgent:
    """An agent that uses bearerd: it has a base URL and a client key, and no login."""

    def __init__(
        self, session: aiohttp.ClientSession, *, base_url: str, key: str
    ) -> None:
        self.signed_out: str | None = None
        self._session = session
        self._base_url = base_url
        self._key = key

    async def send_turn(self) -> TurnResult:
        """Send one request. See `Agent.send_turn`."""
        result = await post_turn(self._session, self._base_url, self._key)
        self.signed_out = result.code if result.code in SIGN_IN_CODES else None
        return result


class CopyAgent:
    """An agent with an `auth.json` of its own in *folder*, a copy of a shared login.

    It does what Codex CLI does. On a 401 it refreshes the login by itself, stores the new
    tokens, and sends the request once more. After the authority has refused the refresh
    token permanently, it does not call the authority again. *on_refreshed* is called
    after each successful refresh.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        folder: Path,
        *,
        base_url: str,
        token_url: str,
        on_refreshed: Callable[[], None],
    ) -> None:
        self.signed_out: str | None = None
        self._session = session
        self._file = folder / "auth.json"
        self._base_url = base_url
        self._token_url = token_url
        self._on_refreshed = on_refreshed

    async def send_turn(self) -> TurnResult:
        """Send one request. See `Agent.send_turn`."""
        document = self._read()
        access_token = document["tokens"]["access_token"]
        result = await post_turn(self._session, self._base_url, access_token)
        if result.status != HTTPStatus.UNAUTHORIZED or self.signed_out is not None:
            return result
        access_token = await self._refresh(document)
        if access_token is None:
            return result
        return await post_turn(self._session, self._base_url, access_token)

    async def _refresh(self, document: dict[str, Any]) -> str | None:
        """Spend the refresh token of this copy; return None if it was refused."""
        body = {
            "client_id": CODEX_CLIENT_ID,
            "grant_type": "refresh_token",
            "refresh_token": document["tokens"]["refresh_token"],
        }
        async with self._session.post(self._token_url, json=body) as response:
            content = await response.json(content_type=None)
        if "error" in content:
            self.signed_out = content["error"]["code"]
            return None
        document["tokens"] |= {
            name: content[name] for name in ("access_token", "refresh_token")
        }
        self._file.write_text(json.dumps(document), encoding="utf-8")
        self._on_refreshed()
        access_token: str = content["access_token"]
        return access_token

    def _read(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self._file.read_text(encoding="utf-8"))
        return document


async def post_turn(
    session: aiohttp.ClientSession, base_url: str, bearer_token: str
) -> TurnResult:
    """Send one turn to *base_url* and read the response to its end."""
    headers = {"Authorization": f"Bearer {bearer_token}"}
    try:
        async with session.post(
            f"{base_url}/codex/responses", json=TURN, headers=headers
        ) as response:
            content = await response.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        return TurnResult(0, type(error).__name__)
    if response.status != HTTPStatus.OK:
        return TurnResult(response.status, response.headers.get("x-bearerd-error", ""))
    return TurnResult(response.status, "" if LAST_EVENT in content else "cut_off")
