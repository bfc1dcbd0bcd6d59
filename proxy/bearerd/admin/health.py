"""Is it alive, can it serve, and what is missing: answers made of values. No I/O.

`/livez` asks whether the process answers, `/readyz` whether requests can be signed, and
`/healthz` what an operator should look at. Trouble that passes by itself, such as an
authority that is not reached, does not make a daemon unready: taking it out of service
would not mend that, and the token that it holds may be good for days.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from bearerd.credential.status import SourceStatus

SIGN_IN = "sign in with `bearerd login`"


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """The whole daemon at one moment. `started_at` is epoch seconds."""

    version: str
    started_at: float
    draining: bool
    relay: tuple[str, ...]
    admin: tuple[str, ...]
    sources: tuple[SourceStatus, ...]
    requests_in_flight: int
    streams_active: int


@dataclass(frozen=True, slots=True)
class Health:
    """A response: its HTTP status and its JSON document."""

    status: HTTPStatus
    document: Mapping[str, object]


def is_usable(source: SourceStatus) -> bool:
    """True when requests of this profile can be signed, or a refresh may mend it."""
    return source.state in {"ready", "expired"}


def needs_person(source: SourceStatus) -> bool:
    """True when somebody has to act, now or before the access token ends."""
    return not is_usable(source) or source.message is not None


def livez() -> Health:
    """Whoever can ask gets this response."""
    return Health(HTTPStatus.OK, {"status": "ok"})


def readyz(status: ServiceStatus) -> Health:
    """Ready while one profile at least can serve, and the process is not stopping."""
    missing = [_missing(source) for source in status.sources if not is_usable(source)]
    if status.draining:
        return _unready("draining", missing)
    if len(missing) == len(status.sources):
        return _unready("login_required", missing)
    return Health(HTTPStatus.OK, {"status": "ready", "missing": missing})


def healthz(status: ServiceStatus) -> Health:
    """Always 200, since a restart mends nothing that is reported here."""
    wanting = [_missing(source) for source in status.sources if needs_person(source)]
    passing = {
        source.profile: source.last_error
        for source in status.sources
        if source.last_error is not None
    }
    unsaved = [source.profile for source in status.sources if source.in_memory_only]
    good = not (wanting or passing or unsaved or status.draining)
    return Health(
        HTTPStatus.OK,
        {
            "status": "ok" if good else "degraded",
            "draining": status.draining,
            "missing": wanting,
            "last_errors": passing,
            "in_memory_only": unsaved,
        },
    )


def document(status: ServiceStatus) -> dict[str, object]:
    """Return *status* as `/api/status` and `bearerd status --json` show it."""
    fields = dataclasses.asdict(status)
    fields["profiles"] = fields.pop("sources")
    return fields


def remedy(source: SourceStatus) -> str:
    """Return the sentence that says what to do."""
    return source.message or SIGN_IN


def _missing(source: SourceStatus) -> dict[str, object]:
    return {
        "profile": source.profile,
        "state": source.state,
        "reason": source.reason,
        "store": source.store,
        "remedy": remedy(source),
    }


def _unready(why: str, missing: list[dict[str, object]]) -> Health:
    body = {"status": "unready", "why": why, "missing": missing}
    return Health(HTTPStatus.SERVICE_UNAVAILABLE, body)
