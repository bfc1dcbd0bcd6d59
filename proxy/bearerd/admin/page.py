"""The status page: the daemon at one moment, for a person. Pure.

Plain HTML from the server, without a script; it loads itself anew by a header, and the
policy that goes with it lets the browser load nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape
from typing import Final

from bearerd.admin.health import ServiceStatus, is_usable, needs_person, remedy
from bearerd.credential.status import SourceStatus

RELOAD_SECONDS: Final = 10

_STYLE: Final = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 50rem;
       padding: 0 1rem; }
h1 { font-size: 1.4rem; }
h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .2rem 1rem .2rem 0;
         overflow-wrap: anywhere; }
th { font-weight: normal; opacity: .7; white-space: nowrap; width: 12rem; }
.good::before { content: "\\25CF"; color: #2a8f4a; margin-right: .4rem; }
.bad::before { content: "\\25CF"; color: #c8322b; margin-right: .4rem; }
.warn::before { content: "\\25CF"; color: #c98a0b; margin-right: .4rem; }
.remedy { border-left: 4px solid #c8322b; padding: .3rem .8rem; }
code { font-size: .95em; }
"""


_LINKS: Final = " &middot; ".join(
    f'<a href="{path}">{name}</a>'
    for path, name in (
        ("/readyz", "readiness"),
        ("/healthz", "health"),
        ("/metrics", "metrics"),
        ("/api/status", "status as JSON"),
        ("/api/events", "events"),
    )
)


def policy() -> str:
    """Return the Content-Security-Policy of the page: its own style and nothing else."""
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )


def render(status: ServiceStatus, now: float) -> str:
    """Return the page. *now* is epoch seconds."""
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>bearerd: {escape(_headline(status))}</title>",
        f"<style>{_STYLE}</style></head><body>",
        f"<h1>bearerd {escape(status.version)}</h1>",
        _table(_of_service(status, now)),
        *(_profile(source, now) for source in status.sources),
        f"<p>{_LINKS}</p></body></html>",
    ]
    return "\n".join(parts) + "\n"


def moment(seconds: float | None, now: float) -> str:
    """Return a time, and how far it is from *now*, in words; `unknown` for None."""
    if seconds is None:
        return "unknown"
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    away = span(abs(seconds - now))
    return f"{text} ({f'in {away}' if seconds > now else f'{away} ago'})"


def span(seconds: float) -> str:
    """Return a span of time in its two largest units, such as `2 d 4 h`."""
    rest = int(seconds)
    words = []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if count:
            words.append(f"{count} {unit}")
    return " ".join(words[:2]) or "0 s"


def _headline(status: ServiceStatus) -> str:
    if status.draining:
        return "stopping"
    if any(needs_person(source) for source in status.sources):
        return "sign-in needed"
    return "ready"


def _of_service(status: ServiceStatus, now: float) -> list[tuple[str, str]]:
    rows = [
        ("state", _headline(status)),
        ("running since", moment(status.started_at, now)),
        ("requests in flight", str(status.requests_in_flight)),
        ("streams", str(status.streams_active)),
    ]
    rows += [("relay", address) for address in status.relay]
    rows += [("admin", address) for address in status.admin]
    return rows


def _profile(source: SourceStatus, now: float) -> str:
    usable, wanting = is_usable(source), needs_person(source)
    mark = "bad" if not usable else "warn" if wanting else "good"
    rows = [
        ("account", source.account_id or "unknown"),
        ("access token expires", moment(source.expires_at, now)),
        ("next refresh", moment(source.refresh_at, now)),
        ("last refresh", _last(source.last_refreshed_at, now)),
        ("generation", str(source.generation)),
        ("store", source.store),
    ]
    if source.in_memory_only:
        rows.append(("saved", "no: the store could not be written"))
    if source.last_error is not None:
        rows.append(("last error", source.last_error))
    state = source.state.replace("_", " ")
    reason = f" ({source.reason})" if source.reason else ""
    title = (
        f'<h2>{escape(source.profile)}: <span class="{mark}">{escape(state + reason)}'
    )
    box = f'<p class="remedy">{escape(remedy(source))}</p>' if wanting else ""
    return f"{title}</span></h2>{box}{_table(rows)}"


def _last(seconds: float | None, now: float) -> str:
    return "none since the start" if seconds is None else moment(seconds, now)


def _table(rows: Iterable[tuple[str, str]]) -> str:
    cells = (f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in rows)
    return f"<table>{''.join(cells)}</table>"
