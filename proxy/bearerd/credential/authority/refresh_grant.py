"""The authorization server: the refresh grant, and what its responses mean.

Sources: RFC 6749 section 6 for the grant; Codex's `request_chatgpt_token_refresh` and
`extract_refresh_token_error_code` (codex-rs login/src/auth/manager.rs) for the JSON body
and the codes. These codes mean nothing in a response of the upstream: `token_expired`
there is every day's trigger, and here it is the end.

Nothing is sent twice here. Whether to try again is decided where the lock is held.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal, Protocol, TypeAlias

import aiohttp

from bearerd.credential.authority.errors import AuthorityFailure
from bearerd.credential.token import (
    Credential,
    account_claim,
    claims,
    expiry,
    user_claim,
    visible_text,
)

RESPONSE_LIMIT_BYTES = 1 << 20
"""A real response has about 6 KiB. OpenClaw caps at 1 MiB too."""

CONNECT_TIMEOUT_SECONDS = 10.0

LATE_TIMER_SECONDS = 0.25
"""A process that stood still finds the timer over and the response there, both at once;
the timer alone must not decide that the response is lost."""

RefusalReason: TypeAlias = Literal["expired", "reused", "revoked", "other"]

REFUSALS: Mapping[str, RefusalReason] = {
    "refresh_token_expired": "expired",
    "refresh_token_reused": "reused",
    "refresh_token_invalidated": "revoked",
    # RFC 6749 section 5.2: the grant is invalid, expired, revoked, or of another client.
    "invalid_grant": "other",
}
"""The codes that speak of the token, and so end a login."""

CLIENT_ERRORS = frozenset({"invalid_client", "unauthorized_client"})
"""The codes that speak of the client (RFC 6749 section 5.2): a fault of the settings."""

NOT_ABOUT_TOKEN = frozenset({401, 403, 407})
BUSY = frozenset({408, 425, 429})
"""Statuses of an authority, or of something in between, that asks for patience."""


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
        token, does not replace the old one.
        """
        expires_at = presented.expires_at
        if self.access_token is not None:
            expires_at = expiry(self.access_token, datetime.fromtimestamp(now, UTC))
        account_id = self._account_id() or presented.account_id
        if not self.names_another_account(presented):
            # It may be a workspace that a person chose, and differ from the claims.
            account_id = presented.account_id or account_id
        id_token = self.id_token if self._has_fitting_id_token() else None
        return replace(
            presented,
            access_token=self.access_token or presented.access_token,
            refresh_token=self.refresh_token or presented.refresh_token,
            id_token=id_token or presented.id_token,
            account_id=account_id,
            user_id=presented.user_id or user_claim(id_token),
            expires_at=expires_at,
            refreshed_at=now,
        )

    def names_another_account(self, presented: Credential) -> bool:
        """Return True if the grant is for an account that *presented* is not for.

        The access token decides, since it is what the upstream sees; only if it names no
        account, the id token does. Tokens are compared with tokens: `account_id` may be
        a workspace that a person chose, and then differs from the claim in both.
        """
        known = {
            presented.account_id,
            account_claim(presented.access_token),
            account_claim(presented.id_token),
        } - {None}
        named = self._account_id()
        return bool(known) and named is not None and named not in known

    def _account_id(self) -> str | None:
        return account_claim(self.access_token) or account_claim(self.id_token)

    def _has_fitting_id_token(self) -> bool:
        if not claims(self.id_token):
            return False
        of_access, of_id = (
            account_claim(self.access_token),
            account_claim(self.id_token),
        )
        return None in (of_access, of_id) or of_access == of_id


class Authority(Protocol):
    """Whoever can turn a refresh token into a new credential."""

    async def refresh(self, refresh_token: str) -> Grant:
        """Spend *refresh_token*, once.

        Raises:
            AuthorityFailure: `refused` for good (reason: a `RefusalReason`),
                `undelivered` (the token is unspent) or `unclear` (it may be spent).
        """


