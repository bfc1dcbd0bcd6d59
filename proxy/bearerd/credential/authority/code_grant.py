"""The authorization code grant: exchange a code for a credential.

Sources: RFC 6749 section 4.1.3 with RFC 7636 section 4.5; Codex's exchange (codex-rs
login/src/server.rs), which sends a form here and JSON for a refresh.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from bearerd.credential.authority.client import AuthorityClient
from bearerd.credential.authority.errors import SignInFailed
from bearerd.credential.authority.response import text_field
from bearerd.credential.token import (
    Credential,
    account_claim,
    claims,
    expiry,
    user_claim,
)


@dataclass(frozen=True, slots=True)
class AuthorizationCode:
    """An authorization code with the two values that the exchange requires."""

    code: str = field(repr=False)
    verifier: str = field(repr=False)
    redirect_uri: str


async def exchange(client: AuthorityClient, code: AuthorizationCode) -> Credential:
    """Exchange *code*, which can be used once, for a credential.

    Raises:
        SignInFailed: the authority did not issue all three tokens.
        CallFailed: no complete response arrived.
    """
    response = await client.request(
        "POST",
        client.token_url,
        form={
            "grant_type": "authorization_code",
            "code": code.code,
            "redirect_uri": code.redirect_uri,
            "client_id": client.client_id,
            "code_verifier": code.verifier,
        },
    )
    document = response.document
    access_token = text_field(document, "access_token")
    refresh_token = text_field(document, "refresh_token")
    id_token = text_field(document, "id_token")
    if not (
        response.is_success
        and access_token
        and refresh_token
        and claims(id_token)  # Codex rejects a file whose id token it cannot decode
    ):
        raise SignInFailed(
            f"{client.issuer_url} issued no tokens for the sign-in ({response.summary}); "
            "run `bearerd login` again"
        )
    return Credential(
        access_token=access_token,
        refresh_token=refresh_token,
        account_id=account_claim(id_token) or account_claim(access_token),
        user_id=user_claim(id_token) or user_claim(access_token),
        id_token=id_token,
        expires_at=expiry(access_token, None),
    )
