"""Token revocation: end a login at the authority.

Sources: RFC 7009; Codex's auth/revoke.rs for the JSON body and the time limit.
"""

from __future__ import annotations

from typing import Final

from bearerd.credential.authority.client import AuthorityClient
from bearerd.credential.authority.errors import RevocationFailed
from bearerd.credential.token import Credential

REVOKE_TIMEOUT_SECONDS: Final = 10.0
"""The same as Codex's. A person waits for it, and the local sign-out follows anyway."""


async def revoke(client: AuthorityClient, credential: Credential) -> None:
    """Revoke *credential* by its refresh token, or by its access token if it has none.

    RFC 7009 section 2.1: revoking the refresh token also invalidates the access tokens
    of the same grant.

    Raises:
        RevocationFailed: the authority's response is not a success.
        CallFailed: no complete response arrived.
    """
    body = {
        "token": credential.refresh_token,
        "token_type_hint": "refresh_token",
        "client_id": client.client_id,
    }
    if not credential.refresh_token:
        body = {"token": credential.access_token, "token_type_hint": "access_token"}
    response = await client.request(
        "POST",
        f"{client.issuer_url}/oauth/revoke",
        json=body,
        timeout_seconds=REVOKE_TIMEOUT_SECONDS,
    )
    if not response.is_success:
        raise RevocationFailed(
            f"{client.issuer_url} did not revoke the login ({response.summary})"
        )
