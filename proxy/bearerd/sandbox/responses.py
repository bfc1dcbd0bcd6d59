"""What the stand-ins answer: bodies in the shape of the real ones, and broken ones.

Knows no state. Sources are the responses that clients of the real service report.
"""

import json
from collections.abc import Mapping

from aiohttp import web

from bearerd.sandbox.fault_queue import Fault

HTML_PAGE = (
    "<!DOCTYPE html><html><head><title>Just a moment...</title></head>"
    "<body>Checking your browser before access. Sandbox page.</body></html>"
)
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


def shaped_response(fault: Fault, status: int) -> web.Response:
    """Return the response that a fault of the kind `answer` describes."""
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
