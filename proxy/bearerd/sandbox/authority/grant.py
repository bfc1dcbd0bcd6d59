"""What a sign-in or a refresh hands out: values, and how they are minted.

Pure but for the random part of a token's id.
"""

import secrets
from dataclasses import dataclass, field
from typing import Literal

from bearerd.sandbox.authority.jwt import mint_jwt

AUTH_CLAIM = "https://api.openai.com/auth"
ONE_HOUR_SECONDS = 3600  # an id token's life; nobody checks it

RefusalCode = Literal[
    "refresh_token_reused",
    "refresh_token_expired",
    "refresh_token_invalidated",
    "invalid_grant",
]


class RefusedError(Exception):
    """The ledger will not give a grant; `code` says why."""

    def __init__(self, code: RefusalCode) -> None:
        super().__init__(code)
        self.code: RefusalCode = code


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who can sign in."""

    account_id: str
    plan_type: str = "plus"
    email: str = "sandbox@localhost"

    @property
    def user_id(self) -> str:
        """The user behind the account."""
        return f"user-{self.account_id}"


@dataclass(frozen=True, slots=True)
class Grant:
    """What one successful token call hands out."""

    account: Account
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    id_token: str = field(repr=False)
    expires_at: int


def mint_grant(
    account: Account, refresh_token: str, *, issued_at: int, lifetime_seconds: float
) -> Grant:
    """Return this refresh token with a new access token and id token.

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
