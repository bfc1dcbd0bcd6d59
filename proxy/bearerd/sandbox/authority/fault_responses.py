"""The token endpoint's responses: a grant, an error, and what faults make of them.

Pure. The shapes are those that clients of the real service report.
"""

from aiohttp import web

from bearerd.sandbox.authority.faults import AuthorityFault
from bearerd.sandbox.authority.grant import Grant
from bearerd.sandbox.responses import HTML_PAGE, error_response, shaped_response

HUGE_PADDING = "x" * (1_200_000)  # more than the 1 MiB a careful client reads


def token_error(
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
        return shaped_response(fault, fault.status or 500)
    if fault.kind == "refuse":
        return token_error(fault.code, status=fault.status, form=fault.form)
    if fault.kind == "html":
        return web.Response(text=HTML_PAGE, content_type="text/html")
    texts = {"empty": "", "empty_object": "{}", "garbage": '{"access_token": "ey'}
    if fault.kind in texts:
        return web.Response(text=texts[fault.kind], content_type="application/json")
    return None
