"""The authorization server: the refresh grant, and what its responses mean.

Sources: RFC 6749 section 6 for the grant; Codex's `request_chatgpt_token_refresh` and
`extract_refresh_token_error_code` (codex-rs login/src/auth/manager.rs) for the JSON body
and the codes. These codes mean nothing in a response of the upstream: `token_expired`
there is every day's trigger, and here it is the end.

Nothing is sent twice here. Whether to try again is decided where the lock is held.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, Protocol, TypeAlias

import aiohttp

from bearerd.credential.token import Credential, account_claim, claims, expiry
from bearerd.events import RefreshOutcome
from bearerd.json_object import json_object

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
    # RFC 6749 section 5.2: no later try with the same token or client can succeed.
    "invalid_grant": "other",
    "invalid_client": "other",
    "unauthorized_client": "other",
}


@dataclass(frozen=True, slots=True)
class Grant:
    """What a successful refresh gave. A token that was not in the response is None."""

    access_token: str | None = field(repr=False)
    refresh_token: str | None = field(repr=False)
    id_token: str | None = field(repr=False)

    def applied_to(self, spent: Credential, now: float) -> Credential:
        """Return *spent* with what the grant gave *now*; what it left out stays.

        RFC 6749 section 6: without a new refresh token the old one remains valid.
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
        """Say whether these tokens are for an account that *spent* is not for.

        Tokens are compared with tokens: `account_id` may be a workspace that a person
        chose, and then differs from the claim in both.
        """
        known = {account_claim(spent.access_token), account_claim(spent.id_token)}
        known = {spent.account_id, *known} - {None}
        new = {account_claim(self.access_token), account_claim(self.id_token)} - {None}
        return bool(known) and not new <= known


class AuthorityFailure(Exception):
    """No grant. `outcome` is the delivery class and `reason` a code, never a body."""

    def __init__(
        self,
        outcome: RefreshOutcome,
        reason: str,
        *,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(f"{outcome}: {reason}")
        self.outcome = outcome
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds


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

    Raises:
        AuthorityFailure: see `Authority.refresh`.
    """
    document = json_object(content) or {}
    code = error_code(document)
    if code in REFUSALS:
        raise AuthorityFailure("refused", REFUSALS[code])
    if 200 <= status < 300:  # noqa: PLR2004 - RFC 9110 section 15.3
        grant = Grant(
            *(
                _text(document, name)
                for name in ("access_token", "refresh_token", "id_token")
            )
        )
        if grant.access_token is None and grant.refresh_token is None:
            # Something was answered, perhaps by something in between; the token may
            # be spent.
            raise AuthorityFailure("unclear", f"{status}_without_tokens")
        return grant
    if status == 401:  # noqa: PLR2004 - RFC 9110 section 15.5.2
        raise AuthorityFailure("refused", "other")
    outcome: RefreshOutcome = "unclear" if status >= 500 else "undelivered"  # noqa: PLR2004
    raise AuthorityFailure(
        outcome,
        f"http_{status}",
        retry_after_seconds=_retry_after(headers.get("Retry-After")),
    )


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


def _text(document: Mapping[str, Any], name: str) -> str | None:
    value = document.get(name)
    return value if isinstance(value, str) and value else None


def _retry_after(value: str | None) -> float | None:
    """Return the delay-seconds form of Retry-After (RFC 9110 section 10.2.3)."""
    try:
        seconds = float(value or "")
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _kind(error: BaseException) -> str:
    """Name a transport error without its text, which may quote a URL."""
    if isinstance(error, TimeoutError):
        return "TimeoutError"  # its cause is how the timer stopped us
    cause = error.__cause__ or getattr(error, "os_error", None) or error
    return type(cause).__name__
