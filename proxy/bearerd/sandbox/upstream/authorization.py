"""The check of a request's credential at the stand-in upstream.

Asks the token registry (RFC 7662 calls that introspection); keeps no state.
"""

from aiohttp import web

from bearerd.sandbox.authority.family import AccessState
from bearerd.sandbox.authority.grant import Account
from bearerd.sandbox.authority.token_registry import TokenRegistry
from bearerd.sandbox.responses import error_response, plain_unauthorized

BEARER = "Bearer "
_CODES: dict[AccessState, str] = {
    "expired": "token_expired",
    "invalidated": "token_invalidated",
    "unknown": "token_invalidated",
}


def bearer_token(request: web.BaseRequest) -> str | None:
    """Return the bearer token, if the request carries exactly one credential."""
    values = request.headers.getall("Authorization", [])
    if len(values) != 1 or not values[0].startswith(BEARER):
        return None
    return values[0].removeprefix(BEARER)


def authorize(
    registry: TokenRegistry, request: web.BaseRequest, *, now: float
) -> Account | web.Response:
    """Return the account that a request acts for, or the response that rejects it.

    `now` is the upstream's time, by which `exp` is checked.
    """
    access_token = bearer_token(request)
    if access_token is None:
        return plain_unauthorized()
    state, account = registry.introspect(access_token, now=now)
    if account is None or state != "live":
        return unauthorized(_CODES[state])
    named = request.headers.getall("chatgpt-account-id", [])
    if any(name != account.account_id for name in named):
        return error_response(403, "account_mismatch")
    return account


def unauthorized(code: str) -> web.Response:
    """Return a 401 that names its reason, in the body and in a field."""
    return error_response(401, code, headers={"x-openai-authorization-error": code})
