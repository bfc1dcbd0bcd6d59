"""What arrived at the stand-ins: one record for each call, filled in until it is over.

Records hold made-up tokens, yet do not print them; they print fingerprints.
"""

import hashlib
from dataclasses import dataclass, field

FINGERPRINT_DIGITS = 12
KEPT_RECORDS = 4096  # a load run makes many; the counters count them all


def fingerprint(secret: str) -> str:
    """Return a short name for a secret that does not give it away."""
    # A token of ours may hold a lone surrogate, on purpose.
    encoded = secret.encode(errors="surrogatepass")
    return hashlib.sha256(encoded).hexdigest()[:FINGERPRINT_DIGITS]


@dataclass(slots=True)
class TokenCall:
    """One POST to the token endpoint.

    `outcome` is `pending` until it is decided, then `rotated`, `tolerated`,
    `not_rotated`, `signed_in`, an error's code, `fault:KIND`, `incident`, or `abandoned`
    when the sandbox stopped first. `rotated` is True if the call spent the refresh token
    that it presented, which a client that lost the response does not know.
    """

    at: float
    grant_type: str
    refresh_fingerprint: str | None
    body_keys: tuple[str, ...]
    content_type: str
    user_agent: str
    outcome: str = "pending"
    rotated: bool = False
    status: int | None = None
    finished: bool = False


@dataclass(slots=True)
class RequestRecord:
    """One request at the upstream.

    `outcome` is `pending`, then `answered`, `abandoned` (the client went away) or
    `broken` (a fault cut it). `body_length` and `body_sha256` are of the bytes as they
    came, never decoded; `sent_bytes` counts the response's body while it streams.
    """

    method: str
    raw_path: str
    raw_headers: tuple[tuple[bytes, bytes], ...] = field(repr=False)
    access_fingerprint: str | None = None
    body_length: int = 0
    body_sha256: str = ""
    status: int | None = None
    sent_bytes: int = 0
    outcome: str = "pending"

    def header(self, name: bytes) -> list[bytes]:
        """Return the values of a header field, in order, by any case of its name."""
        wanted = name.lower()
        return [value for key, value in self.raw_headers if key.lower() == wanted]
