"""The check of a request's credential at the stand-in upstream.

It introspects the token (RFC 7662) in the registry, and has no state of its own.
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
    """Return the bearer token if the request has exactly one credential, else None."""
    values = request.headers.getall("Authorization", [])
    if len(values) != 1 or not values[0].startswith(BEARER):
        return None
    return values[0].removeprefix(BEARER)


def authorize(
    registry: TokenRegistry, request: web.BaseRequest, *, now: float
) -> Account | web.Response:
    """Return the account of an authorized request, or the response that rejects it.

    `now` is the upstream's time, against which `exp` is checked.
    """
    access_token = bearer_token(request)
    if access_token is None:
        return plain_unauthorized()
    state, account = registry.introspect(access_token, now=now)
    if account is None or state != "live":
        return unauthorized(_CODES[state])
    account_ids = request.headers.getall("chatgpt-account-id", [])
    if any(account_id != account.account_id for account_id in account_ids):
        return error_response(403, "account_mismatch")
    return account


def unauthorized(code: str) -> web.Response:
    """Return a 401 with its error code in the body and in a header field."""
    return error_response(401, code, headers={"x-openai-authorization-error": code})
