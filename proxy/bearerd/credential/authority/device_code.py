"""The calls of a sign-in by device code: request a user code, poll for the result.

Source: codex-rs login/src/device_code_auth.rs. They follow RFC 8628 in principle, with
other names: the result is an authorization code instead of tokens, and the server
creates the PKCE verifier. `device_flow` makes the calls in order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from bearerd.credential.authority.client import AuthorityClient
from bearerd.credential.authority.code_grant import AuthorizationCode
from bearerd.credential.authority.errors import SignInFailed
from bearerd.credential.authority.refresh_grant import retry_after_seconds
from bearerd.credential.authority.response import AuthorityResponse, error_code

PENDING: Final = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND})
"""The statuses of a poll before the person has entered the code."""

MIN_INTERVAL_SECONDS: Final = 1.0
MAX_INTERVAL_SECONDS: Final = 60.0
DEFAULT_INTERVAL_SECONDS: Final = 5.0
"""RFC 8628 section 3.2: the interval if the response contains none."""


class UnclearPoll(SignInFailed):
    """The response to a poll has no result. Another poll may succeed."""


class SlowDown(Exception):
    """The polls come too often; the next one may follow after *retry_after_seconds*."""

    def __init__(self, retry_after_seconds: float) -> None:
        super().__init__()
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True, slots=True)
class DeviceAuthorization:
    """A started sign-in: a person has to enter `user_code` on `page`.

    `device_auth_id` is a secret: it is what the poll is authorized by.
    """

    device_auth_id: str = field(repr=False)
    user_code: str
    interval_seconds: float
    page: str


async def request_user_code(client: AuthorityClient) -> DeviceAuthorization:
    """Start a sign-in by device code.

    Raises:
        SignInFailed: the authority issued no code.
        CallFailed: no complete response arrived.
    """
    response = await client.request(
        "POST",
        f"{client.issuer_url}/api/accounts/deviceauth/usercode",
        json={"client_id": client.client_id},
    )
    if response.status == HTTPStatus.NOT_FOUND:
        raise SignInFailed(
            f"{client.issuer_url} does not support sign-in by device code; use `bearerd "
            "login` without --device"
        )
    document = response.document
    device_auth_id = document.get("device_auth_id")
    user_code = document.get("user_code") or document.get("usercode")
    if not response.is_success or not device_auth_id or not user_code:
        raise _sign_in_failed(client, "issued no device code", response)
    return DeviceAuthorization(
        str(device_auth_id),
        str(user_code),
        _interval_seconds(document.get("interval")),
        f"{client.issuer_url}/codex/device",
    )


async def poll(
    client: AuthorityClient, device: DeviceAuthorization
) -> AuthorizationCode | None:
    """Return the authorization code, or None before the person has entered the code.

    The meaning of a response:

    1. 403 or 404: the person has not entered the code.
    2. 429, or the code `slow_down` (RFC 8628 section 3.5): the polls come too often.
    3. Any other 4xx: the sign-in has ended.
    4. 2xx with a code: the sign-in has succeeded.
    5. Anything else, such as a 502 or a page: unclear.

    Raises:
        SlowDown: 2.
        SignInFailed: 3.
        UnclearPoll: 5.
        CallFailed: no complete response arrived. Another poll may succeed.
    """
    response = await client.request(
        "POST",
        f"{client.issuer_url}/api/accounts/deviceauth/token",
        json={"device_auth_id": device.device_auth_id, "user_code": device.user_code},
    )
    if response.status in PENDING:  # 1
        return None
    document = response.document
    is_too_many = response.status == HTTPStatus.TOO_MANY_REQUESTS
    if is_too_many or error_code(document) == "slow_down":  # 2
        raise SlowDown(retry_after_seconds(response.headers) or 0.0)
    is_client_error = response.status >= HTTPStatus.BAD_REQUEST
    if is_client_error and response.status < HTTPStatus.INTERNAL_SERVER_ERROR:  # 3
        raise _sign_in_failed(client, "ended the sign-in by device code", response)
    code, verifier = document.get("authorization_code"), document.get("code_verifier")
    if not response.is_success or not code or not verifier:  # 5
        raise UnclearPoll(
            _message(client, "sent no usable response to a poll", response)
        )
    redirect_uri = f"{client.issuer_url}/deviceauth/callback"
    return AuthorizationCode(str(code), str(verifier), redirect_uri)


def _sign_in_failed(
    client: AuthorityClient, fact: str, response: AuthorityResponse
) -> SignInFailed:
    return SignInFailed(_message(client, fact, response))


def _message(client: AuthorityClient, fact: str, response: AuthorityResponse) -> str:
    return (
        f"{client.issuer_url} {fact} ({response.summary}); run `bearerd login --device` "
        "again"
    )


def _interval_seconds(value: object) -> float:
    """Return the interval between two polls. The authority sends it as a string."""
    try:
        seconds = float(str(value))
    except ValueError:
        return DEFAULT_INTERVAL_SECONDS
    if not MIN_INTERVAL_SECONDS <= seconds <= MAX_INTERVAL_SECONDS:
        return DEFAULT_INTERVAL_SECONDS
    return seconds
