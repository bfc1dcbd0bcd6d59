"""The refresh grant: one call, and what each response to it means.

Sources: RFC 6749 section 6 for the grant; Codex's `request_chatgpt_token_refresh` and
`extract_refresh_token_error_code` (codex-rs login/src/auth/manager.rs) for the JSON body
and the error codes. The codes have this meaning in a response of the authority only: in
one of the upstream, `token_expired` is the everyday reason to refresh, and here it is
final.

Nothing is sent twice. Whether to try again is decided where the store's lock is held.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final, Literal, Protocol, TypeAlias

from bearerd.credential.authority.client import AuthorityClient
from bearerd.credential.authority.errors import (
    AuthorityFailure,
    CallFailed,
    CallStage,
)
from bearerd.credential.authority.response import error_code, is_success
from bearerd.credential.token import (
    Credential,
    account_claim,
    claims,
    expiry,
    is_of_one_account,
    user_claim,
    visible_text,
)
from bearerd.json_object import json_object

RefusalReason: TypeAlias = Literal["expired", "reused", "revoked", "other"]

REFUSALS: Final[Mapping[str, RefusalReason]] = {
    "refresh_token_expired": "expired",
    "refresh_token_reused": "reused",
    "refresh_token_invalidated": "revoked",
    # RFC 6749 section 5.2: the grant is invalid, expired, revoked, or of another client.
    "invalid_grant": "other",
}
"""The codes that speak of the token, and so end a login."""

CLIENT_ERRORS: Final = frozenset({"invalid_client", "unauthorized_client"})
"""The codes that speak of the client (RFC 6749 section 5.2): a fault of the settings."""

INTERMEDIARY_STATUSES: Final = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
    }
)
"""Without a code they come from something in between, or from an incident."""

BUSY_STATUSES: Final = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_EARLY,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)
"""They ask for patience, which the fast pace and Retry-After give."""

CALL_LIMIT_SECONDS: Final = 300.0
"""How long a call may go unanswered. No caller waits that long; but to give the call up
earlier would throw away the only copy of the next refresh token, just when an overloaded
authority is slow for everybody. Codex sets no limit at all."""

SEND_WITHIN_SECONDS: Final = 30.0
"""A connection that took longer than its own limit was made by a process that was stopped
meanwhile; what it was about to send is decided anew."""

RETRY_AFTER_DIGITS: Final = 9
"""More digits than 31 years of seconds have say nothing."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a successful refresh gave. A token that was not in the response is None.

    *issued_at* is the response's Date in epoch seconds, if it had one.
    """

    access_token: str | None = field(repr=False)
    refresh_token: str | None = field(repr=False)
    id_token: str | None = field(repr=False)
    issued_at: float | None = None

    def applied_to(self, presented: Credential, now: float) -> Credential:
        """Return *presented* with what the grant gave *now*; what it left out stays.

        RFC 6749 section 6: without a new refresh token the old one remains valid. An id
        token that cannot be decoded, or that names another account than the access
        token, does not replace the old one. Of another account's login nothing stays but
        the tokens that the grant left out, so that no name of one account goes with the
        tokens of the other.
        """
        expires_at = presented.expires_at
        if self.access_token is not None:
            expires_at = expiry(self.access_token, datetime.fromtimestamp(now, UTC))
        known = presented
        if self.names_another_account(presented):
            known = replace(presented, account_id=None, user_id=None, id_token=None)
        id_token = self.id_token if self._has_fitting_id_token() else None
        return replace(
            known,
            access_token=self.access_token or presented.access_token,
            refresh_token=self.refresh_token or presented.refresh_token,
            id_token=id_token or known.id_token,
            # It may be a workspace that a person chose, and differ from the claims.
            account_id=known.account_id or self._account_id(),
            user_id=known.user_id
            or user_claim(id_token)
            or user_claim(self.access_token),
            expires_at=expires_at,
            refreshed_at=now,
        )

    def names_another_account(self, presented: Credential) -> bool:
        """Return True if the grant is for an account that *presented* is not for.

        The access token decides, since it is what the upstream sees; only if it names no
        account, the id token does. Tokens are compared with tokens: `account_id` may be
        a workspace that a person chose, and then differs from the claim in both.
        """
        known = {presented.account_id, account_claim(presented.access_token)}
        if is_of_one_account(presented.access_token, presented.id_token):
            known.add(account_claim(presented.id_token))
        known.discard(None)
        named = self._account_id()
        return bool(known) and named is not None and named not in known

    def _account_id(self) -> str | None:
        return account_claim(self.access_token) or account_claim(self.id_token)

    def _has_fitting_id_token(self) -> bool:
        return bool(claims(self.id_token)) and is_of_one_account(
            self.access_token, self.id_token
        )


class Authority(Protocol):
    """The authorization server, as far as the refresher knows it."""

    async def refresh(self, refresh_token: str) -> Grant:
        """Present *refresh_token* once, and return the tokens that it gives.

        Raises:
            AuthorityFailure: its outcome says whether the token is spent, and what
                could help.
        """


class RefreshGrant:
    """The refresh grant over HTTP: an `Authority`.

    *received* gets each part of the body of a successful response as it arrives, before
    anything else is done with it.
    """

    def __init__(
        self,
        client: AuthorityClient,
        *,
        received: Callable[[bytes], None] = lambda _part: None,
        limit_seconds: float = CALL_LIMIT_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._received = received
        self._limit_seconds = limit_seconds
        self._monotonic = monotonic

    async def refresh(self, refresh_token: str) -> Grant:
        """Send the refresh grant as JSON, as Codex does. See `Authority.refresh`."""
        body = {
            "client_id": self._client.client_id,
            "grant_type": "refresh_token",
            "refresh_token": refresh_token,
        }
        began = self._monotonic()
        try:
            response = await self._client.request(
                "POST",
                self._client.token_url,
                json=body,
                timeout_seconds=self._limit_seconds,
                may_send=lambda: self._monotonic() - began < SEND_WITHIN_SECONDS,
                received=self._received,
            )
        except CallFailed as failure:
            if failure.stage is CallStage.SENT:
                raise AuthorityFailure(
                    "unclear", failure.reason, is_maybe_spent=True
                ) from failure
            raise AuthorityFailure("undelivered", failure.reason) from failure
        return interpret(response.status, response.headers, response.content)


def interpret(status: int, headers: Mapping[str, str], content: bytes) -> Grant:
    """Return the grant in a response, or raise what the response means.

    1. An error code that speaks of the token, with any status: refused for good.
    2. An error code that speaks of the client: a fault of the settings.
    3. 2xx with an access token or a refresh token: the grant.
    4. Any other 2xx: unclear. Something answered, perhaps an intermediary, and the
       authority may have spent the token.
    5. Any other 4xx says nothing about the token: rejected, and nothing was spent. A
       401, 403 or 407 without a code, or a page, is asked again at the slow pace.
    6. Anything else: unclear.

    *headers* takes names in any case; of them `Retry-After` and `Date` are read.

    Raises:
        AuthorityFailure: see `Authority.refresh`.
    """
    document = json_object(content) or {}
    code = error_code(document)
    if code in REFUSALS:  # 1
        raise AuthorityFailure("refused", REFUSALS[code])
    if code in CLIENT_ERRORS:  # 2
        raise AuthorityFailure("misconfigured", code, is_slow=True)
    if is_success(status):
        return _grant(status, headers, document)  # 3, 4
    retry_after = retry_after_seconds(headers)
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:  # 5
        is_foreign = status in INTERMEDIARY_STATUSES or not document
        raise AuthorityFailure(
            "rejected",
            f"http_{status}",
            retry_after_seconds=retry_after,
            is_slow=is_foreign and status not in BUSY_STATUSES,
        )
    raise AuthorityFailure(  # 6
        "unclear", f"http_{status}", retry_after_seconds=retry_after
    )


def _grant(
    status: int, headers: Mapping[str, str], document: Mapping[str, Any]
) -> Grant:
    grant = Grant(
        access_token=visible_text(document.get("access_token")),
        refresh_token=visible_text(document.get("refresh_token")),
        id_token=visible_text(document.get("id_token")),
        issued_at=_http_date(headers.get("Date")),
    )
    if grant.access_token is None and grant.refresh_token is None:
        raise AuthorityFailure("unclear", f"{status}_without_tokens")
    return grant


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Return Retry-After in seconds, or None (RFC 9110 section 10.2.3).

    A date counts from the response's own Date, so that no two clocks are compared.
    """
    value = (headers.get("Retry-After") or "").strip()
    if value.isascii() and value.isdigit() and len(value) <= RETRY_AFTER_DIGITS:
        return float(value)
    until, sent_at = _http_date(value), _http_date(headers.get("Date"))
    if until is None or sent_at is None:
        return None
    return max(0.0, until - sent_at)


def _http_date(value: str | None) -> float | None:
    """Return an HTTP-date (RFC 9110 section 5.6.7) in epoch seconds, or None."""
    try:
        return parsedate_to_datetime(value or "").timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
