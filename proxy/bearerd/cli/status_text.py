"""The status as lines for a person. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bearerd.admin.page import moment


def lines(document: Mapping[str, Any], now: float) -> Iterator[str]:
    """Give the lines of a status document. *now* is epoch seconds."""
    if document["running"]:
        version, since = document["version"], moment(document["started_at"], now)
        yield f"bearerd {version} is {'stopping' if document['draining'] else 'running'}"
        yield f"  since          {since}"
        yield f"  relay          {', '.join(document['relay'])}"
        yield f"  requests       {document['requests_in_flight']} in flight"
        yield f"  streams        {document['streams_active']}"
    else:
        yield "bearerd is not running; this is what the store holds"
    for profile in document["profiles"]:
        yield from _profile(profile, now)


def _profile(profile: Mapping[str, Any], now: float) -> Iterator[str]:
    reason = f" ({profile['reason']})" if profile["reason"] else ""
    yield f"{profile['profile']}: {profile['state'].replace('_', ' ')}{reason}"
    if profile["message"]:
        yield f"  to do          {profile['message']}"
    if profile["account_id"]:
        yield f"  account        {profile['account_id']}"
    for name, key in (("expires", "expires_at"), ("next refresh", "refresh_at")):
        if profile[key] is not None:
            yield f"  {name:14} {moment(profile[key], now)}"
    if profile["last_refreshed_at"] is not None:
        yield f"  last refresh   {moment(profile['last_refreshed_at'], now)}"
    if profile["in_memory_only"]:
        yield "  saved          no: the store could not be written"
    if profile["last_error"]:
        yield f"  last error     {profile['last_error']}"
    yield f"  store          {profile['store']}"
