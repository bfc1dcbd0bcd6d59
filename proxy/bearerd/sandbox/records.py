"""The records of the stand-ins: one for each call, updated until the call completes.

A record contains the fingerprints of tokens and not the tokens, although these are fake.
"""

import hashlib
from dataclasses import dataclass, field

FINGERPRINT_DIGITS = 12
KEPT_RECORDS = 4096  # a load test makes more calls; the counters include all of them


def fingerprint(secret: str) -> str:
    """Return a short digest that identifies a secret without revealing it."""
    # A faulty token can contain a lone surrogate.
    encoded = secret.encode(errors="surrogatepass")
    return hashlib.sha256(encoded).hexdigest()[:FINGERPRINT_DIGITS]


@dataclass(slots=True)
class TokenCall:
    """One POST to the token endpoint.

    `outcome` is `pending` at first, then `rotated`, `tolerated`, `not_rotated`,
    `signed_in`, an error code, `fault:KIND`, `incident`, or `abandoned` if the sandbox
    stopped first. `rotated` is True if the call has spent the presented refresh token,
    even if the client has lost the response.
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

    def end_with(self, outcome: str, *, is_rotated: bool = False) -> None:
        """Record the outcome, and whether the refresh token was spent."""
        self.outcome = outcome
        self.rotated = self.rotated or is_rotated

    def respond(self, status: int) -> None:
        """Record the status of the response."""
        self.status = status

    def finish(self) -> None:
        """Record that the call is over."""
        self.finished = True


@dataclass(slots=True)
class RequestRecord:
    """One request at the upstream.

    `outcome` is `pending` at first, then `answered`, `abandoned` (the client
    disconnected) or `broken` (a fault cut the response). `body_length` and `body_sha256`
    are those of the received bytes, without decoding. `sent_bytes` counts the bytes of a
    streamed response body.
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

    def receive(self, byte_count: int) -> None:
        """Count bytes of the request body."""
        self.body_length += byte_count

    def end_body(self, sha256: str) -> None:
        """Record the digest of the whole request body."""
        self.body_sha256 = sha256

    def respond(self, status: int) -> None:
        """Record the status of the response."""
        self.status = status

    def send(self, byte_count: int) -> None:
        """Count bytes of the response body."""
        self.sent_bytes += byte_count

    def end_with(self, outcome: str) -> None:
        """Record the outcome."""
        self.outcome = outcome

    def header(self, name: bytes) -> list[bytes]:
        """Return the values of a header field in order; names are case-insensitive."""
        lowered = name.lower()
        return [value for key, value in self.raw_headers if key.lower() == lowered]
