"""Cloudflare's own cookies, kept for one profile in place of its clients.

An agent that talks to a local address keeps no cookies, and Cloudflare takes a client
without them for a new one each time. Which cookies are kept, and how long:

1. Only the names below. Codex keeps just these, for https only (codex-rs
   `ChatGptCloudflareCookieStore`). An account's cookies are never kept.
2. With Max-Age, for so many seconds; zero or less removes the cookie (RFC 6265 section
   5.2.2). Without it, as long as the process runs: Expires is not read.
3. At most `LIMIT` cookies of at most `LIMIT_BYTES` each; the oldest is dropped first.

Domain, Path and Secure say nothing here: a jar has one origin, and that has TLS. No
client sees a cookie, neither its own nor another's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

NAMES = frozenset(
    {
        b"__cf_bm",
        b"__cflb",
        b"__cfruid",
        b"__cfseq",
        b"__cfwaitingroom",
        b"_cfuvid",
        b"cf_clearance",
        b"cf_ob_info",
        b"cf_use_ob",
    }
)
PREFIX = b"cf_chl_"

SECONDS = re.compile(rb"-?[0-9]+")
"""RFC 6265 section 5.2.2; Max-Age is ignored if it has another form."""

LIMIT = 32
LIMIT_BYTES = 4096
"""RFC 6265 section 6.1: at least 4096 bytes a cookie; these have some hundred."""


class CookieJar:
    """Owns one profile's cookies. *now* is monotonic seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._cookies: dict[bytes, tuple[bytes, float | None]] = {}  # value, expires at

    def store(self, set_cookie: Iterable[bytes]) -> None:
        """Keep the cookies in the values of Set-Cookie lines (RFC 6265 section 5.2)."""
        for line in set_cookie:
            pair, *attributes = line.split(b";")
            name, equals, value = pair.partition(b"=")
            name = name.strip()
            if not equals or len(pair) > LIMIT_BYTES or not _is_kept(name):
                continue
            self._cookies.pop(name, None)
            age = _max_age(attributes)
            if age is None or age > 0:  # 2
                expires_at = None if age is None else self._now() + age
                self._cookies[name] = (value.strip(), expires_at)
            while len(self._cookies) > LIMIT:  # 3
                del self._cookies[next(iter(self._cookies))]

    def cookie_line(self) -> bytes:
        """Return the Cookie field line, or nothing if there is no cookie."""
        if not self._cookies:
            return b""
        now = self._now()
        pairs = [
            name + b"=" + value
            for name, (value, expires_at) in self._cookies.items()
            if expires_at is None or expires_at > now
        ]
        return b"Cookie: %b\r\n" % b"; ".join(pairs) if pairs else b""


def _is_kept(name: bytes) -> bool:
    return name in NAMES or name.startswith(PREFIX)  # 1


def _max_age(attributes: Iterable[bytes]) -> float | None:
    """Return Max-Age in seconds, or None if there is none that is a number."""
    for attribute in attributes:
        name, _, value = attribute.partition(b"=")
        is_max_age = name.strip().lower() == b"max-age"
        if is_max_age and SECONDS.fullmatch(value.strip()):
            return float(value)
    return None
