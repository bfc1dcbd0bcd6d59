"""Responses that both stand-ins send: errors of the real services and of intermediaries.

Intermediaries are proxies and CDNs; an identity provider during an incident is here too.
Pure. The formats are those that users of the real services report.
"""

import json
from collections.abc import Callable, Mapping

from aiohttp import web

from bearerd.sandbox.clock import ServerClock
from bearerd.sandbox.fault_queue import Fault

HTML_PAGE = (
    "<!DOCTYPE html><html><head><title>Just a moment...</title></head>"
    "<body>Checking your browser before access. Sandbox page.</body></html>"
)
CHALLENGE_PAGE = HTML_PAGE.replace(
    "</body>",
    "<noscript>Enable JavaScript and cookies to continue</noscript>"
    "<script>window._cf_chl_opt = {cType: 'managed'};</script></body>",
)
EDGE_RULE_STATUS = 1020  # Cloudflare's own number; the HTTP status is 403
DEFAULT_RETRY_SECONDS = 30
SIGN_IN_AGAIN = "Please try signing in again."

_MESSAGES = {
    "refresh_token_reused": (
        "Your refresh token has already been used to generate a new access token. "
        + SIGN_IN_AGAIN
    ),
    "refresh_token_expired": f"Your refresh token has expired. {SIGN_IN_AGAIN}",
    "refresh_token_invalidated": (
        f"Your refresh token has been invalidated. {SIGN_IN_AGAIN}"
    ),
    "token_invalidated": (
        f"Your authentication token has been invalidated. {SIGN_IN_AGAIN}"
    ),
    "token_expired": f"Provided authentication token is expired. {SIGN_IN_AGAIN}",
    "account_deactivated": "This account is deactivated. Sandbox.",
}


def error_body(code: str, message: str | None = None) -> dict[str, object]:
    """Return OpenAI's error object."""
    return {
        "error": {
            "message": message or _MESSAGES.get(code, f"Sandbox error {code}."),
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


def page_response(
    status: int, page: str = HTML_PAGE, *, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return an HTML page."""
    return web.Response(
        status=status,
        text=page,
        content_type="text/html",
        charset="utf-8",
        headers=headers,
    )


def plain_unauthorized() -> web.Response:
    """Return the 401 of both real servers that has no error code."""
    return web.json_response({"detail": "Unauthorized"}, status=401)


def common_response(
    fault: Fault, clock: ServerClock, *, default_status: int
) -> web.Response | None:
    """Return the response of a fault that both stand-ins have, otherwise None.

    `default_status` is the status of the kind `answer`.
    """
    if fault.kind == "answer":
        response = _chosen_response(fault, fault.status or default_status)
    elif fault.kind in _COMMON:
        response = _COMMON[fault.kind](fault)
    else:
        return None
    seconds = fault.retry_after_seconds
    if fault.kind == "rate_limited" and seconds is None:
        seconds = DEFAULT_RETRY_SECONDS
    if fault.retry_after is not None:
        response.headers["Retry-After"] = fault.retry_after
    elif seconds is not None and fault.retry_after_form == "date":
        response.headers["Retry-After"] = clock.http_date(later_seconds=seconds)
    elif seconds is not None:
        response.headers["Retry-After"] = str(int(seconds))
    return response


def _chosen_response(fault: Fault, status: int) -> web.Response:
    """Return the status and body that a fault of the kind `answer` describes."""
    if fault.html:
        return page_response(status, fault.body or HTML_PAGE)
    body = fault.body
    if body is None:
        body = json.dumps(error_body("sandbox_fault", f"Sandbox fault {status}."))
    return web.Response(status=status, text=body, content_type="application/json")


def _challenge(_fault: Fault) -> web.Response:
    headers = {**_edge_headers(), "cf-mitigated": "challenge"}
    return page_response(403, CHALLENGE_PAGE, headers=headers)


def _edge_error(fault: Fault) -> web.Response:
    status = fault.status or 502
    if status == EDGE_RULE_STATUS:
        text = f"error code: {status}"
        return web.Response(status=403, text=text, headers=_edge_headers())
    page = f"<!DOCTYPE html><title>sandbox.invalid | {status}</title>Error {status}"
    return page_response(status, page, headers=_edge_headers())


def _proxy_authentication(_fault: Fault) -> web.Response:
    # RFC 9110 section 15.5.8: a 407 has a Proxy-Authenticate field.
    headers = {"Proxy-Authenticate": 'Basic realm="proxy"', "Via": "1.1 proxy.invalid"}
    return page_response(407, "<title>Proxy sign-in</title>", headers=headers)


def _edge_headers() -> dict[str, str]:
    return {"server": "cloudflare", "cf-ray": "8f0000000000cafe-SBX"}


_COMMON: Mapping[str, Callable[[Fault], web.Response]] = {
    "unauthorized": lambda _: plain_unauthorized(),
    "unauthorized_empty": lambda _: web.Response(status=401),
    "unauthorized_page": lambda _: page_response(401, "<title>Sign in</title>"),
    "challenge": _challenge,
    "proxy_authentication": _proxy_authentication,
    "rate_limited": lambda _: error_response(429, "rate_limit_exceeded"),
    "maintenance": lambda _: page_response(503, "<title>Maintenance</title>"),
    "edge_error": _edge_error,
    "redirect": lambda fault: web.Response(
        status=fault.status or 302, headers={"Location": fault.location}
    ),
}
