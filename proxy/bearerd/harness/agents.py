"""Two kinds of agent: one with a copy of the login, as today, and one with a key.

Rule: both send the same request, so that a difference in what they get is due to who
looks after the login.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

import aiohttp

from bearerd.harness.result import UNAUTHORIZED, TurnResult

TURN: Final = {
    "model": "gpt-5.5",
    "input": [{"role": "user", "content": "Say hello."}],
    "stream": True,
    "store": False,
}
TURN_TIMEOUT_SECONDS: Final = 15.0
"""A response takes milliseconds here; what takes longer hangs."""

LAST_EVENT: Final = b"event: response.completed"
SIGNED_OUT: Final = frozenset({"login_required", "account_changed"})
CLIENT_ID: Final = "app_exercise"


def open_session() -> aiohttp.ClientSession:
    """Return a session for any number of agents at once."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=TURN_TIMEOUT_SECONDS),
        trust_env=False,
    )


class Agent(Protocol):
    """Somebody with work for a model. `signed_out` says why it can go on no more."""

    signed_out: str | None

    async def ask(self) -> TurnResult:
        """Send one request, do about a 401 what such an agent does, and end."""


class KeyHolder:
    """An agent behind bearerd: it has a base URL and a client key, and no login."""

    def __init__(
        self, session: aiohttp.ClientSession, *, base_url: str, key: str
    ) -> None:
        self.signed_out: str | None = None
        self._session = session
        self._base_url = base_url
        self._key = key

    async def ask(self) -> TurnResult:
        """Send one request. See `Agent.ask`."""
        result = await send(self._session, self._base_url, self._key)
        self.signed_out = result.code if result.code in SIGNED_OUT else None
        return result


class CopyHolder:
    """An agent with an `auth.json` of its own in *folder*, a copy of everybody's login.

    It does what Codex CLI does: on a 401 it refreshes by itself, stores what it gets,
    and sends once more; what the authority refuses for good, it does not ask again.
    *refreshed* is called when that went well.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        folder: Path,
        *,
        base_url: str,
        token_url: str,
        refreshed: Callable[[], None],
    ) -> None:
        self.signed_out: str | None = None
        self._session = session
        self._file = folder / "auth.json"
        self._base_url = base_url
        self._token_url = token_url
        self._refreshed = refreshed

    async def ask(self) -> TurnResult:
        """Send one request. See `Agent.ask`."""
        document = self._read()
        access_token = document["tokens"]["access_token"]
        result = await send(self._session, self._base_url, access_token)
        if result.status != UNAUTHORIZED or self.signed_out is not None:
            return result
        access_token = await self._refresh(document)
        if access_token is None:
            return result
        return await send(self._session, self._base_url, access_token)

    async def _refresh(self, document: dict[str, Any]) -> str | None:
        """Spend the refresh token of this copy; None if it was refused for good."""
        body = {
            "client_id": CLIENT_ID,
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
        self._refreshed()
        access_token: str = content["access_token"]
        return access_token

    def _read(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self._file.read_text(encoding="utf-8"))
        return document


async def send(
    session: aiohttp.ClientSession, base_url: str, bearer: str
) -> TurnResult:
    """Send one turn to *base_url* and read the response to its end."""
    headers = {"Authorization": f"Bearer {bearer}"}
    try:
        async with session.post(
            f"{base_url}/codex/responses", json=TURN, headers=headers
        ) as response:
            content = await response.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        return TurnResult(0, type(error).__name__)
    if response.status != 200:  # noqa: PLR2004 - RFC 9110 section 15.3.1
        return TurnResult(response.status, response.headers.get("x-bearerd-error", ""))
    return TurnResult(response.status, "" if LAST_EVENT in content else "cut_off")
