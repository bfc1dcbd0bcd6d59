"""The status as text for an operator, the same on the page and on the command line."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, TypeAlias

from bearerd.admin.status import ServiceStatus
from bearerd.credential.conditions import StateKind
from bearerd.credential.status import SourceStatus

Rows: TypeAlias = list[tuple[str, str]]
"""Pairs of a label and a value."""

NOT_SAVED: Final = "no: the store could not be written"


def headline(status: ServiceStatus) -> str:
    """Return the state of the daemon in one or two words."""
    if status.is_draining:
        return "stopping"
    if status.needs_person:
        return "action required"
    states = {source.state for source in status.sources}
    worst = (kind.value for kind in (StateKind.BLOCKED, StateKind.DEGRADED))
    return next((one for one in worst if one in states), "ready")


def service_rows(status: ServiceStatus, now: float) -> Rows:
    """Return the rows about the daemon. *now* is epoch seconds."""
    return [
        ("state", headline(status)),
        ("running since", time_text(status.started_at, now)),
        ("requests in flight", str(status.requests_in_flight)),
        ("streams", str(status.streams_active)),
        *(("relay", address) for address in status.relay),
        *(("admin", address) for address in status.admin),
    ]


def source_state(source: SourceStatus) -> str:
    """Return the state of a profile, and what it is due to if it is not well."""
    causes = [text for text in (source.code, source.reason) if text]
    detail = f" ({': '.join(dict.fromkeys(causes))})" if causes else ""
    return source.state + detail


def source_rows(source: SourceStatus, now: float) -> Rows:
    """Return the rows about a profile; what is not known has no row."""
    rows = [
        ("since", None if source.is_well else _optional_time(source.since, now)),
        ("next attempt", _optional_time(source.retry_at, now)),
        ("account", source.account_id),
        ("token expires", _optional_time(source.expires_at, now)),
        ("next refresh", _optional_time(source.refresh_at, now)),
        ("last refresh", _optional_time(source.last_refreshed_at, now)),
        ("generation", str(source.generation)),
        ("saved", NOT_SAVED if source.in_memory_only else None),
        ("last error", source.last_error),
        ("store", source.store),
    ]
    return [(label, value) for label, value in rows if value]


def time_text(seconds: float, now: float) -> str:
    """Return a time in epoch seconds as UTC, with its distance from *now*."""
    utc = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    distance = duration_text(abs(seconds - now))
    return f"{utc} ({f'in {distance}' if seconds > now else f'{distance} ago'})"


def duration_text(seconds: float) -> str:
    """Return a duration in its two largest units, such as `2 d 4 h`."""
    rest = int(seconds)
    parts = []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def _optional_time(seconds: float | None, now: float) -> str | None:
    return None if seconds is None else time_text(seconds, now)
