"""From the client's request target to the upstream's: the path rules. Pure.

A path goes on byte for byte. One that two readers could take for different things (a
dot segment, an encoded slash, an empty segment) is refused rather than normalised,
since the rules here would then speak of other bytes than those the upstream gets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from bearerd.errors import NotFound, RequestMalformed, TargetForbidden

BACKEND = b"/backend-api"

ALIASES: tuple[tuple[bytes, bytes], ...] = (
    (BACKEND + b"/", b"/"),
    (b"/v1/", b"/codex/"),
    (b"/codex/", b"/codex/"),
    (b"/responses", b"/codex/responses"),
)
"""What a client's path starts with, and what stands below the upstream's base for it."""

PROFILE = re.compile(rb"/profiles/([a-z0-9][a-z0-9._-]{0,62})(/.*)", re.DOTALL)

NOT_IN_A_TARGET = re.compile(rb"[^\x21-\x7e]|#")
"""RFC 3986 section 2 allows neither control nor non-ASCII bytes, and RFC 9112 section
3.2 no fragment. Bytes such as `|` are not allowed either, but mislead nobody."""

AMBIGUOUS = re.compile(
    rb"//|\\|(?:^|/)(?:\.|%2e){1,2}(?:/|;|$)|%2f|%5c|%00", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes. `below` is the path under the upstream's base, with query.

    `path` is the same without the query, as text: a name for logs and comparisons.
    """

    profile: str | None
    below: bytes
    path: str


def origin_form(raw: bytes) -> tuple[bytes | None, bytes]:
    """Return the authority that a target names, if any, and the target without it.

    RFC 9112 section 3.2.2; whatever is no http URL is returned as it is.
    """
    scheme, mark, rest = raw.partition(b"://")
    if not mark or scheme.lower() not in (b"http", b"https"):
        return None, raw
    authority, slash, path = rest.partition(b"/")
    return authority, slash + path


@lru_cache(maxsize=1024)
def resolve(raw: bytes) -> Target:
    """Return where an origin-form target (RFC 9112 section 3.2.1) leads.

    Raises:
        RequestMalformed: it is no path, or has bytes that no target may have.
        TargetForbidden: its path is ambiguous.
        NotFound: nothing is served there.
    """
    if NOT_IN_A_TARGET.search(raw):
        message = "the request target holds a byte that none may hold"
        raise RequestMalformed(message)
    if not raw.startswith(b"/"):
        message = "the request target is neither a path nor a URL"
        raise RequestMalformed(message)
    path, mark, query = raw.partition(b"?")
    if AMBIGUOUS.search(path):
        message = (
            "the path can be read in two ways (a dot segment, an encoded slash or an "
            "empty segment); send it in its plain form"
        )
        raise TargetForbidden(message)
    profile, path = _profile(path)
    for prefix, below in ALIASES:
        if path.startswith(prefix) and _is_whole(prefix, path):
            onward = below + path[len(prefix) :]
            return Target(profile, onward + mark + query, onward.decode())
    message = (
        "nothing is served at this path; as a base URL use /backend-api/codex (Codex, "
        "opencode), /backend-api (pi, OpenClaw) or /v1 (OpenAI SDKs) of this address"
    )
    raise NotFound(message)


def _profile(path: bytes) -> tuple[str | None, bytes]:
    match = PROFILE.fullmatch(path)
    return (match[1].decode(), match[2]) if match else (None, path)


def _is_whole(prefix: bytes, path: bytes) -> bool:
    """Say whether a prefix without a slash ends at a segment's end."""
    return prefix.endswith(b"/") or path[len(prefix) : len(prefix) + 1] in (b"", b"/")
