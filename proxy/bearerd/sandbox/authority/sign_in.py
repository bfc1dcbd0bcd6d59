"""Sign-in at the stand-in authority: by browser, or by device code.

1. The authorization request of a browser is approved at once and redirected. Only
   loopback redirect URIs are accepted, as registered with the real authority.
2. A device waits until its user code is approved.
3. An authorization code can be used once, with its PKCE verifier (RFC 7636 section
   4.6), its client and its redirect URI.
"""

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from aiohttp import web

from bearerd.sandbox.authority.clients import ClientRegistry
from bearerd.sandbox.authority.fault_responses import client_error
from bearerd.sandbox.authority.grant import Account, Grant, TokenError
from bearerd.sandbox.authority.token_registry import TokenRegistry
from bearerd.sandbox.listener import Handler
from bearerd.sandbox.request_body import read_fields
from bearerd.sandbox.responses import error_response

DEVICE_CALLBACK_PATH = "/deviceauth/callback"
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
REQUIRED_TO_AUTHORIZE = {"response_type": "code", "code_challenge_method": "S256"}


def s256_challenge(code_verifier: str) -> str:
    """Return the S256 challenge of a verifier (RFC 7636 section 4.2)."""
    digest = hashlib.sha256(code_verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True)
class _Code:
    """The values that an authorization code is bound to.

    `redirect_uri` is None for the code of a device.
    """

    account: Account
    client_id: str
    code_challenge: str
    redirect_uri: str | None


@dataclass(slots=True)
class _Device:
    """A started sign-in by device code."""

    client_id: str
    user_code: str
    code_verifier: str = field(repr=False)
    approved: bool = False


