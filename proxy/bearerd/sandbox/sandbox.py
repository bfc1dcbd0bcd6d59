"""The whole sandbox: a token registry, an authority and an upstream on two ports."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from bearerd.sandbox.authority.authority import Authority
from bearerd.sandbox.authority.clients import DEFAULT_CLIENT_IDS, ClientRegistry
from bearerd.sandbox.authority.family import Reuse
from bearerd.sandbox.authority.grant import Account
from bearerd.sandbox.authority.sign_in import SignIn
from bearerd.sandbox.authority.token_registry import TEN_DAYS_SECONDS, TokenRegistry
from bearerd.sandbox.clock import ServerClock
from bearerd.sandbox.control import Control
from bearerd.sandbox.incident import Incident
from bearerd.sandbox.listener import Listener
from bearerd.sandbox.upstream.upstream import Upstream

FIRST_ACCOUNT = "acct-sandbox-1"


class Sandbox:
    """Owns both stand-ins; an async context manager that listens within the block.

    With port 0 the system chooses. `now` is real time, from which the clock of each
    server starts; `sleep` is used for delays and intervals. `client_ids` are the
    registered clients.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        authority_port: int = 0,
        upstream_port: int = 0,
        access_lifetime_seconds: float = TEN_DAYS_SECONDS,
        reuse: Reuse = "revoke_family",
        client_ids: Iterable[str] = DEFAULT_CLIENT_IDS,
        now: Callable[[], float] = time.time,  # noqa: TID251 - where real time enters
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        clock = ServerClock(now)
        self._incident = Incident(now)
        self.tokens = TokenRegistry(
            now=clock, access_lifetime_seconds=access_lifetime_seconds, reuse=reuse
        )
        clients = ClientRegistry(client_ids)
        self.authority = Authority(
            self.tokens,
            SignIn(self.tokens, Account(FIRST_ACCOUNT), clients),
            clients=clients,
            clock=clock,
            incident=self._incident,
            sleep=sleep,
        )
        self.upstream = Upstream(
            self.tokens,
            clock=ServerClock(now),
            incident=self._incident,
            sleep=sleep,
            monotonic_ns=monotonic_ns,
        )
        self._now = now
        self._host = host
        self._ports = [authority_port, upstream_port]
        self._listeners = [
            Listener(self.authority.handle, cancels_on_disconnect=False),
            Listener(self.upstream.handle, cancels_on_disconnect=True),
        ]
        self.authority.add_routes(self._control().routes())

    @property
    def issuer_url(self) -> str:
        """The base URL of the authority, without a trailing slash."""
        return self._url(0)

    @property
    def token_url(self) -> str:
        """The URL of the token endpoint."""
        return f"{self.issuer_url}/oauth/token"

    @property
    def upstream_url(self) -> str:
        """The base URL of the upstream, `.../backend-api`."""
        return f"{self._url(1)}/backend-api"

    def auth_document(
        self, account: str = FIRST_ACCOUNT, *, issued_seconds_ago: float = 0
    ) -> dict[str, object]:
        """Sign an account in and return the login in the format of Codex's `auth.json`.

        `issued_seconds_ago` moves `iat` and `exp` of the tokens back.
        """
        grant = self.tokens.sign_in(
            Account(account), issued_seconds_ago=issued_seconds_ago
        )
        signed_in_at = datetime.fromtimestamp(self._now(), UTC)
        return {
            "auth_mode": "chatgpt",
            "OPENAI_API_KEY": None,
            "tokens": {
                "id_token": grant.id_token,
                "access_token": grant.access_token,
                "refresh_token": grant.refresh_token,
                "account_id": grant.account.account_id,
            },
            "last_refresh": signed_in_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }

    def revoke_access_tokens(self) -> int:
        """Invalidate every access token issued so far; return how many were live."""
        return self.tokens.revoke_access_tokens()

    def expire_access_tokens(self) -> int:
        """Expire every access token issued so far; return how many were live."""
        return self.tokens.expire_access_tokens()

    def incident(self, seconds: float | None = None) -> None:
        """Make both servers respond to every request with a plain 401.

        No token changes. The incident lasts `seconds` of real time, or until
        `end_incident` if None.
        """
        self._incident.begin(seconds)

    def end_incident(self) -> None:
        """End the incident."""
        self._incident.end()

    async def __aenter__(self) -> Self:
        try:
            for index, listener in enumerate(self._listeners):
                self._ports[index] = await listener.start(
                    self._host, self._ports[index]
                )
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self._stop()

    def _control(self) -> Control:
        return Control(
            self.tokens,
            self.authority,
            self.upstream,
            incident=self._incident,
            sign_in=self.auth_document,
        )

    async def _stop(self) -> None:
        await asyncio.gather(*(listener.stop() for listener in self._listeners))

    def _url(self, index: int) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._ports[index]}"


async def serve_sandbox(
    *,
    host: str = "127.0.0.1",
    authority_port: int = 0,
    upstream_port: int = 0,
    access_lifetime_seconds: float = TEN_DAYS_SECONDS,
    client_ids: Iterable[str] = DEFAULT_CLIENT_IDS,
    announce: Callable[[Sandbox], None],
    stop: asyncio.Event,
) -> None:
    """Serve a sandbox until `stop` is set; call `announce` as soon as it listens.

    Cancellation closes it at once.

    Raises:
        OSError: a port is not available.
    """
    async with Sandbox(
        host=host,
        authority_port=authority_port,
        upstream_port=upstream_port,
        access_lifetime_seconds=access_lifetime_seconds,
        client_ids=client_ids,
    ) as sandbox:
        announce(sandbox)
        await stop.wait()
