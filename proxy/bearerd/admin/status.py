"""The status of the daemon as one value, and as the JSON of `/api/status`.

Health checks, status page, metrics and `bearerd status` are all derived from it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bearerd.credential.status import SourceStatus


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """The whole daemon at one moment. `started_at` is epoch seconds.

    `relay` and `admin` are the addresses of the listeners.
    """

    version: str
    started_at: float
    is_draining: bool
    relay: tuple[str, ...]
    admin: tuple[str, ...]
    sources: tuple[SourceStatus, ...]
    requests_in_flight: int
    streams_active: int

    @property
    def needs_person(self) -> bool:
        """Return True if an operator has to act for one profile at least."""
        return any(source.needs_person for source in self.sources)


def status_document(status: ServiceStatus) -> dict[str, object]:
    """Return *status* under its public names, as `/api/status` has it."""
    return {
        "version": status.version,
        "started_at": status.started_at,
        "draining": status.is_draining,
        "relay": list(status.relay),
        "admin": list(status.admin),
        "requests_in_flight": status.requests_in_flight,
        "streams_active": status.streams_active,
        "profiles": [source_document(source) for source in status.sources],
    }


def source_document(source: SourceStatus) -> dict[str, object]:
    """Return *source* under its public names, which are those of its fields."""
    return dataclasses.asdict(source)


def parse_status(document: Mapping[str, Any]) -> ServiceStatus:
    """Return the status in *document*, which a daemon has sent.

    The daemon may be of another version: what it does not send is empty here, and what is
    unknown here is left out.
    """
    return ServiceStatus(
        version=str(document.get("version", "unknown")),
        started_at=float(document.get("started_at", 0)),
        is_draining=bool(document.get("draining")),
        relay=tuple(document.get("relay", ())),
        admin=tuple(document.get("admin", ())),
        sources=tuple(map(_parse_source, document.get("profiles", ()))),
        requests_in_flight=int(document.get("requests_in_flight", 0)),
        streams_active=int(document.get("streams_active", 0)),
    )


def _parse_source(document: Mapping[str, Any]) -> SourceStatus:
    names = [field.name for field in dataclasses.fields(SourceStatus)]
    values: dict[str, Any] = {name: document.get(name) for name in names}
    return SourceStatus(**values)
