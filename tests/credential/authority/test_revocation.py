"""Token revocation: which token is sent, and what a failure is."""

from __future__ import annotations

import pytest

from bearerd.credential.authority.client import AuthorityClient
from bearerd.credential.authority.errors import CallFailed, RevocationFailed
from bearerd.credential.authority.revocation import revoke
from bearerd.credential.token import Credential
from bearerd.sandbox import Account, AuthorityFault, Sandbox, fingerprint
from tests.credential.authority.conftest import CHOSEN
from tests.credential.authority.scripted import scripted_client


def login_of(sandbox: Sandbox) -> Credential:
    """Return a new login."""
    grant = sandbox.tokens.sign_in(Account(CHOSEN))
    return Credential(grant.access_token, grant.refresh_token)


async def test_a_login_is_revoked_by_its_refresh_token(
    sandbox: Sandbox, client: AuthorityClient
) -> None:
    """Its access token ends with it."""
    login = login_of(sandbox)
    await revoke(client, login)
    assert sandbox.authority.revoked_fingerprints == [fingerprint(login.refresh_token)]
    assert sandbox.tokens.introspect(login.access_token).state == "invalidated"


async def test_a_login_without_a_refresh_token_is_revoked_by_the_other(
    sandbox: Sandbox, client: AuthorityClient
) -> None:
    """The access token is all there is."""
    login = login_of(sandbox)
    await revoke(client, Credential(login.access_token, ""))
    assert sandbox.tokens.introspect(login.access_token).state == "invalidated"


async def test_an_authority_that_refuses_to_revoke_is_a_failure(
    sandbox: Sandbox, client: AuthorityClient
) -> None:
    """With its status. The caller decides what that means."""
    sandbox.authority.fault(
        AuthorityFault("answer", status=503, body="{}", path="/oauth/revoke")
    )
    with pytest.raises(
        RevocationFailed, match=r"did not revoke the login \(status 503\)"
    ):
        await revoke(client, login_of(sandbox))


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 200_000])
async def test_any_2xx_means_that_it_is_revoked(content: bytes) -> None:
    """RFC 7009 section 2.2: only the status counts."""
    async with scripted_client((200, content)) as client:
        await revoke(client, Credential("made-up", "made-up"))


async def test_a_revocation_without_a_response_is_a_failure_too() -> None:
    """It is not known whether it was done."""
    async with scripted_client(None) as client:
        with pytest.raises(CallFailed, match="/oauth/revoke sent no complete response"):
            await revoke(client, Credential("made-up", "made-up"))