class SignIn:
    """Owns the authorization codes and the waiting devices.

    These can be changed at any time: `account` (the account of the next sign-in),
    `declines` (the person declines in the browser), `device_enabled`,
    `device_auto_approve` and `device_interval_seconds`.
    """

    def __init__(
        self, registry: TokenRegistry, account: Account, clients: ClientRegistry
    ) -> None:
        self.account = account
        self.declines = False
        self.device_enabled = True
        self.device_auto_approve = False
        self.device_interval_seconds = 1
        self.device_polls = 0
        self._registry = registry
        self._clients = clients
        self._codes: dict[str, _Code] = {}
        self._devices: dict[str, _Device] = {}

    def routes(self) -> dict[tuple[str, str], Handler]:
        """Return the handlers of both sign-ins, by method and path."""
        return {
            ("GET", "/oauth/authorize"): self.handle_authorize,
            ("POST", "/api/accounts/deviceauth/usercode"): self.handle_user_code,
            ("POST", "/api/accounts/deviceauth/token"): self.handle_poll,
            ("GET", "/codex/device"): self.show_device_page,
            ("POST", "/codex/device"): self.submit_device_page,
        }

    @property
    def waiting_user_codes(self) -> list[str]:
        """The user codes of the devices that are not approved yet."""
        return [
            device.user_code for device in self._devices.values() if not device.approved
        ]

    def approve_device(self, user_code: str | None = None) -> bool:
        """Approve the waiting device with this code, or all; return False for none."""
        waiting = [
            device
            for device in self._devices.values()
            if not device.approved and user_code in {None, device.user_code}
        ]
        for device in waiting:
            device.approved = True
        return bool(waiting)

    def redeem(self, fields: Mapping[str, str]) -> Grant:
        """Exchange an authorization code for a grant.

        The code is invalid afterwards, even if this fails (RFC 6749 section 4.1.2).

        Raises:
            TokenError: the code is unknown, or a value that it is bound to differs.
        """
        code = self._codes.pop(fields.get("code", ""), None)
        if code is None or not _is_bound_to(code, fields):
            raise TokenError("invalid_grant")
        return self._registry.sign_in(code.account)

    async def handle_authorize(self, request: web.BaseRequest) -> web.StreamResponse:
        """GET /oauth/authorize: approve, and redirect the browser."""
        query = request.query
        client_id, redirect_uri = (
            query.get("client_id", ""),
            query.get("redirect_uri", ""),
        )
        # RFC 6749 section 4.1.2.1: with an unknown client or redirect URI, the server
        # shows the error and does not redirect the browser.
        if not self._clients.is_registered(client_id):
            return error_response(400, "invalid_client")
        is_complete = all(query.get(k) == v for k, v in REQUIRED_TO_AUTHORIZE.items())
        if urlsplit(redirect_uri).hostname not in LOOPBACK_NAMES or not is_complete:
            return error_response(400, "invalid_request")
        response = {"state": query.get("state", "")}
        if self.declines:
            response |= {"error": "access_denied", "error_description": "Declined."}
        else:
            challenge = query.get("code_challenge", "")
            response["code"] = self._new_code(client_id, challenge, redirect_uri)
        location = f"{redirect_uri}?{urlencode(response)}"
        return web.Response(status=302, headers={"Location": location})

    async def handle_user_code(self, request: web.BaseRequest) -> web.StreamResponse:
        """POST usercode: start a sign-in by device code."""
        if not self.device_enabled:
            return error_response(404, "not_found")
        client_id = (await read_fields(request)).get("client_id", "")
        if not client_id:
            return error_response(400, "invalid_request")
        if not self._clients.is_registered(client_id):
            return client_error(self._clients.rejection)
        device_auth_id = f"deviceauth-{secrets.token_hex(8)}"
        device = _Device(
            client_id=client_id,
            user_code=f"SAND-{secrets.token_hex(3).upper()}",
            code_verifier=secrets.token_urlsafe(48),
            approved=self.device_auto_approve,
        )
        self._devices[device_auth_id] = device
        return web.json_response(
            {
                "device_auth_id": device_auth_id,
                "user_code": device.user_code,
                "interval": str(self.device_interval_seconds),
            }
        )

    async def handle_poll(self, request: web.BaseRequest) -> web.StreamResponse:
        """POST token: 403 until the device is approved, then a code and its verifier."""
        self.device_polls += 1
        fields = await read_fields(request)
        device_auth_id = fields.get("device_auth_id", "")
        device = self._devices.get(device_auth_id)
        if device is None or device.user_code != fields.get("user_code"):
            return error_response(404, "not_found")
        if not device.approved:
            return error_response(403, "authorization_pending")
        del self._devices[device_auth_id]
        challenge = s256_challenge(device.code_verifier)
        return web.json_response(
            {
                "authorization_code": self._new_code(device.client_id, challenge, None),
                "code_challenge": challenge,
                "code_verifier": device.code_verifier,
            }
        )

    async def show_device_page(self, _request: web.BaseRequest) -> web.StreamResponse:
        """GET /codex/device: the form for the user code."""
        page = (
            "<!DOCTYPE html><title>Sandbox sign-in</title><form method=post>"
            "<label>Code <input name=user_code></label><button>Allow</button></form>"
        )
        return web.Response(text=page, content_type="text/html")

    async def submit_device_page(self, request: web.BaseRequest) -> web.StreamResponse:
        """POST /codex/device: approve the device with this user code."""
        user_code = (await read_fields(request)).get("user_code", "")
        if not self.approve_device(user_code):
            return web.Response(
                status=404, text="No device is waiting for this code.\n"
            )
        return web.Response(text="The device is approved.\n")

    def _new_code(
        self, client_id: str, code_challenge: str, redirect_uri: str | None
    ) -> str:
        code = f"sandbox-code-{secrets.token_hex(12)}"
        self._codes[code] = _Code(self.account, client_id, code_challenge, redirect_uri)
        return code


def _is_bound_to(code: _Code, fields: Mapping[str, str]) -> bool:
    """Return True if the request has the client, redirect URI and verifier of the code."""
    redirect_uri = fields.get("redirect_uri", "")
    if code.redirect_uri is None:
        is_same_redirect = urlsplit(redirect_uri).path == DEVICE_CALLBACK_PATH
    else:
        is_same_redirect = redirect_uri == code.redirect_uri
    return (
        is_same_redirect
        and fields.get("client_id") == code.client_id
        and s256_challenge(fields.get("code_verifier", "")) == code.code_challenge
    )