class HttpAuthority:
    """The authority over HTTP. Owns nothing; the session belongs to the service.

    *received* gets what comes in of a grant, before anything else is done with it.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        token_url: str,
        client_id: str,
        timeout_seconds: float,
        proxy_url: str | None = None,
        received: Callable[[bytes], None] | None = None,
    ) -> None:
        self._received = received or _ignore
        # As on the upstream leg, loopback is reached directly.
        self._proxy_url = proxy_url if token_url.startswith("https:") else None
        self._session = session
        self._token_url = token_url
        self._client_id = client_id
        self._timeout_seconds = timeout_seconds
        self._timeout = aiohttp.ClientTimeout(
            total=None,  # `refresh` sees to it
            # Less than the whole, so that it is known that nothing was sent: until
            # then the name is looked up, and TLS agreed.
            connect=min(CONNECT_TIMEOUT_SECONDS, timeout_seconds / 2),
        )

    async def refresh(self, refresh_token: str) -> Grant:
        """Send the refresh grant as JSON, as Codex does. See `Authority.refresh`."""
        calling = asyncio.ensure_future(self._call(refresh_token))
        try:
            for seconds in (self._timeout_seconds, LATE_TIMER_SECONDS):
                await asyncio.wait({calling}, timeout=seconds)
        finally:
            if not calling.done():
                calling.cancel()
                await asyncio.wait({calling})
        if calling.cancelled():
            raise AuthorityFailure("unclear", "TimeoutError")
        return calling.result()

    async def _call(self, refresh_token: str) -> Grant:
        body = {
            "client_id": self._client_id,
            "grant_type": "refresh_token",
            "refresh_token": refresh_token,
        }
        try:
            async with self._session.post(
                self._token_url,
                json=body,
                timeout=self._timeout,
                allow_redirects=False,
                proxy=self._proxy_url,
            ) as response:
                is_grant = 200 <= response.status < 300  # noqa: PLR2004
                keep = self._received if is_grant else _ignore
                content = await _capped(response.content, keep)
                return interpret(response.status, response.headers, content)
        except (
            aiohttp.ClientConnectorError,  # DNS, refused, and TLS beneath it
            aiohttp.ClientHttpProxyError,  # the proxy answered, not the authority
            aiohttp.ConnectionTimeoutError,
            aiohttp.InvalidURL,
        ) as error:
            raise AuthorityFailure("undelivered", _kind(error)) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise AuthorityFailure("unclear", _kind(error)) from error


def interpret(status: int, headers: Mapping[str, str], content: bytes) -> Grant:
    """Return the grant in a response, or raise what the response means.

    1. A code that speaks of the token is a refusal for good.
    2. A code that speaks of the client is a fault of the settings.
    3. A 2xx with a token is a grant; without one, something may have been spent.
    4. Any other 4xx says nothing about the token: nothing was spent. A 401, 403 or 407,
       or a page, comes from something in between or from an incident: asked again slowly.
    5. Anything else may have acted on the token.

    Raises:
        AuthorityFailure: see `Authority.refresh`.
    """
    document = _json_object(content)
    code = error_code(document)
    if code in REFUSALS:  # 1
        raise AuthorityFailure("refused", REFUSALS[code])
    if code in CLIENT_ERRORS and not is_success(status):  # 2
        raise AuthorityFailure("misconfigured", code, is_slow=True)
    if is_success(status):  # 3
        return _grant(status, headers, document)
    retry_after = retry_after_seconds(headers)
    if 400 <= status < 500:  # noqa: PLR2004 - 4, RFC 9110 section 15.5
        is_slow = status in NOT_ABOUT_TOKEN or not document
        raise AuthorityFailure(
            "rejected",
            f"http_{status}",
            retry_after_seconds=retry_after,
            is_slow=is_slow and status not in BUSY,
        )
    raise AuthorityFailure(  # 5
        "unclear", f"http_{status}", retry_after_seconds=retry_after
    )


def _grant(
    status: int, headers: Mapping[str, str], document: Mapping[str, Any]
) -> Grant:
    grant = Grant(
        access_token=visible_text(document.get("access_token")),
        refresh_token=visible_text(document.get("refresh_token")),
        id_token=visible_text(document.get("id_token")),
        issued_at=_date(headers.get("Date")),
    )
    if grant.access_token is None and grant.refresh_token is None:
        # Something answered, perhaps something in between; the token may be spent.
        raise AuthorityFailure("unclear", f"{status}_without_tokens")
    return grant


def is_success(status: int) -> bool:
    """Return True for a 2xx (RFC 9110 section 15.3)."""
    return 200 <= status < 300  # noqa: PLR2004


def error_code(document: Mapping[str, Any]) -> str:
    """Return the error code in lower case, or "".

    `error.code` in OpenAI's form, `error` in RFC 6749's, else a `code` at the top.
    """
    error = document.get("error")
    if isinstance(error, Mapping):
        code = error.get("code")
    else:
        code = error if isinstance(error, str) else document.get("code")
    return code.lower() if isinstance(code, str) else ""


def _ignore(_part: bytes) -> None:
    """Keep nothing of a response that grants nothing."""


async def _capped(
    content: aiohttp.StreamReader, keep: Callable[[bytes], None]
) -> bytes:
    body = bytearray()
    async for chunk in content.iter_any():
        keep(chunk)
        body += chunk
        if len(body) > RESPONSE_LIMIT_BYTES:
            raise AuthorityFailure("unclear", "answer_too_large")
    return bytes(body)


def _json_object(content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def retry_after_seconds(
    headers: Mapping[str, str], now: float | None = None
) -> float | None:
    """Return Retry-After in seconds; it may be a number or a date (RFC 9110 10.2.3).

    A date is relative to the response's own Date, so that no two clocks are compared;
    without one, to *now*.
    """
    value = headers.get("Retry-After") or ""
    if value.strip().isdigit() and len(value) < 10:  # noqa: PLR2004 - 31 years
        return float(value)
    moment = _date(value)
    sent_at = _date(headers.get("Date"))
    start = sent_at if sent_at is not None else now
    if moment is None or start is None:
        return None
    return max(0.0, moment - start)


def _date(value: str | None) -> float | None:
    """Return an HTTP-date (RFC 9110 section 5.6.7) in epoch seconds, or None."""
    try:
        return parsedate_to_datetime(value or "").timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _kind(error: BaseException) -> str:
    """Name a transport error without its text, which may quote a URL."""
    if isinstance(error, TimeoutError):
        return "TimeoutError"  # its cause is how the timer stopped us
    cause = error.__cause__ or getattr(error, "os_error", None) or error
    return type(cause).__name__
