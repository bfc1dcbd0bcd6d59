"""Cloudflare's own cookies, kept for one profile in place of its clients.

An agent that talks to a local address keeps no cookies, and Cloudflare takes a client
without them for a new one each time. Codex keeps just these names, for https only
(codex-rs `ChatGptCloudflareCookieStore`); account cookies are never kept, and no
client sees another's.
"""

from __future__ import annotations

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

LIMIT = 32
LIMIT_BYTES = 4096
"""RFC 6265 section 6.1: at least 4096 bytes a cookie; these have some hundred."""


class CookieJar:
    """Owns one profile's cookies. *now* is monotonic seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._kept: dict[bytes, tuple[bytes, float | None]] = {}

    def store(self, set_cookie: Iterable[bytes]) -> None:
        """Take the values of Set-Cookie lines (RFC 6265 section 5.2)."""
        for line in set_cookie:
            pair, *attributes = line.split(b";")
            name, mark, value = pair.partition(b"=")
            name = name.strip()
            if not mark or len(pair) > LIMIT_BYTES:
                continue
            if name not in NAMES and not name.startswith(PREFIX):
                continue
            age = _max_age(attributes)
            self._kept.pop(name, None)
            if age is None or age > 0:
                ends_at = None if age is None else self._now() + age
                self._kept[name] = (value.strip(), ends_at)
            while len(self._kept) > LIMIT:
                del self._kept[next(iter(self._kept))]

    def cookie_line(self) -> bytes:
        """Return the Cookie field line, or nothing."""
        if not self._kept:
            return b""
        now = self._now()
        pairs = [
            name + b"=" + value
            for name, (value, ends_at) in self._kept.items()
            if ends_at is None or ends_at > now
        ]
        return b"Cookie: %b\r\n" % b"; ".join(pairs) if pairs else b""


def _max_age(attributes: Iterable[bytes]) -> float | None:
    """Return Max-Age in seconds; a cookie with Expires alone is kept till we end."""
    for attribute in attributes:
        name, _, value = attribute.partition(b"=")
        if name.strip().lower() == b"max-age":
            text = value.strip()
            if text.lstrip(b"-").isdigit():
                return float(text)
    return None
