"""The responses of the admin listener: their header fields, and their JSON."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Final

from aiohttp import web

from bearerd.admin import guard, page
from bearerd.admin.health import Health, Readiness, remedy
from bearerd.admin.status import ServiceStatus, status_document
from bearerd.credential.status import SourceStatus
from bearerd.error_response import error_document, error_fields
from bearerd.errors import BearerdError

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Prometheus' text format, whatever Accept asks for."""

# In every response: a browser neither stores it, nor frames it, nor guesses its type.
SAFETY_FIELDS: Final = {
    "Server": "bearerd",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def page_response(text: str) -> web.Response:
    """Return the status page."""
    headers = {
        **SAFETY_FIELDS,
        "Content-Security-Policy": page.content_security_policy(),
        "Refresh": str(page.RELOAD_SECONDS),
    }
    return web.Response(text=text, content_type="text/html", headers=headers)


def metrics_response(text: bytes) -> web.Response:
    """Return the metrics."""
    return web.Response(
        body=text, headers={**SAFETY_FIELDS, "Content-Type": METRICS_TYPE}
    )


def event_stream_response() -> web.StreamResponse:
    """Return an event stream, to which nothing is written yet."""
    return web.StreamResponse(
        headers={**SAFETY_FIELDS, "Content-Type": "text/event-stream"}
    )


def livez_response() -> web.Response:
    """Return that the process responds."""
    return json_response(HTTPStatus.OK, {"status": "ok"})


def readyz_response(readiness: Readiness) -> web.Response:
    """Return *readiness*, with 503 if the daemon is not ready."""
    missing = [_profile(source) for source in readiness.blocked]
    if readiness.is_ready:
        return json_response(HTTPStatus.OK, {"status": "ready", "missing": missing})
    return json_response(
        HTTPStatus.SERVICE_UNAVAILABLE,
        {"status": "unready", "why": readiness.reason, "missing": missing},
    )


def healthz_response(health: Health) -> web.Response:
    """Return *health*, always with 200: a restart would repair nothing of it."""
    return json_response(
        HTTPStatus.OK,
        {
            "status": "ok" if health.is_ok else "degraded",
            "draining": health.is_draining,
            "missing": [_profile(source) for source in health.needing_person],
            "degraded": [_profile(source) for source in health.degraded],
            "last_errors": {one.profile: one.last_error for one in health.failing},
            "in_memory_only": [one.profile for one in health.unsaved],
        },
    )


def status_response(status: ServiceStatus) -> web.Response:
    """Return *status*."""
    return json_response(HTTPStatus.OK, status_document(status))


def json_response(
    status: HTTPStatus, document: object, headers: dict[str, str] | None = None
) -> web.Response:
    """Return *document* as JSON."""
    text = json.dumps(document, indent=2) + "\n"
    return web.Response(
        status=status,
        text=text,
        content_type="application/json",
        headers={**SAFETY_FIELDS, **(headers or {})},
    )


def error_response(error: BearerdError) -> web.Response:
    """Return *error* in the form that all of bearerd's error responses have."""
    headers = dict(error_fields(error, ", ".join(guard.METHODS)))
    return json_response(error.status, error_document(error), headers)


def _profile(source: SourceStatus) -> dict[str, object]:
    return {
        "profile": source.profile,
        "state": source.state,
        "code": source.code,
        "reason": source.reason,
        "since": source.since,
        "needs_person": source.needs_person,
        "store": source.store,
        "remedy": remedy(source),
    }
