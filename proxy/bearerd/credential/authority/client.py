"""The authority's endpoints for signing in and out, as Codex calls them.

Sources: codex-rs login/src/server.rs (the code exchange), device_code_auth.rs and
auth/revoke.rs. What happens between the calls is `browser` and `device`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from bearerd.credential.authority.pkce import SignInFailed
from bearerd.credential.authority.refresh_grant import error_code
from bearerd.credential.token import (
    Credential,
    account_claim,
    claims,
    expiry,
    user_claim,
)
from bearerd.json_object import json_object

CALL_SECONDS: Final = 30.0
REVOKE_SECONDS: Final = 10.0
"""Codex waits as long; the sign-out happens here in any case."""

PENDING: Final = frozenset({403, 404})
"""What the device endpoint answers until the code has been typed in."""

LEAST_INTERVAL_SECONDS: Final = 1.0
USUAL_INTERVAL_SECONDS: Final = 5.0
"""RFC 8628 section 3.2, where the response names none."""

LONGEST_INTERVAL_SECONDS: Final = 60.0
NOT_FOUND: Final = 404


@dataclass(frozen=True, slots=True)
class AuthorizationCode:
    """An authorization code, and what it takes to redeem it."""

    code: str = field(repr=False)
    verifier: str = field(repr=False)
    redirect_uri: str


@dataclass(frozen=True, slots=True)
class DeviceAuthorization:
    """A device that asks to be let in: `user_code` is for a person, the id is not."""

    device_auth_id: str = field(repr=False)
    user_code: str
    interval_seconds: float
    page: str


class SignInAuthority:
    """The authority, as somebody who signs in sees it. Owns nothing."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        issuer_url: str,
        token_url: str,
        client_id: str,
    ) -> None:
        self.issuer_url = issuer_url
        self.client_id = client_id
        self._session = session
        self._token_url = token_url

    async def start_device(self) -> DeviceAuthorization:
        """Ask for a code that a person can type in elsewhere.

        Raises:
            SignInFailed: no code is given.
        """
        url = f"{self.issuer_url}/api/accounts/deviceauth/usercode"
        status, document = await self._post(url, json={"client_id": self.client_id})
        if status == NOT_FOUND:
            raise SignInFailed(
                f"{self.issuer_url} has no sign-in by device code; use `bearerd login` "
                "without --device"
            )
        device_auth_id = document.get("device_auth_id")
        user_code = document.get("user_code") or document.get("usercode")
        if not _is_ok(status) or not device_auth_id or not user_code:
            raise self._refused("gave no device code", status, document)
        return DeviceAuthorization(
            str(device_auth_id),
            str(user_code),
            _interval(document.get("interval")),
            f"{self.issuer_url}/codex/device",
        )

    async def poll_device(
        self, device: DeviceAuthorization
    ) -> AuthorizationCode | None:
        """Return the code once the person has typed theirs in; None until then.

        Raises:
            SignInFailed: it will come no more.
        """
        status, document = await self._post(
            f"{self.issuer_url}/api/accounts/deviceauth/token",
            json={
                "device_auth_id": device.device_auth_id,
                "user_code": device.user_code,
            },
        )
        if status in PENDING:
            return None
        code, verifier = (
            document.get("authorization_code"),
            document.get("code_verifier"),
        )
        if not _is_ok(status) or not code or not verifier:
            raise self._refused("ended the sign-in by device code", status, document)
        redirect_uri = f"{self.issuer_url}/deviceauth/callback"
        return AuthorizationCode(str(code), str(verifier), redirect_uri)

    async def redeem(self, code: AuthorizationCode) -> Credential:
        """Return the credential that *code* stands for (RFC 6749 section 4.1.3).

        Raises:
            SignInFailed: it is good for none, or not for a whole one.
        """
        status, document = await self._post(
            self._token_url,
            data={
                "grant_type": "authorization_code",
                "code": code.code,
                "redirect_uri": code.redirect_uri,
                "client_id": self.client_id,
                "code_verifier": code.verifier,
            },
        )
        names = ("access_token", "refresh_token", "id_token")
        tokens = {name: document.get(name) for name in names}
        is_whole = all(isinstance(one, str) and one for one in tokens.values())
        if not _is_ok(status) or not is_whole or not claims(tokens["id_token"]):
            raise self._refused("gave no login for the sign-in", status, document)
        access_token, id_token = str(tokens["access_token"]), str(tokens["id_token"])
        return Credential(
            access_token=access_token,
            refresh_token=str(tokens["refresh_token"]),
            account_id=account_claim(id_token) or account_claim(access_token),
            user_id=user_claim(id_token) or user_claim(access_token),
            id_token=id_token,
            expires_at=expiry(access_token, None),
        )

    async def revoke(self, credential: Credential) -> None:
        """Sign *credential* out at the authority (RFC 7009).

        Raises:
            SignInFailed: it was not reached, or did not want to.
        """
        body = {
            "token": credential.refresh_token,
            "token_type_hint": "refresh_token",
            "client_id": self.client_id,
        }
        if not credential.refresh_token:
            body = {
                "token": credential.access_token,
                "token_type_hint": "access_token",
            }
        status, document = await self._post(
            f"{self.issuer_url}/oauth/revoke", json=body, timeout_seconds=REVOKE_SECONDS
        )
        if not _is_ok(status):
            raise self._refused("did not revoke the login", status, document)

    async def _post(
        self,
        url: str,
        *,
        json: Mapping[str, str] | None = None,
        data: Mapping[str, str] | None = None,
        timeout_seconds: float = CALL_SECONDS,
    ) -> tuple[int, dict[str, Any]]:
        """Return status and JSON object; a response that is none counts as empty."""
        try:
            async with self._session.post(
                url,
                json=json,
                data=data,
                timeout=aiohttp.ClientTimeout(total=timeout_seconds),
                allow_redirects=False,
            ) as response:
                return response.status, json_object(await response.read()) or {}
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            cause = getattr(error, "os_error", None) or error.__cause__ or error
            raise AuthorityUnreached(
                f"{self.issuer_url} was not reached ({type(cause).__name__}); look at "
                "the network with `bearerd doctor --online`"
            ) from error

    def _refused(
        self, what: str, status: int, document: dict[str, Any]
    ) -> SignInFailed:
        code = error_code(document)
        why = f"status {status}, {code}" if code else f"status {status}"
        return SignInFailed(
            f"{self.issuer_url} {what} ({why}); try `bearerd login` again"
        )


class AuthorityUnreached(SignInFailed):
    """The authority was not reached; worth another try."""


def _is_ok(status: int) -> bool:
    return 200 <= status < 300  # noqa: PLR2004 - RFC 9110 section 15.3


def _interval(value: object) -> float:
    """Return the seconds between two polls; the authority writes them as a string."""
    try:
        seconds = float(str(value))
    except ValueError:
        return USUAL_INTERVAL_SECONDS
    if not LEAST_INTERVAL_SECONDS <= seconds <= LONGEST_INTERVAL_SECONDS:
        return USUAL_INTERVAL_SECONDS
    return seconds
