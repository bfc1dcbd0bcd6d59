"""Which tokens exist: accounts, families, refresh tokens and access tokens.

Pure state; no I/O and no clock but `now`. Rules:

1. A refresh token is good once. Using it makes its successor.
2. Using it again is a double spend. In the mode `revoke_family` the whole family
   dies with it, access tokens too, so that a double spend fails a test by itself.
3. Access tokens die by their `exp`, by `expire_access_tokens` or by being revoked;
   an older one stays good when a newer one is issued.
"""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

from bearerd.sandbox.authority.grant import (
    Account,
    Grant,
    RefusalCode,
    RefusedError,
    mint_grant,
)

TEN_DAYS_SECONDS = 10 * 24 * 3600  # about what the real authority gives

Reuse = Literal["revoke_family", "refuse", "tolerate_one"]
AccessState = Literal["live", "expired", "invalidated", "unknown"]


class Introspection(NamedTuple):
    """What the ledger says about an access token; no account if it is unknown."""

    state: AccessState
    account: Account | None


@dataclass(slots=True)
class _Family:
    """All tokens that descend from one sign-in; `number` is the live refresh token's."""

    account: Account
    name: str
    number: int = 0
    current: str = field(default="", repr=False)
    ended: RefusalCode | None = None
    tolerated: int = -1  # the last number whose reuse was let pass


class _RefreshToken(NamedTuple):
    family: _Family
    number: int


@dataclass(slots=True)
class _AccessToken:
    family: _Family
    expires_at: int
    state: AccessState = "live"


class TokenRegistry:
    """Owns every token of one sandbox, and counts rotations and double spends.

    `access_lifetime_seconds` and `reuse` may be changed while it runs; they hold for
    tokens issued, or presented, from then on.
    """

    def __init__(
        self,
        *,
        now: Callable[[], float],
        access_lifetime_seconds: float = TEN_DAYS_SECONDS,
        reuse: Reuse = "revoke_family",
    ) -> None:
        self.access_lifetime_seconds = access_lifetime_seconds
        self.set_reuse(reuse)
        self.refreshes = 0
        self.reused = 0
        self.tolerated = 0
        self._now = now
        self._families: list[_Family] = []
        self._refresh_tokens: dict[str, _RefreshToken] = {}
        self._access_tokens: dict[str, _AccessToken] = {}

    def set_reuse(self, reuse: Reuse) -> None:
        """Choose what a double spend does; ValueError names the choices."""
        if reuse not in get_args(Reuse):
            raise ValueError(
                f"reuse is one of {', '.join(get_args(Reuse))}; got {reuse!r}"
            )
        self.reuse: Reuse = reuse

    def sign_in(self, account: Account) -> Grant:
        """Start a new family and return its first grant."""
        family = _Family(account, name=str(len(self._families) + 1))
        self._families.append(family)
        self._mint_refresh_token(family)
        return self._grant(family)

    def rotate(self, refresh_token: str) -> Grant:
        """Spend a refresh token and return its successor; RefusedError if it is spent,
        ended or unknown.
        """
        held = self._refresh_tokens.get(refresh_token)
        if held is None:
            raise RefusedError("invalid_grant")
        family = held.family
        if held.number < family.number:
            return self._present_again(held)
        if family.ended is not None:
            raise RefusedError(family.ended)
        family.number += 1
        self.refreshes += 1
        self._mint_refresh_token(family)
        return self._grant(family)

    def introspect(self, access_token: str) -> Introspection:
        """Return whether an access token is good now, and whose it is."""
        held = self._access_tokens.get(access_token)
        if held is None:
            return Introspection("unknown", None)
        state = held.state
        if state == "live" and self._now() >= held.expires_at:
            state = "expired"
        return Introspection(state, held.family.account)

    def revoke_access_tokens(self, account_id: str | None = None) -> int:
        """Invalidate the access tokens issued so far; return how many were live."""
        return self._end_access_tokens("invalidated", account_id)

    def expire_access_tokens(self, account_id: str | None = None) -> int:
        """Treat the access tokens issued so far as past their `exp`, which the holder
        cannot see in them; return how many were live.
        """
        return self._end_access_tokens("expired", account_id)

    def revoke_refresh_tokens(self, account_id: str | None = None) -> int:
        """End the families, as a sign-out elsewhere does; access tokens go on."""
        return self._end_families("refresh_token_invalidated", account_id)

    def expire_refresh_tokens(self, account_id: str | None = None) -> int:
        """End the families as if their refresh tokens had grown too old."""
        return self._end_families("refresh_token_expired", account_id)

    def revoke(self, any_token: str) -> bool:
        """Revoke the family of a refresh or access token (RFC 7009), access tokens
        too; return whether the token was known.
        """
        held = self._refresh_tokens.get(any_token) or self._access_tokens.get(any_token)
        if held is None:
            return False
        self._revoke_family(held.family)
        return True

    def _present_again(self, held: _RefreshToken) -> Grant:
        """A superseded token was presented: tolerate it or refuse it."""
        family = held.family
        latest = held.number == family.number - 1 and family.tolerated < held.number
        if self.reuse == "tolerate_one" and latest and family.ended is None:
            family.tolerated = held.number
            self.tolerated += 1
            return self._grant(family)
        self.reused += 1
        if self.reuse == "revoke_family":
            self._revoke_family(family)
        raise RefusedError("refresh_token_reused")

    def _revoke_family(self, family: _Family) -> None:
        family.ended = "refresh_token_invalidated"
        for held in self._access_tokens.values():
            if held.family is family:
                held.state = "invalidated"

    def _end_families(self, code: RefusalCode, account_id: str | None) -> int:
        ended = [
            family
            for family in self._families
            if family.ended is None and account_id in {None, family.account.account_id}
        ]
        for family in ended:
            family.ended = code
        return len(ended)

    def _end_access_tokens(self, state: AccessState, account_id: str | None) -> int:
        ended = list(self._live(account_id))
        for held in ended:
            held.state = state
        return len(ended)

    def _live(self, account_id: str | None) -> Iterator[_AccessToken]:
        for held in self._access_tokens.values():
            if held.state == "live" and account_id in {
                None,
                held.family.account.account_id,
            }:
                yield held

    def _mint_refresh_token(self, family: _Family) -> None:
        minted = f"sandbox-rt-{family.name}-{family.number}-{secrets.token_hex(12)}"
        self._refresh_tokens[minted] = _RefreshToken(family, family.number)
        family.current = minted

    def _grant(self, family: _Family) -> Grant:
        """Return the family's refresh token with a fresh access token."""
        grant = mint_grant(
            family.account,
            family.current,
            issued_at=int(self._now()),
            lifetime_seconds=self.access_lifetime_seconds,
        )
        held = _AccessToken(family, grant.expires_at)
        self._access_tokens[grant.access_token] = held
        return grant
