"""Where a response's body ends, case by case of RFC 9112 section 6.3."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from bearerd.errors import UpstreamProtocolError
from bearerd.relay.message import Field, ResponseHead
from bearerd.relay.upstream.response_head import is_self_delimited, read_response_head

LENGTH = (b"Content-Length", b"9")
CHUNKED = (b"Transfer-Encoding", b"chunked")


def read(
    *fields: Field, status: int = 200, is_head_request: bool = False
) -> ResponseHead:
    """Return the head with these field lines, in HTTP/1.1."""
    return read_response_head(
        status=status,
        reason=b"Reason",
        version="1.1",
        fields=fields,
        is_head_request=is_head_request,
    )


class Framing(NamedTuple):
    """What a head says of its body."""

    length: int | None
    is_chunked: bool
    has_body: bool
    is_self_delimited: bool


def framing(head: ResponseHead) -> Framing:
    """Return what *head* says of its body."""
    return Framing(head.length, head.is_chunked, head.has_body, is_self_delimited(head))


ACCEPTED = {
    "1: a response to HEAD": (
        read(LENGTH, is_head_request=True),
        Framing(9, False, False, True),
    ),
    "1: to HEAD, chunked": (
        read(CHUNKED, is_head_request=True),
        Framing(None, True, False, True),
    ),
    "1: to HEAD, neither field": (
        read(is_head_request=True),
        Framing(None, False, False, True),
    ),
    "1: 103": (read(status=103), Framing(None, False, False, True)),
    "1: 204": (read(status=204), Framing(None, False, False, True)),
    "1: 304": (read(LENGTH, status=304), Framing(9, False, False, True)),
    "4: chunked": (read(CHUNKED), Framing(None, True, True, True)),
    "4: in another case": (
        read((b"transfer-encoding", b"CHUNKED")),
        Framing(None, True, True, True),
    ),
    "6: a length": (read(LENGTH), Framing(9, False, True, True)),
    "6: the same twice": (read(LENGTH, LENGTH), Framing(9, False, True, True)),
    "6: none of it": (
        read((b"content-length", b"0")),
        Framing(0, False, True, True),
    ),
    "8: neither field": (read(), Framing(None, False, True, False)),
}


@pytest.mark.parametrize(("head", "expected"), ACCEPTED.values(), ids=ACCEPTED)
def test_a_body_ends_where_the_standard_says(
    head: ResponseHead, expected: Framing
) -> None:
    """The number is that of the case in RFC 9112 section 6.3."""
    assert framing(head) == expected


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([CHUNKED, LENGTH], "both Transfer-Encoding and Content-Length"),
        ([(b"Transfer-Encoding", b"gzip")], "a transfer coding other than chunked"),
        ([(b"Transfer-Encoding", b"gzip, chunked")], "other than chunked"),
        ([CHUNKED, CHUNKED], "other than chunked"),
        ([(b"Transfer-Encoding", b"")], "other than chunked"),
        ([LENGTH, (b"content-length", b"8")], "several values"),
        ([(b"Content-Length", b"")], "not a number"),
        ([(b"Content-Length", b"-1")], "not a number"),
        ([(b"Content-Length", b"1, 1")], "not a number"),
    ],
)
def test_a_framing_that_can_be_read_in_two_ways_is_refused(
    fields: list[Field], message: str
) -> None:
    """Cases 3, 4 and 5: the message says what is wrong with it."""
    with pytest.raises(UpstreamProtocolError, match=message):
        read(*fields)


@pytest.mark.parametrize(
    ("status", "reason", "version", "message"),
    [
        (99, b"Low", "1.1", "an invalid status"),
        (200, b"O\x1bK", "1.1", "a control byte in its reason"),
        (200, b"OK", "2.0", "an HTTP version"),
        (200, b"OK", "0.9", "an HTTP version"),
    ],
)
def test_a_status_line_that_breaks_the_rules_is_refused(
    status: int, reason: bytes, version: str, message: str
) -> None:
    """The parser beneath lets each of them pass."""
    with pytest.raises(UpstreamProtocolError, match=message):
        read_response_head(
            status=status,
            reason=reason,
            version=version,
            fields=(),
            is_head_request=False,
        )


@pytest.mark.parametrize("reason", [b"", b"OK", b"So \xe9", b"a\tb"])
def test_a_reason_phrase_may_be_empty_or_hold_other_bytes(reason: bytes) -> None:
    """RFC 9112 section 4: tab, blank, visible characters and bytes above ASCII."""
    head = read_response_head(
        status=200, reason=reason, version="1.0", fields=(), is_head_request=False
    )
    assert head.reason == reason
