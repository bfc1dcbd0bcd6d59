"""Signing in by a browser: a page at the authority, and a redirect back to loopback.

The browser may be on another machine: then the address that it ends at, which cannot be
reached from there, is pasted here. Source: Codex's `run_login_server` (codex-rs
login/src/server.rs).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from bearerd.credential.authority.callback import PORTS, CallbackServer
from bearerd.credential.authority.client import (
    AuthorizationCode,
    SignInAuthority,
)
from bearerd.credential.authority.pkce import (
    AuthorizationRequest,
    SignInFailed,
    StateMismatch,
    query_of,
)
from bearerd.credential.token import Credential

PATIENCE_SECONDS: Final = 15 * 60.0


async def sign_in_by_browser(
    authority: SignInAuthority,
    *,
    show: Callable[[str], None],
    pasted: AsyncIterator[str],
    unfit: Callable[[str], None],
    ports: Sequence[int] = PORTS,
    patience_seconds: float = PATIENCE_SECONDS,
) -> Credential:
    """Return the credential of whoever signs in on the page that *show* is given.

    *pasted* gives lines that a person typed; *unfit* is told why one of them is not the
    address that is wanted.

    Raises:
        SignInFailed: declined, or nobody came in time.
        StartError: there is no port to come back to.
    """
    request = AuthorizationRequest.new()
    async with CallbackServer(request, ports) as callback:
        redirect_uri = callback.redirect_uri
        show(
            request.authorization_url(
                authority.issuer_url, authority.client_id, redirect_uri
            )
        )
        reading = asyncio.create_task(_read(pasted, callback, unfit))
        try:
            async with asyncio.timeout(patience_seconds):
                code = await callback.code()
        except TimeoutError:
            minutes = patience_seconds / 60
            raise SignInFailed(
                f"nobody signed in within {minutes:.0f} minutes; run `bearerd login` again"
            ) from None
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
    return await authority.redeem(
        AuthorizationCode(code, request.verifier, redirect_uri)
    )


async def _read(
    pasted: AsyncIterator[str], callback: CallbackServer, unfit: Callable[[str], None]
) -> None:
    """Offer each line that is an address; the first that fits ends the wait."""
    async for line in pasted:
        if not line.strip():
            continue
        try:
            callback.offer(query_of(line))
        except StateMismatch as reason:
            unfit(str(reason))
        except SignInFailed:
            return  # whoever waits for the code is told
