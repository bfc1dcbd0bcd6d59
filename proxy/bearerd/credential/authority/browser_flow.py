"""Sign-in by browser: a page of the authority, and a redirect to loopback.

If the browser runs on another machine, the redirect fails there, and the person pastes
its URL into the terminal. Source: Codex's `run_login_server` (codex-rs
login/src/server.rs).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from bearerd.credential.authority.callback import PORTS, CallbackServer
from bearerd.credential.authority.client import AuthorityClient
from bearerd.credential.authority.code_grant import AuthorizationCode, exchange
from bearerd.credential.authority.errors import SignInFailed
from bearerd.credential.authority.pkce import (
    AuthorizationRequest,
    StateMismatch,
    parse_query,
)
from bearerd.credential.token import Credential

SIGN_IN_TIMEOUT_SECONDS: Final = 15 * 60.0
"""How long a person may take; the same as for a device code."""


async def sign_in_by_browser(
    client: AuthorityClient,
    *,
    show_page: Callable[[str], None],
    pasted_lines: AsyncIterator[str],
    on_mismatch: Callable[[str], None],
    ports: Sequence[int] = PORTS,
    timeout_seconds: float = SIGN_IN_TIMEOUT_SECONDS,
) -> Credential:
    """Return the credential of the person who signs in on the page.

    *show_page* is called once with the URL of the page. *pasted_lines* yields the lines
    that the person pastes. If a line is not the redirect URL of this sign-in,
    *on_mismatch* is called with the reason.

    Raises:
        SignInFailed: the authority declines, or *timeout_seconds* have passed.
        StartError: none of *ports* is free.
        CallFailed: the code could not be exchanged.
    """
    request = AuthorizationRequest.new()
    async with CallbackServer(request, ports) as callback:
        redirect_uri = callback.redirect_uri
        show_page(
            request.authorization_url(client.issuer_url, client.client_id, redirect_uri)
        )
        reading = asyncio.create_task(_read_lines(pasted_lines, callback, on_mismatch))
        try:
            async with asyncio.timeout(timeout_seconds):
                code = await callback.wait_for_code()
        except TimeoutError:
            raise SignInFailed(
                f"the sign-in was not completed within {timeout_seconds / 60:.0f} "
                "minutes; run `bearerd login` again"
            ) from None
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
    return await exchange(
        client, AuthorizationCode(code, request.verifier, redirect_uri)
    )


async def _read_lines(
    lines: AsyncIterator[str],
    callback: CallbackServer,
    on_mismatch: Callable[[str], None],
) -> None:
    """Pass each pasted line to *callback*, until one contains an error response."""
    async for line in lines:
        if not line.strip():
            continue
        try:
            callback.receive(parse_query(line))
        except StateMismatch as mismatch:
            on_mismatch(str(mismatch))
        except SignInFailed:
            return  # `wait_for_code` raises it
