"""What a browser's sign-in is made of: proof key, state, and the address of the page.

Pure but for the random numbers. Sources: RFC 7636 for the proof key, RFC 6749 sections
4.1.1 and 4.1.2 for the request and the redirect, and Codex's `build_authorize_url`
(codex-rs login/src/server.rs) for what its client asks for.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode, urlsplit

from bearerd.errors import CredentialError

SCOPE = "openid profile email offline_access api.connectors.read api.connectors.invoke"
"""All that Codex asks for, so that Codex can go on with the login."""

ORIGINATOR = "bearerd"
REASON_CHARACTERS = 200


class SignInFailed(CredentialError):
    """A sign-in came to nothing; nothing was changed."""

    code = "sign_in_failed"


class StateMismatch(ValueError):
    """A response that belongs to another sign-in, or to none."""


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """One sign-in that was begun. `verifier` proves that whoever ends it began it."""

    state: str = field(repr=False)
    verifier: str = field(repr=False)

    @classmethod
    def new(cls) -> AuthorizationRequest:
        """Return one that nobody can guess: 32 random bytes, and 64."""
        return cls(secrets.token_urlsafe(32), secrets.token_urlsafe(64))

    @property
    def challenge(self) -> str:
        """Return the S256 challenge (RFC 7636 section 4.2)."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def authorization_url(
        self, issuer_url: str, client_id: str, redirect_uri: str
    ) -> str:
        """Return the address of the page on which a person signs in."""
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
            NotThisSignIn: its state is not ours, or there is no code.
            SignInFailed: the authority says no.
        """
        if not hmac.compare_digest(
            query.get("state", "").encode(), self.state.encode()
        ):
            raise StateMismatch("its state is not that of this sign-in")
        error = query.get("error")
        if error:
            told = query.get("error_description", "")
            raise SignInFailed(
                f"the authority did not sign you in: {_line(error)} {_line(told)}".strip()
            )
        if not query.get("code"):
            raise StateMismatch("there is no code in it")
        return query["code"]


def query_of(address: str) -> dict[str, str]:
    """Return the query of an address that a person has pasted; empty if it has none."""
    try:
        return dict(parse_qsl(urlsplit(address.strip()).query))
    except ValueError:
        return {}


def _line(text: str) -> str:
    """Make one short line of what came from outside."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(shown.split())[:REASON_CHARACTERS]
