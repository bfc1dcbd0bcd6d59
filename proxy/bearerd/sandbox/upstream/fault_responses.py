"""The responses of the stand-in upstream's faults. Pure."""

from dataclasses import replace

from aiohttp import web

from bearerd.sandbox.clock import ServerClock
from bearerd.sandbox.responses import common_response
from bearerd.sandbox.upstream.authorization import unauthorized
from bearerd.sandbox.upstream.faults import UpstreamFault
from bearerd.sandbox.upstream.usage import ALL_PERCENT, Usage


def fault_response(
    fault: UpstreamFault, *, usage: Usage, clock: ServerClock
) -> web.Response | None:
    """Return the response of a fault that replaces the check of the credential."""
    match fault.kind:
        case "account_deactivated":
            return unauthorized("account_deactivated")
        case "unauthorized_resource":
            return web.json_response({"detail": "Forbidden"}, status=401)
        case "usage_limit_reached":
            return _limit_reached(usage, clock())
        case _:
            return common_response(fault, clock, default_status=401)


def _limit_reached(usage: Usage, now: float) -> web.Response:
    """Return the 429 of an account whose primary limit is used up."""
    used_up = replace(usage, primary_used_percent=ALL_PERCENT)
    error = {
        "type": "usage_limit_reached",
        "message": "The usage limit is reached. Sandbox.",
        "plan_type": "plus",
        "resets_at": int(now + usage.primary_reset_seconds),
    }
    return web.json_response(
        {"error": error}, status=429, headers=used_up.header_fields(now)
    )
