"""The authorization request: proof key, state, and the URL of the sign-in page.

Pure, except for the random numbers. Sources: RFC 7636 for the proof key, RFC 6749
sections 4.1.1 and 4.1.2 for the request and the redirect, and Codex's
`build_authorize_url` (codex-rs login/src/server.rs) for the parameters of its client.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from bearerd.credential.authority.errors import SignInFailed, one_line

SCOPE: Final = (
    "openid profile email offline_access api.connectors.read api.connectors.invoke"
)
"""All scopes that Codex requests, so that Codex can use the login too."""

ORIGINATOR: Final = "bearerd"


class StateMismatch(ValueError):
    """A redirect that does not belong to this sign-in."""


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """The secrets of one sign-in.

    `state` binds the redirect to this request. `verifier` proves to the authority that
    the program that exchanges the code is the one that requested it.
    """

    state: str = field(repr=False)
    verifier: str = field(repr=False)

    @classmethod
    def new(cls) -> AuthorizationRequest:
        """Return a request with a state of 32 random bytes and a verifier of 64."""
        return cls(secrets.token_urlsafe(32), secrets.token_urlsafe(64))

    @property
    def challenge(self) -> str:
        """The S256 challenge (RFC 7636 section 4.2)."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def authorization_url(
        self, issuer_url: str, client_id: str, redirect_uri: str
    ) -> str:
        """Return the URL of the page on which a person signs in."""
        query = {
            "response_type": "code",
            "client_id": client_id,
            "redirect_uri": redirect_uri,
            "scope": SCOPE,
            "code_challenge": self.challenge,
            "code_challenge_method": "S256",
            "id_token_add_organizations": "true",
            "codex_cli_simplified_flow": "true",
            "state": self.state,
            "originator": ORIGINATOR,
        }
        return f"{issuer_url}/oauth/authorize?{urlencode(query)}"

    def code_from(self, query: Mapping[str, str]) -> str:
        """Return the authorization code in the query of a redirect.

        Raises:
            StateMismatch: its state differs from that of this request, or it has no
                code.
            SignInFailed: the authority refused the sign-in.
        """
        if not hmac.compare_digest(
            query.get("state", "").encode(), self.state.encode()
        ):
            raise StateMismatch("the redirect has the state of another sign-in")
        error = query.get("error")
        if error:
            description = query.get("error_description", "")
            reason = f"{one_line(error)} {one_line(description)}".strip()
            raise SignInFailed(
                f"the authority refused the sign-in: {reason}; run `bearerd login` again"
            )
        if not query.get("code"):
            raise StateMismatch("the redirect has no code")
        return query["code"]


def parse_query(url: str) -> dict[str, str]:
    """Return the query of a pasted URL; an empty one if it has none."""
    try:
        return dict(parse_qsl(urlsplit(url.strip()).query))
    except ValueError:
        return {}
