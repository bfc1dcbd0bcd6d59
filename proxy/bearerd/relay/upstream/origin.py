"""Where the upstream is."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port of the upstream, and the path that its URL starts with.

    `base_path` has no slash at its end. `authority` is what Host says: host, and port
    where the URL names it.
    """

    is_tls: bool
    host: str
    port: int
    base_path: bytes
    authority: bytes

    @classmethod
    def from_url(cls, url: str) -> Origin:
        """Split a URL that the settings have checked."""
        parts = urlsplit(url)
        is_tls = parts.scheme == "https"
        return cls(
            is_tls=is_tls,
            host=parts.hostname or "",
            port=parts.port or (443 if is_tls else 80),
            base_path=parts.path.rstrip("/").encode(),
            authority=parts.netloc.encode(),
        )
