"""The responses of the token endpoint: a grant, an error, and those of faults.

Pure. The formats are those that users of the real service report.
"""

from dataclasses import replace

from aiohttp import web

from bearerd.sandbox.authority.clients import ClientRejection
from bearerd.sandbox.authority.faults import AuthorityFault, ErrorForm, TokenDefect
from bearerd.sandbox.authority.grant import Grant
from bearerd.sandbox.clock import ServerClock
from bearerd.sandbox.responses import (
    common_response,
    error_response,
    page_response,
)

HUGE_PADDING = "x" * 1_200_000  # more than the 1 MiB that a careful client reads
HUGE_TOKEN_PADDING = "x" * 200_000  # more than any server accepts in a header field

# RFC 6749 section 4.1.2.1 defines the last two for the authorization endpoint; servers
# send them from the token endpoint too.
_STATUSES = {
    "invalid_client": 401,
    "server_error": 500,
    "temporarily_unavailable": 503,
}
_RFC_CODES = frozenset(
    {
        *_STATUSES,
        "invalid_grant",
        "invalid_request",
        "invalid_scope",
        "unauthorized_client",
        "unsupported_grant_type",
    }
)
# The upstream has this code too, with another message.
_MESSAGES = {
    "token_expired": "Could not validate your token. Please try signing in again."
}
_DEFECTS: dict[TokenDefect, str] = {
    "crlf": "\r\nX-Injected: yes",
    "control": "\x00\x07\x1b",
    "surrogate": "\ud800",
    "huge": HUGE_TOKEN_PADDING,
}


def token_error(
    code: str, *, status: int | None = None, form: ErrorForm | None = None
) -> web.Response:
    """Return an error of the token endpoint.

    The codes of RFC 6749 have the form of section 5.2, a string, and status 400 if no
    other status is usual. Other codes have the form of OpenAI's object, and status 401.
    """
    is_standard = code in _RFC_CODES
    if form is None:
        form = "string" if is_standard else "object"
    if status is None:
        status = _STATUSES.get(code, 400 if is_standard else 401)
    if form == "object":
        return error_response(status, code, _MESSAGES.get(code))
    body = {"error": code, "error_description": "Sandbox."}
    return web.json_response(body, status=status)


def client_error(rejection: ClientRejection) -> web.Response:
    """Return the response to a client that is not registered."""
    if rejection.form == "page":
        return page_response(rejection.status, "<title>Unknown application</title>")
    return token_error(rejection.code, status=rejection.status, form=rejection.form)


def grant_body(grant: Grant, *, now: float) -> dict[str, object]:
    """Return the body of a successful response (RFC 6749 section 5.1)."""
    return {
        "access_token": grant.access_token,
        "refresh_token": grant.refresh_token,
        "id_token": grant.id_token,
        "token_type": "Bearer",
        "expires_in": int(grant.expires_at - now),
        "scope": "openid profile email offline_access",
    }


def altered_body(fault: AuthorityFault, body: dict[str, object]) -> dict[str, object]:
    """Return the body of a grant without, or with other, fields as the fault requires."""
    if fault.kind.startswith("omit_"):
        body.pop(fault.kind.removeprefix("omit_"))
    elif fault.kind == "bad_id_token":
        body["id_token"] = "this-is-no-jwt"  # noqa: S105 - a fake
    elif fault.kind == "huge":
        body["padding"] = HUGE_PADDING
    return body


def malformed(token: str, defect: TokenDefect) -> str:
    """Return `token` with a defect. The part before the defect is the valid token."""
    return "" if defect == "empty" else token + _DEFECTS[defect]


def with_token(grant: Grant, name: str, token: str) -> Grant:
    """Return the grant with `token` in the field `name`."""
    match name:
        case "access_token":
            return replace(grant, access_token=token)
        case "id_token":
            return replace(grant, id_token=token)
        case _:
            return replace(grant, refresh_token=token)


def fault_response(fault: AuthorityFault, clock: ServerClock) -> web.Response | None:
    """Return the response of a fault that replaces the grant; None for other faults."""
    if fault.kind == "refuse":
        return token_error(fault.code, status=fault.status, form=fault.form)
    if fault.kind == "html":
        return page_response(200)
    texts = {"empty": "", "empty_object": "{}", "garbage": '{"access_token": "ey'}
    if fault.kind in texts:
        return web.Response(text=texts[fault.kind], content_type="application/json")
    return common_response(fault, clock, default_status=500)
