"""The decision on a token call: its grant or its error, and whether a token is spent.

RFC 6749 section 5.2 defines the errors. Of HTTP, only the body's fields are used here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from bearerd.sandbox.authority.clients import ClientRegistry
from bearerd.sandbox.authority.fault_responses import malformed, with_token
from bearerd.sandbox.authority.faults import AuthorityFault, Spending
from bearerd.sandbox.authority.grant import Account, Grant, TokenError
from bearerd.sandbox.authority.sign_in import SignIn
from bearerd.sandbox.authority.token_registry import TokenRegistry
from bearerd.sandbox.request_body import FIELD_TYPES

GRANT_TYPES = frozenset({"authorization_code", "refresh_token"})


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """The body of a token call, and its media type."""

    fields: Mapping[str, str]
    media_type: str

    @property
    def grant_type(self) -> str:
        """The requested grant type; empty if the field is missing."""
        return self.fields.get("grant_type", "")

    @property
    def refresh_token(self) -> str:
        """The presented refresh token; empty if the field is missing."""
        return self.fields.get("refresh_token", "")


class IssueResult(NamedTuple):
    """The result of a token call.

    `grant` is None if the response contains none. `is_rotated` is True if this call has
    spent the presented refresh token.
    """

    grant: Grant | None
    outcome: str
    is_rotated: bool = False


class Issuer:
    """Issues grants from the registry, the sign-in and the clients. Owns no state."""

    def __init__(
        self, registry: TokenRegistry, sign_in: SignIn, clients: ClientRegistry
    ) -> None:
        self._registry = registry
        self._sign_in = sign_in
        self._clients = clients

    def issue(self, request: TokenRequest, fault: AuthorityFault) -> IssueResult:
        """Spend the presented token, as the fault requires, and return the result.

        Raises:
            TokenError: the request is refused.
        """
        if fault.spending is Spending.NEVER and not fault.needs_grant:
            return IssueResult(None, "unspent")
        self._require_acceptable(request)
        if request.grant_type == "authorization_code":
            issued = IssueResult(self._sign_in.redeem(request.fields), "signed_in")
        else:
            issued = self._refresh(request.refresh_token, fault)
        if issued.grant is None:
            return issued
        return issued._replace(grant=self._altered(issued.grant, fault))

    def _require_acceptable(self, request: TokenRequest) -> None:
        """Raise TokenError for errors that a server detects before it checks the grant."""
        if request.media_type not in FIELD_TYPES or not request.grant_type:
            raise TokenError("invalid_request")
        if not self._clients.is_registered(request.fields.get("client_id", "")):
            raise TokenError("invalid_client")
        if request.grant_type not in GRANT_TYPES:
            raise TokenError("unsupported_grant_type")
        if request.grant_type == "refresh_token" and not request.refresh_token:
            raise TokenError("invalid_request")

    def _refresh(self, refresh_token: str, fault: AuthorityFault) -> IssueResult:
        """Spend a refresh token, or do what the fault requires instead."""
        if fault.spending is Spending.ENDS_FAMILY:
            self._registry.end_family(refresh_token, fault.code)
            return IssueResult(None, fault.code)
        if fault.spending is Spending.NEVER:
            grant = self._registry.renew_access_token(refresh_token)
            return IssueResult(grant, "not_rotated")
        before = self._registry.refreshes
        grant = self._registry.rotate(
            refresh_token,
            issued_seconds_ago=fault.issued_seconds_ago or 0,
            is_cached=fault.kind == "cached_grant" and fault.issued_seconds_ago is None,
        )
        is_rotated = self._registry.refreshes > before
        return IssueResult(grant, "rotated" if is_rotated else "tolerated", is_rotated)

    def _altered(self, grant: Grant, fault: AuthorityFault) -> Grant:
        """Return the grant with the tokens that the fault replaces."""
        if fault.kind == "other_account":
            foreign = self._registry.sign_in(Account(fault.account_id))
            if fault.foreign_tokens == "all":
                return foreign
            name = fault.foreign_tokens
            return with_token(grant, name, getattr(foreign, name))
        if fault.kind == "malformed_token":
            token: str = getattr(grant, fault.token)
            alias = malformed(token, fault.defect)
            if alias:
                self._registry.add_alias(token, alias)
            return with_token(grant, fault.token, alias)
        return grant
