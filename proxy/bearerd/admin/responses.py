"""The responses of the admin listener: what each kind of them has in its head."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Final

from aiohttp import web

from bearerd.admin import guard, page
from bearerd.admin.health import Health
from bearerd.errors import BearerdError

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Of Prometheus' text format, whoever asks."""

# What each response says, so that a browser neither keeps, frames nor guesses at it.
SAFETY: Final = {
    "Server": "bearerd",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def of_page(text: str) -> web.Response:
    """Return the status page."""
    headers = {
        **SAFETY,
        "Content-Security-Policy": page.policy(),
        "Refresh": str(page.RELOAD_SECONDS),
    }
    return web.Response(text=text, content_type="text/html", headers=headers)


def of_metrics(text: bytes) -> web.Response:
    """Return the metrics."""
    return web.Response(body=text, headers={**SAFETY, "Content-Type": METRICS_TYPE})


def of_stream() -> web.StreamResponse:
    """Return the head of an event stream."""
    return web.StreamResponse(headers={**SAFETY, "Content-Type": "text/event-stream"})


def of_health(response: Health) -> web.Response:
    """Return the response of a health check."""
    return of_document(response.status, response.document)


def of_document(
    status: HTTPStatus, document: object, headers: dict[str, str] | None = None
) -> web.Response:
    """Return *document* as JSON."""
    text = json.dumps(document, indent=2) + "\n"
    return web.Response(
        status=status,
        text=text,
        content_type="application/json",
        headers={**SAFETY, **(headers or {})},
    )


def of_refusal(error: BearerdError) -> web.Response:
    """Return *error* in the shape in which all of bearerd's own responses are."""
    headers = {"x-bearerd-error": error.code}
    if error.status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(guard.METHODS)
    if error.retry_after_seconds is not None:
        headers["Retry-After"] = str(error.retry_after_seconds)
    told = {
        "message": error.message,
        "type": "bearerd_error",
        "code": error.code,
        "param": None,
    }
    return of_document(error.status, {"error": told}, headers)
