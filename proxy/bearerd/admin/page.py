"""The status page: the daemon at one moment, as HTML for an operator. No I/O.

The server makes plain HTML without a script. The browser reloads it because of a header
field, and may load nothing else because of the page's policy.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from html import escape
from typing import Final

from bearerd.admin.health import remedy
from bearerd.admin.status import ServiceStatus
from bearerd.admin.status_text import (
    headline,
    service_rows,
    source_rows,
    source_state,
)
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


def content_security_policy() -> str:
    """Return the Content-Security-Policy of the page: it may use its own style only."""
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
        f"<title>bearerd: {escape(headline(status))}</title>",
        f"<style>{_STYLE}</style></head><body>",
        f"<h1>bearerd {escape(status.version)}</h1>",
        _table(service_rows(status, now)),
        *(_profile(source, now) for source in status.sources),
        f"<p>{_LINKS}</p></body></html>",
    ]
    return "\n".join(parts) + "\n"


def _profile(source: SourceStatus, now: float) -> str:
    mark = "good" if source.is_well else "warn" if source.is_usable else "bad"
    title = (
        f"<h2>{escape(source.profile)}: "
        f'<span class="{mark}">{escape(source_state(source))}</span></h2>'
    )
    box = "" if source.is_well else f'<p class="remedy">{escape(remedy(source))}</p>'
    return f"{title}{box}{_table(source_rows(source, now))}"


def _table(rows: Iterable[tuple[str, str]]) -> str:
    cells = (f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in rows)
    return f"<table>{''.join(cells)}</table>"
