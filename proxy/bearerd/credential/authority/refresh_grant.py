"""The refresh grant: one call, and the meaning of each response to it.

Sources: RFC 6749 section 6 for the grant; Codex's `request_chatgpt_token_refresh` and
`extract_refresh_token_error_code` (codex-rs login/src/auth/manager.rs) for the JSON body
and the error codes. The codes are those of the authority. The codes of the upstream have
other meanings: its `token_expired` is the usual reason to refresh.

Nothing is sent twice. The holder of the store's lock decides about a retry.
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
"""The error codes about the token. They end the login."""

CLIENT_ERRORS: Final = frozenset({"invalid_client", "unauthorized_client"})
"""The error codes about the client (RFC 6749 section 5.2): the settings are wrong."""

INTERMEDIARY_STATUSES: Final = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
    }
)
"""Without an error code, an intermediary sends them, or the authority in an incident."""

BUSY_STATUSES: Final = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_EARLY,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)
"""Temporary: the fast pace and Retry-After apply."""

CALL_TIMEOUT_SECONDS: Final = 300.0
"""How long the authority may take to respond. No caller waits that long. But an aborted
call discards the only copy of the next refresh token, and an overloaded authority is slow
for all callers. Codex sets no timeout."""

SEND_WITHIN_SECONDS: Final = 30.0
"""If connecting took longer than this, which is longer than its timeout, the process was
stopped in the meantime. Then the request is not sent, and the refresh starts again."""

RETRY_AFTER_DIGITS: Final = 9
"""Nine digits of seconds are 31 years; a longer Retry-After is ignored."""


@dataclass(frozen=True, slots=True)
class Grant:
    """The tokens of a successful response; None for one that it did not contain.

    *issued_at* is the Date of the response in epoch seconds, or None.
    """

    access_token: str | None = field(repr=False)
    refresh_token: str | None = field(repr=False)
    id_token: str | None = field(repr=False)
    issued_at: float | None = None

    def applied_to(self, presented: Credential, now: float) -> Credential:
        """Return *presented* with the tokens of this grant; a missing token is kept.

        RFC 6749 section 6: without a new refresh token the old one remains valid. An id
        token that cannot be decoded, or that names another account than the access
        token, does not replace the old one. If the grant is for another account, the
        account, the user and the id token of *presented* are dropped: they do not belong
        to the new tokens. *now* is the time of the refresh.
        """
        expires_at = presented.expires_at
        if self.access_token is not None:
            expires_at = expiry(self.access_token, datetime.fromtimestamp(now, UTC))
        base = presented
        if self.names_another_account(presented):
            base = replace(presented, account_id=None, user_id=None, id_token=None)
        id_token = self.id_token if self._has_matching_id_token() else None
        return replace(
            base,
            access_token=self.access_token or presented.access_token,
            refresh_token=self.refresh_token or presented.refresh_token,
            id_token=id_token or base.id_token,
            # It may be a workspace that a person selected, which no claim contains.
            account_id=base.account_id or self._account_id(),
            user_id=base.user_id
            or user_claim(id_token)
            or user_claim(self.access_token),
            expires_at=expires_at,
            refreshed_at=now,
        )

    def names_another_account(self, presented: Credential) -> bool:
        """Return True if the grant is for another account than *presented*.

        The access token decides, because it is sent to the upstream. The id token
        decides only if the access token names no account. The account is compared with
        `account_id` and with the claims of both old tokens: `account_id` may be a
        workspace that a person selected, which no claim contains.
        """
        known_ids = {presented.account_id, account_claim(presented.access_token)}
        if is_of_one_account(presented.access_token, presented.id_token):
            known_ids.add(account_claim(presented.id_token))
        known_ids.discard(None)
        account_id = self._account_id()
        return (
            bool(known_ids) and account_id is not None and account_id not in known_ids
        )

    def _account_id(self) -> str | None:
        return account_claim(self.access_token) or account_claim(self.id_token)

    def _has_matching_id_token(self) -> bool:
        return bool(claims(self.id_token)) and is_of_one_account(
            self.access_token, self.id_token
        )


class Authority(Protocol):
    """The authorization server, as the refresher uses it."""

    async def refresh(self, refresh_token: str) -> Grant:
        """Present *refresh_token* once, and return the issued tokens.

        Raises:
            AuthorityFailure: there are no tokens; `outcome` implies whether the token is
                spent.
        """


class RefreshGrant:
    """The refresh grant over HTTP: an `Authority`.

    *on_body* is called with each part of the body of a successful response as it
    arrives, before it is processed.
    """

    def __init__(
        self,
        client: AuthorityClient,
        *,
        on_body: Callable[[bytes], None] = lambda _part: None,
        timeout_seconds: float = CALL_TIMEOUT_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._on_body = on_body
        self._timeout_seconds = timeout_seconds
        self._monotonic = monotonic

    async def refresh(self, refresh_token: str) -> Grant:
        """Send the refresh grant as JSON, as Codex does. See `Authority.refresh`."""
        body = {
            "client_id": self._client.client_id,
            "grant_type": "refresh_token",
            "refresh_token": refresh_token,
        }
        started_at = self._monotonic()
        try:
            response = await self._client.request(
                "POST",
                self._client.token_url,
                json=body,
                timeout_seconds=self._timeout_seconds,
                may_send=lambda: self._monotonic() - started_at < SEND_WITHIN_SECONDS,
                on_body=self._on_body,
            )
        except CallFailed as failure:
            if failure.stage is CallStage.SENT:
                raise AuthorityFailure(
                    "unclear", failure.reason, is_maybe_spent=True
                ) from failure
            raise AuthorityFailure("undelivered", failure.reason) from failure
        return interpret(response.status, response.headers, response.content)


def interpret(status: int, headers: Mapping[str, str], content: bytes) -> Grant:
    """Return the grant in a response, or raise the failure that it means.

    1. An error code about the token, with any status: `refused`.
    2. An error code about the client: `misconfigured`.
    3. 2xx with an access token or a refresh token: the grant.
    4. Any other 2xx: `unclear`. An intermediary may have sent the response, and the
       authority may have spent the token.
    5. Any other 3xx or 4xx is not about the token: `rejected`, and the token is unspent.
       A 401, 403 or 407 without an error code, and a page, are retried at the slow pace.
    6. Anything else: `unclear`.

    *headers* is case-insensitive; only `Retry-After` and `Date` are used.

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
        is_intermediary = status in INTERMEDIARY_STATUSES or not document
        raise AuthorityFailure(
            "rejected",
            f"http_{status}",
            status=status,
            retry_after_seconds=retry_after,
            is_slow=is_intermediary and status not in BUSY_STATUSES,
        )
    raise AuthorityFailure(  # 6
        "unclear", f"http_{status}", status=status, retry_after_seconds=retry_after
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
        raise AuthorityFailure("unclear", f"{status}_without_tokens", status=status)
    return grant


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Return Retry-After in seconds, or None (RFC 9110 section 10.2.3).

    A date is compared with the Date of the same response, and not with the local clock.
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
