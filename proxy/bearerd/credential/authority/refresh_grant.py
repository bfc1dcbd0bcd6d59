"""The refresh grant: one call, and what each response to it means.

Sources: RFC 6749 section 6 for the grant; Codex's `request_chatgpt_token_refresh` and
`extract_refresh_token_error_code` (codex-rs login/src/auth/manager.rs) for the JSON body
and the error codes. The codes have this meaning in a response of the authority only: in
one of the upstream, `token_expired` is the everyday reason to refresh, and here it is
final.

Nothing is sent twice. Whether to try again is decided where the store's lock is held.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final, Literal, Protocol, TypeAlias

from bearerd.credential.authority.client import AuthorityClient
from bearerd.credential.authority.errors import (
    AuthorityFailure,
    CallFailed,
    CallStage,
)
from bearerd.credential.authority.response import error_code, is_success, text_field
from bearerd.credential.token import Credential, account_claim, claims, expiry
from bearerd.events import RefreshOutcome
from bearerd.json_object import json_object

RefusalReason: TypeAlias = Literal["expired", "reused", "revoked", "other"]

REFUSALS: Final[Mapping[str, RefusalReason]] = {
    "refresh_token_expired": "expired",
    "refresh_token_reused": "reused",
    "refresh_token_invalidated": "revoked",
    # RFC 6749 section 5.2: no later try with the same token or client can succeed.
    "invalid_grant": "other",
    "invalid_client": "other",
    "unauthorized_client": "other",
}


@dataclass(frozen=True, slots=True)
class Grant:
    """The tokens of a successful refresh. One that the response left out is None."""

    access_token: str | None = field(repr=False)
    refresh_token: str | None = field(repr=False)
    id_token: str | None = field(repr=False)

    def applied_to(self, spent: Credential, now: float) -> Credential:
        """Return *spent* with the tokens of this grant, received at *now*.

        A token that the grant left out stays: RFC 6749 section 6 keeps the old refresh
        token valid then. An id token that is no JWT counts as left out, since Codex
        would reject the file for it. *now* is in epoch seconds.
        """
        expires_at = spent.expires_at
        if self.access_token is not None:
            expires_at = expiry(self.access_token, datetime.fromtimestamp(now, UTC))
        return replace(
            spent,
            access_token=self.access_token or spent.access_token,
            refresh_token=self.refresh_token or spent.refresh_token,
            id_token=self.id_token if claims(self.id_token) else spent.id_token,
            expires_at=expires_at,
        )

    def names_another_account(self, spent: Credential) -> bool:
        """Return True if these tokens are for an account that *spent* is not for.

        The claims of the new tokens are compared with those of the old ones too:
        `account_id` may be a workspace that a person chose, and then it differs from the
        claims of both. False where one side names no account.
        """
        known = {account_claim(spent.access_token), account_claim(spent.id_token)}
        known = {spent.account_id, *known} - {None}
        new = {account_claim(self.access_token), account_claim(self.id_token)} - {None}
        return bool(known) and not new <= known


class Authority(Protocol):
    """The authorization server, as far as the refresher knows it."""

    async def refresh(self, refresh_token: str) -> Grant:
        """Present *refresh_token* once, and return the tokens that it gives.

        Raises:
            AuthorityFailure: `refused` for good (its reason is a `RefusalReason`),
                `undelivered` (the token is unspent) or `unclear` (it may be spent).
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
    ) -> None:
        self._client = client
        self._received = received

    async def refresh(self, refresh_token: str) -> Grant:
        """Send the refresh grant as JSON, as Codex does. See `Authority.refresh`."""
        body = {
            "client_id": self._client.client_id,
            "grant_type": "refresh_token",
            "refresh_token": refresh_token,
        }
        try:
            response = await self._client.request(
                "POST", self._client.token_url, json=body, received=self._received
            )
        except CallFailed as failure:
            outcome: RefreshOutcome = (
                "unclear" if failure.stage is CallStage.SENT else "undelivered"
            )
            raise AuthorityFailure(outcome, failure.reason) from failure
        return interpret(response.status, response.headers, response.content)


def interpret(status: int, headers: Mapping[str, str], content: bytes) -> Grant:
    """Return the grant in a response, or raise what the response means.

    1. An error code of `REFUSALS`, with any status: refused for good.
    2. 2xx with an access token or a refresh token: the grant.
    3. Any other 2xx: unclear. Something answered, perhaps an intermediary, and the
       authority may have spent the token.
    4. 401: refused for good, as Codex has it.
    5. 5xx: unclear.
    6. Any other status: undelivered. The authority did not act on the request.

    *headers* takes names in any case; of them `Retry-After` is read.

    Raises:
        AuthorityFailure: see `Authority.refresh`.
    """
    document = json_object(content) or {}
    code = error_code(document)
    if code in REFUSALS:  # 1
        raise AuthorityFailure("refused", REFUSALS[code])
    if is_success(status):
        grant = Grant(
            access_token=text_field(document, "access_token"),
            refresh_token=text_field(document, "refresh_token"),
            id_token=text_field(document, "id_token"),
        )
        if grant.access_token is None and grant.refresh_token is None:  # 3
            raise AuthorityFailure("unclear", f"{status}_without_tokens")
        return grant  # 2
    if status == HTTPStatus.UNAUTHORIZED:  # 4
        raise AuthorityFailure("refused", "other")
    is_server_error = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    raise AuthorityFailure(
        "unclear" if is_server_error else "undelivered",  # 5, 6
        f"http_{status}",
        retry_after_seconds=_retry_after(headers.get("Retry-After")),
    )


def _retry_after(value: str | None) -> float | None:
    """Return Retry-After in seconds, or None.

    RFC 9110 section 10.2.3. Its other form, a date, would need the server's clock.
    """
    try:
        seconds = float(value or "")
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
