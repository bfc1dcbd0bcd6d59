"""The output of `bearerd status`, as lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bearerd.admin.health import remedy
from bearerd.admin.status import ServiceStatus
from bearerd.admin.status_text import Rows, service_rows, source_rows, source_state
from bearerd.credential.status import SourceStatus

LABEL_WIDTH = 20


def status_lines(
    status: ServiceStatus | None, sources: Iterable[SourceStatus], now: float
) -> Iterator[str]:
    """Yield the lines for a daemon, and for the profiles that were asked for.

    *status* is None if no daemon runs. *now* is epoch seconds.
    """
    if status is None:
        yield "bearerd is not running; this is the login in the store"
    else:
        yield f"bearerd {status.version} is running"
        yield from _lines(service_rows(status, now))
    for source in sources:
        yield f"{source.profile}: {source_state(source)}"
        if not source.is_well:
            yield from _lines([("to do", remedy(source))])
        yield from _lines(source_rows(source, now))


def _lines(rows: Rows) -> Iterator[str]:
    for label, value in rows:
        yield f"  {label:{LABEL_WIDTH}} {value}"
