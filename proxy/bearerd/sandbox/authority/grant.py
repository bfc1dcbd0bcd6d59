"""Grants: the tokens that a sign-in or a refresh issues, and the error for a refusal.

Pure, except for the random part of a token's id.
"""

import secrets
from dataclasses import dataclass, field

from bearerd.sandbox.authority.jwt import mint_jwt

AUTH_CLAIM = "https://api.openai.com/auth"
ONE_HOUR_SECONDS = 3600  # the lifetime of an id token; no client checks it


class TokenError(Exception):
    """A refused call. `code` is from RFC 6749 section 5.2, or one of OpenAI's."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Account:
    """A ChatGPT account, or a workspace, with the user that signs in to it."""

    account_id: str
    plan_type: str = "plus"
    email: str = "sandbox@localhost"

    @property
    def user_id(self) -> str:
        """The id of the user."""
        return f"user-{self.account_id}"


@dataclass(frozen=True, slots=True)
class Grant:
    """The tokens of one successful call. `expires_at` is the access token's `exp`."""

    account: Account
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    id_token: str = field(repr=False)
    expires_at: int


def mint_grant(
    account: Account, refresh_token: str, *, issued_at: int, lifetime_seconds: float
) -> Grant:
    """Return a grant of this refresh token, a new access token and a new id token.

    The claims are those that Codex and other agents read.
    """
    expires_at = int(issued_at + lifetime_seconds)
    common = {
        "iss": "https://sandbox.invalid",
        "iat": issued_at,
        "jti": secrets.token_hex(12),
        AUTH_CLAIM: {
            "chatgpt_account_id": account.account_id,
            "chatgpt_plan_type": account.plan_type,
            "chatgpt_user_id": account.user_id,
        },
    }
    access_token = mint_jwt({**common, "exp": expires_at})
    id_token = mint_jwt(
        {**common, "exp": issued_at + ONE_HOUR_SECONDS, "email": account.email}
    )
    return Grant(account, access_token, refresh_token, id_token, expires_at)
