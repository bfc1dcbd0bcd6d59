"""What the stand-ins answer: bodies in the shape of the real ones, and broken ones.

Knows no state. Sources are the responses that clients of the real service report.
"""

import json
import socket
import struct
from collections.abc import Mapping

from aiohttp import web

from bearerd.sandbox.faults import AuthorityFault, UpstreamFault
from bearerd.sandbox.grant import Grant

HTML_PAGE = (
    "<!DOCTYPE html><html><head><title>Just a moment...</title></head>"
    "<body>Checking your browser before access. Sandbox page.</body></html>"
)
HUGE_PADDING = "x" * (1_200_000)  # more than the 1 MiB a careful client reads
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # linger on, 0 s: close() sends RST
EXPIRES_SUFFIX = "Please try signing in again."

_REFUSALS = {
    "refresh_token_reused": (
        "Your refresh token has already been used to generate a new access token. "
        + EXPIRES_SUFFIX
    ),
    "refresh_token_expired": f"Your refresh token has expired. {EXPIRES_SUFFIX}",
    "refresh_token_invalidated": (
        f"Your refresh token has been invalidated. {EXPIRES_SUFFIX}"
    ),
    "token_invalidated": (
        f"Your authentication token has been invalidated. {EXPIRES_SUFFIX}"
    ),
    "token_expired": (f"Provided authentication token is expired. {EXPIRES_SUFFIX}"),
}


def error_body(code: str, message: str | None = None) -> dict[str, object]:
    """Return OpenAI's error object."""
    return {
        "error": {
            "message": message or _REFUSALS.get(code, f"The sandbox says {code}."),
            "type": "invalid_request_error",
            "param": None,
            "code": code,
        }
    }


def error_response(
    status: int,
    code: str,
    message: str | None = None,
    *,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """Return a response with OpenAI's error object."""
    return web.json_response(error_body(code, message), status=status, headers=headers)


def refusal(
    code: str, *, status: int | None = None, form: str | None = None
) -> web.Response:
    """Return a refused grant: `invalid_grant` as RFC 6749 section 5.2 has it, the
    others in OpenAI's form, unless `form` says `string` or `object`.
    """
    if form is None:
        form = "string" if code == "invalid_grant" else "object"
    if form == "string":
        body: dict[str, object] = {"error": code, "error_description": "Sandbox."}
        return web.json_response(body, status=status or 400)
    return error_response(status or 401, code)


def grant_body(grant: Grant, expires_in: float) -> dict[str, object]:
    """Return a token endpoint's success (RFC 6749 section 5.1)."""
    return {
        "access_token": grant.access_token,
        "refresh_token": grant.refresh_token,
        "id_token": grant.id_token,
        "token_type": "Bearer",
        "expires_in": int(expires_in),
        "scope": "openid profile email offline_access",
    }


def broken_grant(fault: AuthorityFault, body: dict[str, object]) -> web.Response:
    """Return a grant as a fault has spoilt it."""
    if fault.kind == "omit_refresh_token":
        del body["refresh_token"]
    elif fault.kind == "omit_id_token":
        del body["id_token"]
    elif fault.kind == "bad_id_token":
        body["id_token"] = "this-is-no-jwt"  # noqa: S105 - made up
    elif fault.kind == "huge":
        body["padding"] = HUGE_PADDING
    return web.json_response(body)


def broken_response(fault: AuthorityFault) -> web.Response | None:
    """Return the response of a fault that needs no grant; None if it needs one."""
    if fault.kind == "answer":
        return chosen_response(fault, fault.status or 500)
    if fault.kind == "refuse":
        return refusal(fault.code, status=fault.status, form=fault.form)
    if fault.kind == "html":
        return web.Response(text=HTML_PAGE, content_type="text/html")
    texts = {"empty": "", "empty_object": "{}", "garbage": '{"access_token": "ey'}
    if fault.kind in texts:
        return web.Response(text=texts[fault.kind], content_type="application/json")
    return None


def chosen_response(fault: AuthorityFault | UpstreamFault, status: int) -> web.Response:
    """Return the status and body that a fault of the kind `answer` asks for."""
    headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
    if fault.html:
        page = fault.body or HTML_PAGE
        return web.Response(
            status=status, text=page, content_type="text/html", headers=headers
        )
    body = fault.body
    if body is None:
        body = json.dumps(
            error_body("sandbox_fault", f"Sandbox: told to say {status}.")
        )
    return web.Response(
        status=status, text=body, content_type="application/json", headers=headers
    )


def cut_connection(request: web.BaseRequest) -> None:
    """Reset the client's connection: no response, no orderly end."""
    transport = request.transport
    if transport is None:
        return
    peer = transport.get_extra_info("socket")
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    transport.abort()
