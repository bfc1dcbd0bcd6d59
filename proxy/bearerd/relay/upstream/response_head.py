"""The head of a response, checked, and where its body ends. Pure.

RFC 9112 section 6.3 has eight cases for the length of a body. Their numbers stand again
beside the branches. A head that is refused becomes a 502.

1. A response to HEAD, and a 1xx, 204 or 304, ends with its head, whatever its fields say.
2. A 2xx to CONNECT switches to a tunnel. No such request comes here: `dial` sends its own.
3. Transfer-Encoding with Content-Length: refused. It is how responses are split.
4. Transfer-Encoding chunked: the body ends with its last chunk. Any other coding is
   refused, since no request of ours accepts one (RFC 9112 section 7.4).
5. A Content-Length that is no number, or several that differ: refused.
6. A Content-Length: the body has that many bytes.
7. The case is about requests.
8. Neither field: the body ends with the connection, so no response can follow it.
"""

from __future__ import annotations

import re

from bearerd.errors import UpstreamProtocolError
from bearerd.relay.message import Fields, ResponseHead

NO_CONTENT, NOT_MODIFIED = 204, 304

LOWEST_STATUS = 100
"""RFC 9110 section 15: a status has three digits, and the first class is 1xx."""

LOWEST_FINAL_STATUS = 200
"""RFC 9110 section 15.2: a 1xx response is interim, and another one follows it."""

NOT_IN_A_REASON = re.compile(rb"[^\t\x20-\x7e\x80-\xff]")
"""RFC 9112 section 4 allows no control byte but tab; llhttp lets the others pass."""


def read_response_head(
    *, status: int, reason: bytes, version: str, fields: Fields, is_head_request: bool
) -> ResponseHead:
    """Return the head that llhttp has split into these parts; *version* is "1.1".

    Raises:
        UpstreamProtocolError: the response cannot be passed on safely.
    """
    if status < LOWEST_STATUS:
        raise _refused("an invalid status")
    if NOT_IN_A_REASON.search(reason):
        raise _refused("a control byte in its reason phrase")
    if version not in ("1.0", "1.1"):
        raise _refused("an HTTP version other than 1.1 and 1.0")
    codings = _transfer_codings(fields)
    length = _content_length(fields)
    if codings and length is not None:  # 3
        raise _refused("both Transfer-Encoding and Content-Length")
    if codings not in ([], [b"chunked"]):  # 4
        raise _refused("a transfer coding other than chunked")
    has_no_body = (  # 1
        is_head_request
        or status < LOWEST_FINAL_STATUS
        or status in (NO_CONTENT, NOT_MODIFIED)
    )
    return ResponseHead(
        status=status,
        reason=reason,
        fields=fields,
        length=length,  # 6
        is_chunked=bool(codings),  # 4
        has_body=not has_no_body,
    )


def is_self_delimited(head: ResponseHead) -> bool:
    """Return True if the response ends by itself (1, 4, 6), not with the connection (8)."""
    return not head.has_body or head.is_chunked or head.length is not None


def _content_length(fields: Fields) -> int | None:
    """Return the one Content-Length in *fields*, or None if there is none."""
    lengths = {value for name, value in fields if name.lower() == b"content-length"}
    if not lengths:
        return None
    if len(lengths) > 1:  # 5
        raise _refused("several values of Content-Length")
    length = lengths.pop()
    if not length.isdigit():  # 5
        raise _refused("a Content-Length that is not a number")
    return int(length)


def _transfer_codings(fields: Fields) -> list[bytes]:
    """Return the transfer codings in order, in lower case (RFC 9112 section 6.1)."""
    return [
        coding.strip().lower()
        for name, value in fields
        if name.lower() == b"transfer-encoding"
        for coding in value.split(b",")
    ]


def _refused(what: str) -> UpstreamProtocolError:
    return UpstreamProtocolError(f"the upstream's response has {what}")
