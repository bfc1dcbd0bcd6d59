"""The authorization code grant: what is sent, and which responses are a credential."""

from __future__ import annotations

import pytest

from bearerd.credential.authority.client import AuthorityClient
from bearerd.credential.authority.code_grant import AuthorizationCode, exchange
from bearerd.credential.authority.errors import CallFailed, SignInFailed
from bearerd.sandbox import AuthorityFault, Sandbox
from tests.credential.authority.conftest import AGENT
from tests.credential.stand_ins import MARK

CODE = AuthorizationCode(f"{MARK}-code", f"{MARK}-verifier", "http://localhost/back")


async def test_the_code_is_sent_as_a_form(
    sandbox: Sandbox, client: AuthorityClient
) -> None:
    """RFC 6749 section 4.1.3, with the verifier of RFC 7636. Refused here: made up."""
    with pytest.raises(SignInFailed, match="invalid_grant"):
        await exchange(client, CODE)
    (call,) = sandbox.authority.records
    assert call.content_type == "application/x-www-form-urlencoded"
    assert call.body_keys == (
        "client_id",
        "code",
        "code_verifier",
        "grant_type",
        "redirect_uri",
    )
    assert (call.grant_type, call.user_agent) == ("authorization_code", AGENT)


@pytest.mark.parametrize(
    "fault",
    [
        AuthorityFault("html"),
        AuthorityFault("empty"),
        AuthorityFault("empty_object"),
        AuthorityFault("garbage"),
        AuthorityFault("answer", body="[" * 200_000, status=200),
        AuthorityFault("answer", body='{"access_token": "a"}', status=200),
        AuthorityFault("answer", status=500),
        AuthorityFault("answer", status=403, html=True),
    ],
    ids=["html", "empty", "object", "garbage", "deep", "one-token", "500", "403"],
)
async def test_a_response_without_all_three_tokens_is_a_failure(
    sandbox: Sandbox, client: AuthorityClient, fault: AuthorityFault
) -> None:
    """One line names the authority and the status."""
    sandbox.authority.fault(fault)
    with pytest.raises(SignInFailed, match=f"{sandbox.issuer_url} issued no tokens"):
        await exchange(client, CODE)


async def test_a_connection_that_breaks_off_is_another_failure(
    sandbox: Sandbox, client: AuthorityClient
) -> None:
    """It names the URL and shows nothing of the code."""
    sandbox.authority.fault(AuthorityFault("drop_before_rotation"))
    with pytest.raises(CallFailed, match="sent no complete response") as raised:
        await exchange(client, CODE)
    assert client.token_url in raised.value.message
    assert MARK not in raised.value.message + repr(CODE)
