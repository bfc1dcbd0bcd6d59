"""How somebody signs in at the stand-in: by browser, or by device code.

Rules: a browser's request is approved at once and sent back to its redirect URI
(loopback only, as the real authority registers them); a device waits until someone
approves its code; an authorization code is good once, with its PKCE verifier
(RFC 7636 section 4.6), its client and its redirect URI.
"""

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from aiohttp import web

from bearerd.sandbox.authority.grant import Account, Grant, RefusedError
from bearerd.sandbox.authority.token_registry import TokenRegistry
from bearerd.sandbox.listener import Handler
from bearerd.sandbox.request_body import read_fields
from bearerd.sandbox.responses import error_response

DEVICE_CALLBACK_PATH = "/deviceauth/callback"
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
REQUIRED_TO_AUTHORIZE = {"response_type": "code", "code_challenge_method": "S256"}


def challenge_of(code_verifier: str) -> str:
    """Return the S256 challenge of a verifier (RFC 7636 section 4.2)."""
    digest = hashlib.sha256(code_verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True)
class _Code:
    """What an authorization code stands for; no redirect URI means a device's."""

    account: Account
    client_id: str
    code_challenge: str
    redirect_uri: str | None


@dataclass(slots=True)
class _Device:
    """A device that asks to be let in."""

    client_id: str
    user_code: str
    code_verifier: str = field(repr=False)
    approved: bool = False


class SignIn:
    """Owns the authorization codes and the devices that wait.

    May be changed while it runs: `account` (who signs in next), `declines` (the
    browser says no), `device_enabled`, `device_auto_approve` and
    `device_interval_seconds`.
    """

    def __init__(self, registry: TokenRegistry, account: Account) -> None:
        self.account = account
        self.declines = False
        self.device_enabled = True
        self.device_auto_approve = False
        self.device_interval_seconds = 1
        self.device_polls = 0
        self._registry = registry
        self._codes: dict[str, _Code] = {}
        self._devices: dict[str, _Device] = {}

    def routes(self) -> dict[tuple[str, str], Handler]:
        """Return the handlers of the sign-in pages, by method and path."""
        return {
            ("GET", "/oauth/authorize"): self.authorize,
            ("POST", "/api/accounts/deviceauth/usercode"): self.give_user_code,
            ("POST", "/api/accounts/deviceauth/token"): self.handle_poll,
            ("GET", "/codex/device"): self.show_device_page,
            ("POST", "/codex/device"): self.submit_device_page,
        }

    @property
    def waiting_user_codes(self) -> list[str]:
        """The codes of the devices nobody has approved yet."""
        return [d.user_code for d in self._devices.values() if not d.approved]

    def approve_device(self, user_code: str | None = None) -> bool:
        """Let the device with this code in, or every one that waits; False if none."""
        chosen = [
            device
            for device in self._devices.values()
            if not device.approved and user_code in {None, device.user_code}
        ]
        for device in chosen:
            device.approved = True
        return bool(chosen)

    def redeem(self, fields: Mapping[str, str]) -> Grant:
        """Exchange an authorization code; RefusedError if anything about it is wrong.

        The code is spent in either case (RFC 6749 section 4.1.2).
        """
        code = self._codes.pop(fields.get("code", ""), None)
        if code is None or not _fits(code, fields):
            raise RefusedError("invalid_grant")
        return self._registry.sign_in(code.account)

    async def authorize(self, request: web.BaseRequest) -> web.StreamResponse:
        """GET /oauth/authorize: approve, and send the browser back."""
        asked = request.query
        redirect_uri = asked.get("redirect_uri", "")
        complete = all(asked.get(k) == v for k, v in REQUIRED_TO_AUTHORIZE.items())
        if urlsplit(redirect_uri).hostname not in LOOPBACK_NAMES or not complete:
            return error_response(400, "invalid_request")
        response = {"state": asked.get("state", "")}
        if self.declines:
            response |= {"error": "access_denied", "error_description": "Declined."}
        else:
            response["code"] = self._new_code(
                asked.get("client_id", ""),
                asked.get("code_challenge", ""),
                redirect_uri,
            )
        location = f"{redirect_uri}?{urlencode(response)}"
        return web.Response(status=302, headers={"Location": location})

    async def give_user_code(self, request: web.BaseRequest) -> web.StreamResponse:
        """POST usercode: start a device login."""
        if not self.device_enabled:
            return error_response(404, "not_found")
        client_id = (await read_fields(request)).get("client_id", "")
        if not client_id:
            return error_response(400, "invalid_request")
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
        asked = await read_fields(request)
        device_auth_id = asked.get("device_auth_id", "")
        device = self._devices.get(device_auth_id)
        if device is None or device.user_code != asked.get("user_code"):
            return error_response(404, "not_found")
        if not device.approved:
            return error_response(403, "authorization_pending")
        del self._devices[device_auth_id]
        challenge = challenge_of(device.code_verifier)
        return web.json_response(
            {
                "authorization_code": self._new_code(device.client_id, challenge, None),
                "code_challenge": challenge,
                "code_verifier": device.code_verifier,
            }
        )

    async def show_device_page(self, _request: web.BaseRequest) -> web.StreamResponse:
        """GET /codex/device: where a person types the code."""
        page = (
            "<!DOCTYPE html><title>Sandbox sign-in</title><form method=post>"
            "<label>Code <input name=user_code></label><button>Allow</button></form>"
        )
        return web.Response(text=page, content_type="text/html")

    async def submit_device_page(self, request: web.BaseRequest) -> web.StreamResponse:
        """POST /codex/device: approve the code that was typed."""
        user_code = (await read_fields(request)).get("user_code", "")
        if not self.approve_device(user_code):
            return web.Response(status=404, text="No device waits with this code.\n")
        return web.Response(text="The device may go on.\n")

    def _new_code(
        self, client_id: str, code_challenge: str, redirect_uri: str | None
    ) -> str:
        minted = f"sandbox-code-{secrets.token_hex(12)}"
        self._codes[minted] = _Code(
            self.account, client_id, code_challenge, redirect_uri
        )
        return minted


def _fits(code: _Code, fields: Mapping[str, str]) -> bool:
    """Whether the one who brings the code is the one it was given to."""
    redirect_uri = fields.get("redirect_uri", "")
    if code.redirect_uri is None:
        redirect_fits = urlsplit(redirect_uri).path == DEVICE_CALLBACK_PATH
    else:
        redirect_fits = redirect_uri == code.redirect_uri
    return (
        redirect_fits
        and fields.get("client_id") == code.client_id
        and challenge_of(fields.get("code_verifier", "")) == code.code_challenge
    )
