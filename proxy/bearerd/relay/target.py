"""From the client's request target to the upstream's: the path rules. Pure.

A target passes these steps, in this order:

1. Bytes that no target may contain: 400.
2. Any form but origin-form (RFC 9112 section 3.2.1): 400. `to_origin_form` has split an
   absolute-form before; `*` belongs to OPTIONS, which the handler answers.
3. A path that two readers could take for different paths (a dot segment, an encoded
   slash, an empty segment): 403. It is refused and not normalised, because these rules
   would then judge other bytes than the upstream gets.
4. `/profiles/NAME` at its start names a profile, and is cut off.
5. The alias that it starts with decides where it goes. No alias: 404.

What passes goes to the upstream byte for byte, below the upstream's base path.
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
"""The start of a client's path, and what replaces it below the upstream's base path."""

PROFILE = re.compile(rb"/profiles/([a-z0-9][a-z0-9._-]{0,62})(/.*)", re.DOTALL)

FORBIDDEN_BYTES = re.compile(rb"[^\x21-\x7e]|#")
"""RFC 3986 section 2 allows neither control nor non-ASCII bytes, and RFC 9112 section
3.2 no fragment. Bytes such as `|` are not allowed either; they have one reading, pass."""

AMBIGUOUS = re.compile(
    rb"//|\\|(?:^|/)(?:\.|%2e){1,2}(?:/|;|$)|%2f|%5c|%00", re.IGNORECASE
)
"""Readers differ on each of these: some decode, some merge slashes, some take `\\` for a
slash, some cut a segment at `;` (`..;` is Tomcat's well-known case)."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes.

    `upstream_target` is the path below the upstream's base path, with the query. `path`
    is the same without the query, as text: a name for logs and comparisons. `profile` is
    None if the client's path names none.
    """

    profile: str | None
    upstream_target: bytes
    path: str


def to_origin_form(target: bytes) -> tuple[bytes | None, bytes]:
    """Return the authority of an absolute-form, or None, and the target without it.

    RFC 9112 section 3.2.2. A target that is no http or https URL is returned unchanged.
    """
    scheme, separator, rest = target.partition(b"://")
    if not separator or scheme.lower() not in (b"http", b"https"):
        return None, target
    authority, slash, path = rest.partition(b"/")
    return authority, slash + path


@lru_cache(maxsize=1024)
def resolve(target: bytes) -> Target:
    """Return where an origin-form *target* goes.

    Raises:
        RequestMalformed: it is no path, or contains bytes that no target may contain.
        TargetForbidden: its path is ambiguous.
        NotFound: no alias matches.
    """
    if FORBIDDEN_BYTES.search(target):  # 1
        message = "the request target contains a byte that no target may contain"
        raise RequestMalformed(message)
    if not target.startswith(b"/"):  # 2
        message = "the request target is neither a path nor a URL"
        raise RequestMalformed(message)
    path, question_mark, query = target.partition(b"?")
    if AMBIGUOUS.search(path):  # 3
        message = (
            "the path can be read in two ways (a dot segment, an encoded slash or an "
            "empty segment); send it in its plain form"
        )
        raise TargetForbidden(message)
    profile, path = _split_profile(path)  # 4
    for prefix, replacement in ALIASES:  # 5
        if path.startswith(prefix) and _ends_at_segment(prefix, path):
            upstream_path = replacement + path[len(prefix) :]
            return Target(
                profile, upstream_path + question_mark + query, upstream_path.decode()
            )
    message = (
        "this path does not exist; the base URLs are /backend-api/codex (Codex, "
        "opencode), /backend-api (pi, OpenClaw) and /v1 (OpenAI SDKs) of this address"
    )
    raise NotFound(message)


def _split_profile(path: bytes) -> tuple[str | None, bytes]:
    match = PROFILE.fullmatch(path)
    return (match[1].decode(), match[2]) if match else (None, path)


def _ends_at_segment(prefix: bytes, path: bytes) -> bool:
    """Return True if *prefix* ends where a segment of *path* ends."""
    return prefix.endswith(b"/") or path[len(prefix) : len(prefix) + 1] in (b"", b"/")
