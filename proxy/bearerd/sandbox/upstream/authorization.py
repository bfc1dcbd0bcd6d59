"""Who may pass at the stand-in upstream, and what the others are told.

Judges a request's credential by the ledger; keeps no state.
"""

from aiohttp import web

from bearerd.sandbox.authority.grant import Account
from bearerd.sandbox.authority.token_registry import TokenRegistry
from bearerd.sandbox.responses import error_body, error_response

BEARER = "Bearer "
_CODES = {
    "expired": "token_expired",
    "invalidated": "token_invalidated",
    "unknown": "token_invalidated",
}


def access_token_of(request: web.BaseRequest) -> str | None:
    """Return the bearer token, if the request carries exactly one credential."""
    values = request.headers.getall("Authorization", [])
    if len(values) != 1 or not values[0].startswith(BEARER):
        return None
    return values[0].removeprefix(BEARER)


def admit(registry: TokenRegistry, request: web.BaseRequest) -> Account | web.Response:
    """Return the account that a request acts for, or the response that turns it away."""
    access_token = access_token_of(request)
    if access_token is None:
        return web.json_response({"detail": "Unauthorized"}, status=401)
    state, account = registry.introspect(access_token)
    if account is None or state != "live":
        code = _CODES[state]
        return web.json_response(
            error_body(code), status=401, headers={"x-openai-authorization-error": code}
        )
    named = request.headers.getall("chatgpt-account-id", [])
    if any(name != account.account_id for name in named):
        return error_response(403, "account_mismatch")
    return account
