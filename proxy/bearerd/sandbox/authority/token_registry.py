"""The registry of all tokens: families, refresh tokens and access tokens.

Pure state: no I/O, and no clock except `now`. Rules:

1. A refresh token can be used once. Its use creates its successor.
2. The reuse policy decides about a second use. The default revokes the whole family,
   including the access tokens, so a test fails if a token is spent twice.
3. An access token ends at its `exp`, by `expire_access_tokens`, or by a revocation. It
   stays valid when a newer one is issued.
"""

import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, get_args

from bearerd.sandbox.authority.family import (
    AccessState,
    AccessToken,
    Family,
    RefreshToken,
    Reuse,
    ReusePolicy,
    ReuseVerdict,
)
from bearerd.sandbox.authority.grant import (
    Account,
    Grant,
    TokenError,
    mint_grant,
)

TEN_DAYS_SECONDS = 10 * 24 * 3600  # about the lifetime at the real authority


class Introspection(NamedTuple):
    """The state of an access token, and its account, or None if it is unknown."""

    state: AccessState
    account: Account | None


class TokenRegistry:
    """Owns all tokens of one sandbox; counts rotations and second uses.

    `access_lifetime_seconds` can be changed at any time, and applies to tokens issued
    after that. `now` is the authority's clock.
    """

    def __init__(
        self,
        *,
        now: Callable[[], float],
        access_lifetime_seconds: float = TEN_DAYS_SECONDS,
        reuse: Reuse = "revoke_family",
    ) -> None:
        self.access_lifetime_seconds = access_lifetime_seconds
        self.refreshes = 0
        self.reused = 0
        self.tolerated = 0
        self._reuse_policy = ReusePolicy(reuse)
        self._now = now
        self._families: list[Family] = []
        self._refresh_tokens: dict[str, RefreshToken] = {}
        self._access_tokens: dict[str, AccessToken] = {}

    def set_reuse(self, reuse: Reuse, grace_seconds: float | None = None) -> None:
        """Set the policy for a second use; see `ReusePolicy`.

        Raises:
            ValueError: the mode is unknown; the message lists the modes.
        """
        if reuse not in get_args(Reuse):
            raise ValueError(
                f"reuse must be one of {', '.join(get_args(Reuse))}; got {reuse!r}"
            )
        policy = ReusePolicy(reuse)
        if grace_seconds is not None:
            policy = replace(policy, grace_seconds=float(grace_seconds))
        self._reuse_policy = policy

    def sign_in(self, account: Account, *, issued_seconds_ago: float = 0) -> Grant:
        """Start a new family and return its first grant."""
        family = Family(account, name=str(len(self._families) + 1))
        self._families.append(family)
        self._mint_refresh_token(family)
        return self._mint_grant(family, issued_seconds_ago)

    def rotate(
        self,
        refresh_token: str,
        *,
        issued_seconds_ago: float = 0,
        is_cached: bool = False,
    ) -> Grant:
        """Spend a refresh token and return the grant with its successor.

        The access token is new, with an `iat` that is `issued_seconds_ago` in the past.
        With `is_cached` it is the last one of the family, in whatever state.

        Raises:
            TokenError: the token is spent, ended or unknown.
        """
        token = self._refresh_tokens.get(refresh_token)
        if token is not None and token.number < token.family.number:
            return self._present_again(token)
        family = self._live_family(token)
        family.rotate(self._now())
        self.refreshes += 1
        self._mint_refresh_token(family)
        if is_cached and family.latest is not None:
            return replace(family.latest, refresh_token=family.current)
        return self._mint_grant(family, issued_seconds_ago)

    def renew_access_token(self, refresh_token: str) -> Grant:
        """Return a new access token with the same refresh token, which stays unspent.

        RFC 6749 section 6: the server decides whether it rotates.

        Raises:
            TokenError: the token is spent, ended or unknown.
        """
        token = self._refresh_tokens.get(refresh_token)
        if token is not None and token.number < token.family.number:
            return self._present_again(token)
        return self._mint_grant(self._live_family(token), 0)

    def introspect(
        self, access_token: str, *, now: float | None = None
    ) -> Introspection:
        """Return the state of an access token at `now`, by default the current time."""
        token = self._access_tokens.get(access_token)
        if token is None:
            return Introspection("unknown", None)
        state = token.state
        if (
            state == "live"
            and (self._now() if now is None else now) >= token.expires_at
        ):
            state = "expired"
        return Introspection(state, token.family.account)

    def add_alias(self, token: str, alias: str) -> None:
        """Accept `alias` in place of `token`: it was issued in that form."""
        if token in self._refresh_tokens:
            self._refresh_tokens[alias] = self._refresh_tokens[token]
        if token in self._access_tokens:
            self._access_tokens[alias] = self._access_tokens[token]

    def revoke_access_tokens(self, account_id: str | None = None) -> int:
        """Invalidate the access tokens issued so far; return how many were live."""
        return self._end_access_tokens("invalidated", account_id)

    def expire_access_tokens(self, account_id: str | None = None) -> int:
        """Treat the access tokens issued so far as expired; return how many were live.

        Their `exp` is still in the future, so a client cannot see that.
        """
        return self._end_access_tokens("expired", account_id)

    def revoke_refresh_tokens(self, account_id: str | None = None) -> int:
        """End the families, like a sign-out elsewhere; access tokens stay valid."""
        return self._end_families("refresh_token_invalidated", account_id)

    def expire_refresh_tokens(self, account_id: str | None = None) -> int:
        """End the families, as if their refresh tokens had expired."""
        return self._end_families("refresh_token_expired", account_id)

    def end_family(self, refresh_token: str, code: str) -> None:
        """End the family of this token; its calls are refused with `code` from now on."""
        token = self._refresh_tokens.get(refresh_token)
        if token is not None and token.family.ended is None:
            token.family.end(code)

    def revoke(self, any_token: str) -> bool:  # RFC 7009
        """Revoke the family of a token and its access tokens; return False if unknown."""
        token = self._refresh_tokens.get(any_token) or self._access_tokens.get(
            any_token
        )
        if token is None:
            return False
        self._revoke_family(token.family)
        return True

    def _live_family(self, token: RefreshToken | None) -> Family:
        """Return the family of `token`; raise TokenError if it is unknown or ended."""
        if token is None:
            raise TokenError("invalid_grant")
        if token.family.ended is not None:
            raise TokenError(token.family.ended)
        return token.family

    def _present_again(self, token: RefreshToken) -> Grant:
        """Handle the second use of a refresh token."""
        family = token.family
        verdict = self._reuse_policy.verdict(token, self._now())
        if verdict is ReuseVerdict.TOLERATE:
            family.tolerate(token.number)
            self.tolerated += 1
            return self._mint_grant(family, 0)
        self.reused += 1
        if verdict is ReuseVerdict.REVOKE:
            self._revoke_family(family)
        raise TokenError("refresh_token_reused")

    def _revoke_family(self, family: Family) -> None:
        family.end("refresh_token_invalidated")
        for token in self._access_tokens.values():
            if token.family is family:
                token.end("invalidated")

    def _end_families(self, code: str, account_id: str | None) -> int:
        ended = [
            family
            for family in self._families
            if family.ended is None and account_id in {None, family.account.account_id}
        ]
        for family in ended:
            family.end(code)
        return len(ended)

    def _end_access_tokens(self, state: AccessState, account_id: str | None) -> int:
        ended = [
            token
            for token in self._access_tokens.values()
            if token.state == "live"
            and account_id in {None, token.family.account.account_id}
        ]
        for token in ended:
            token.end(state)
        return len(ended)

    def _mint_refresh_token(self, family: Family) -> None:
        token = f"sandbox-rt-{family.name}-{family.number}-{secrets.token_hex(12)}"
        self._refresh_tokens[token] = RefreshToken(family, family.number)
        family.issue_refresh_token(token)

    def _mint_grant(self, family: Family, issued_seconds_ago: float) -> Grant:
        """Return a grant of the family's live refresh token and a new access token."""
        grant = mint_grant(
            family.account,
            family.current,
            issued_at=int(self._now() - issued_seconds_ago),
            lifetime_seconds=self.access_lifetime_seconds,
        )
        self._access_tokens[grant.access_token] = AccessToken(family, grant.expires_at)
        family.issue(grant)
        return grant
