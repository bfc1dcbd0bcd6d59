"""The JSON of the health checks, and its status codes."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from bearerd.admin.health import check_health, check_readiness
from bearerd.admin.responses import (
    error_response,
    healthz_response,
    livez_response,
    readyz_response,
)
from bearerd.errors import MethodNotAllowed, Overloaded
from tests.admin.conftest import NOW, degraded, missing, service, source

MISSING = {
    "profile": "default",
    "state": "blocked",
    "code": "login_required",
    "reason": "missing",
    "since": NOW - 60,
    "needs_person": True,
    "store": "/data/auth.json",
    "remedy": "/data/auth.json: there is no credential file; sign in",
}


def document(response: web.Response) -> Any:
    """Return the decoded body."""
    assert response.content_type == "application/json"
    return json.loads(response.text or "")


def test_livez_is_always_ok() -> None:
    """A missing login is no reason to kill the process."""
    response = livez_response()
    assert (response.status, document(response)) == (200, {"status": "ok"})


def test_readyz_is_200_while_it_is_ready() -> None:
    """The blocked profiles are listed all the same."""
    status = service(source(profile="work"), missing())
    response = readyz_response(check_readiness(status))
    assert response.status == 200
    assert document(response) == {"status": "ready", "missing": [MISSING]}


def test_readyz_is_503_with_the_reason() -> None:
    """Each profile has its remedy."""
    response = readyz_response(check_readiness(service(missing())))
    assert response.status == 503
    assert document(response) == {
        "status": "unready",
        "why": "login_required",
        "missing": [MISSING],
    }
    draining = readyz_response(check_readiness(service(is_draining=True)))
    assert (draining.status, document(draining)["why"]) == (503, "draining")


def test_healthz_is_200_and_lists_what_is_wrong() -> None:
    """A restart would repair nothing of it."""
    failing = degraded(profile="work", in_memory_only=True)
    response = healthz_response(check_health(service(missing(), failing)))
    assert response.status == 200
    assert document(response) == {
        "status": "degraded",
        "draining": False,
        "missing": [MISSING],
        "degraded": [
            {
                "profile": "work",
                "state": "degraded",
                "code": "authority_unavailable",
                "reason": None,
                "since": NOW - 90,
                "needs_person": False,
                "store": "/data/auth.json",
                "remedy": "the authority answered 500; the next try is soon",
            }
        ],
        "last_errors": {"work": "undelivered: 500"},
        "in_memory_only": ["work"],
    }
    assert document(healthz_response(check_health(service())))["status"] == "ok"


def test_an_error_has_the_fields_of_its_type() -> None:
    """Allow for a method, Retry-After for a limit, and always the code."""
    refused = error_response(MethodNotAllowed("POST: not here"))
    assert refused.status == 405
    assert refused.headers["Allow"] == "GET, HEAD"
    assert refused.headers["x-bearerd-error"] == "method_not_allowed"
    assert document(refused)["error"]["message"] == "POST: not here"
    full = error_response(Overloaded("full", retry_after_seconds=10))
    assert (full.status, full.headers["Retry-After"]) == (503, "10")
