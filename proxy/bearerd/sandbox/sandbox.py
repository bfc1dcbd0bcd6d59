"""The whole sandbox: a ledger, an authority and an upstream on two loopback ports."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from bearerd.sandbox.authority.authority import Authority
from bearerd.sandbox.authority.grant import Account
from bearerd.sandbox.authority.sign_in import SignIn
from bearerd.sandbox.authority.token_registry import (
    TEN_DAYS_SECONDS,
    Reuse,
    TokenRegistry,
)
from bearerd.sandbox.control import Control
from bearerd.sandbox.listener import Listener
from bearerd.sandbox.upstream.upstream import Upstream

FIRST_ACCOUNT = "acct-sandbox-1"


class Sandbox:
    """Owns both stand-ins; an async context manager, listening inside the block.

    Port 0 lets the system choose. `now` dates tokens and decides what has expired;
    `sleep` is what delays and intervals wait with.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        authority_port: int = 0,
        upstream_port: int = 0,
        access_lifetime_seconds: float = TEN_DAYS_SECONDS,
        reuse: Reuse = "revoke_family",
        now: Callable[[], float] = time.time,  # noqa: TID251 - where real time enters
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.tokens = TokenRegistry(
            now=now, access_lifetime_seconds=access_lifetime_seconds, reuse=reuse
        )
        sign_in = SignIn(self.tokens, Account(FIRST_ACCOUNT))
        self.authority = Authority(self.tokens, sign_in, now=now, sleep=sleep)
        self.upstream = Upstream(
            self.tokens, now=now, sleep=sleep, monotonic_ns=monotonic_ns
        )
        self.control = Control(
            self.tokens, self.authority, self.upstream, sign_in=self.auth_document
        )
        self.authority.serve_also(self.control.routes())
        self._now = now
        self._host = host
        self._ports = [authority_port, upstream_port]
        self._listeners = [
            Listener(self.authority.handle, notices_leaving=False),
            Listener(self.upstream.handle, notices_leaving=True),
        ]

    @property
    def issuer_url(self) -> str:
        """The authority's address, without a slash at the end."""
        return self._url(0)

    @property
    def token_url(self) -> str:
        """The authority's token endpoint."""
        return f"{self.issuer_url}/oauth/token"

    @property
    def upstream_url(self) -> str:
        """The upstream's base, `.../backend-api`."""
        return f"{self._url(1)}/backend-api"

    def auth_document(self, account: str = FIRST_ACCOUNT) -> dict[str, object]:
        """Sign an account in anew and return it as Codex's `auth.json` has it."""
        grant = self.tokens.sign_in(Account(account))
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
        """Let the upstream refuse every access token issued so far."""
        return self.tokens.revoke_access_tokens()

    def expire_access_tokens(self) -> int:
        """Let the upstream call every access token issued so far expired."""
        return self.tokens.expire_access_tokens()

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
    announce: Callable[[Sandbox], None],
    stop: asyncio.Event,
) -> None:
    """Serve a sandbox until `stop` is set; `announce` is called once it listens.

    Raises OSError when a port cannot be had. Cancelling closes it at once.
    """
    async with Sandbox(
        host=host,
        authority_port=authority_port,
        upstream_port=upstream_port,
        access_lifetime_seconds=access_lifetime_seconds,
    ) as sandbox:
        announce(sandbox)
        await stop.wait()
