"""Inputs of the fuzz suites: valid messages, and mutations of them.

The environment sets how long the suites run: `BEARERD_FUZZ_EXAMPLES` is the number of
inputs for each property, `BEARERD_FUZZ_SECONDS` the length of the coverage-guided run. By
default all of it takes less than a minute.
"""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("BEARERD_FUZZ_EXAMPLES", "300"))
CORPUS = Path(__file__).with_name("corpus")
"""Inputs to start from, and those that once broke a property; one a file."""

GUIDED_SECONDS = int(os.environ.get("BEARERD_FUZZ_SECONDS", "10"))

fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,  # a busy machine breaks no property
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

BITS = [
    *(b"\r\n", b"\n", b"\r", b" ", b"\t", b"\x00", b"\x0b", b":", b",", b";", b"\x80"),
    *(b"\r\n\r\n", b"\r\n ", b"0\r\n\r\n", b"1\r\na\r\n", b"f" * 17, b"HTTP/1.1 "),
    *(b"HTTP/1.0 ", b"GET / HTTP/1.1\r\n\r\n", b"100 Continue\r\n\r\n", b"-1", b"+1"),
    *(b"Content-Length: 1\r\n", b"Content-Length: 0\r\n", b"Content-Length", b"0x1"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: x\r\n", b"chunked"),
    *(b"Connection: close\r\n", b"Connection: authorization, x-a\r\n", b"Host: a\r\n"),
    *(b"Authorization: Bearer x\r\n", b"Upgrade: websocket\r\n", b"\xff", b"%2e%2e"),
    *(b"Expect: 100-continue\r\n", b"Trailer: a\r\n", b"X-A: 1\r\n", b"\xc2\xb2"),
]
"""Bytes that parsers read in different ways."""

NAMES = st.sampled_from(
    [
        *(b"X-A", b"x-a", b"X_A", b"Connection", b"Keep-Alive", b"TE", b"Trailer"),
        *(b"Upgrade", b"Set-Cookie", b"Cookie", b"Authorization", b"AUTHORIZATION"),
        *(b"Proxy-Connection", b"chatgpt-account-id", b"x-bearerd-key", b"Via"),
        *(b"Date", b"x-bearerd-error", b"Content-Type", b"Expect", b"Forwarded"),
    ]
) | st.from_regex(rb"\A[!#$%&'*+.^_`|~0-9A-Za-z-]{1,8}\Z")
VALUES = st.sampled_from(
    [b"", b"1", b"close", b"keep-alive", b"x-a, close", b"authorization", b"a b"]
) | st.binary(max_size=12).map(
    lambda raw: bytes(byte for byte in raw if byte >= 0x20 and byte != 0x7F).strip()
)
LINES = st.lists(
    st.tuples(NAMES, VALUES).map(lambda pair: b"%b: %b\r\n" % pair)
    | st.sampled_from(
        [
            b"Connection: x-a, X-B\r\nX-A: 1\r\n",
            b"X-B: 2\r\nconnection: ,x-b\r\nConnection:\r\n",
        ]
    ),
    max_size=5,
).map(b"".join)
BODIES = st.binary(max_size=40)


@st.composite
def framed(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Return field lines that frame a body, and the framed body."""
    body = draw(BODIES)
    kind = draw(st.sampled_from(["length", "chunked", "none"]))
    if kind == "length":
        return b"Content-Length: %d\r\n" % len(body), body
    if kind == "none":
        return b"", draw(st.sampled_from([b"", body]))
    chunks, at = b"", 0
    while at < len(body):
        size = draw(st.integers(1, len(body) - at))
        extension = draw(st.sampled_from([b"", b"", b";a", b";a=b"]))
        part = body[at : at + size]
        chunks += b"%x%b\r\n%b\r\n" % (size, extension, part)
        at += size
    trailers = draw(st.sampled_from([b"", b"", b"X-T: 1\r\n", b"X-A: 1\r\nx-t:\r\n"]))
    return b"Transfer-Encoding: chunked\r\n", chunks + b"0\r\n" + trailers + b"\r\n"


@st.composite
def mutated(draw: st.DrawFn, messages: st.SearchStrategy[bytes]) -> bytes:
    """Return a message with up to four mutations."""
    data = draw(messages)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 12)))
        kind = draw(
            st.sampled_from(["cut", "double", "insert", "overwrite", "swap case"])
        )
        bit = draw(st.sampled_from(BITS) | st.binary(min_size=1, max_size=2))
        if kind == "cut":
            data = data[:at] + data[end:]
        elif kind == "double":
            data = data[:end] + data[at:end] + data[end:]
        elif kind == "insert":
            data = data[:at] + bit + data[at:]
        elif kind == "overwrite":
            data = data[:at] + bit + data[at + len(bit) :]
        else:
            data = data[:at] + data[at:end].swapcase() + data[end:]
    return data


@st.composite
def responses(draw: st.DrawFn, *, to_head: bool = False) -> bytes:
    """Return what a valid upstream sends: interim responses, and the final one.

    A response to HEAD announces a body that does not follow.
    """
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    interim = draw(st.sampled_from([b"", b"", hints, hints * 2]))
    version = draw(st.sampled_from([b"1.1", b"1.1", b"1.1", b"1.0"]))
    status = draw(st.sampled_from([200, 200, 200, 204, 205, 304, 401, 404, 500, 999]))
    reason = draw(st.sampled_from([b"OK", b"", b"Not \xe9", b"a  b"]))
    lines, body = draw(framed())
    head = b"HTTP/%b %d %b\r\n" % (version, status, reason)
    fields = [draw(LINES), lines, draw(LINES)]
    return interim + head + b"".join(fields) + b"\r\n" + (b"" if to_head else body)


TARGETS = st.sampled_from(
    [
        b"/v1/models",
        b"/backend-api/a?b=c",
        b"/responses",
        b"http://localhost/v1/a",
        b"*",
    ]
)


@st.composite
def requests(draw: st.DrawFn, *, most: int = 2) -> bytes:
    """Return what a valid client sends: up to *most* requests in a row."""
    whole = b""
    for _ in range(draw(st.integers(1, most))):
        method = draw(st.sampled_from([b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS"]))
        version = draw(st.sampled_from([b"1.1", b"1.1", b"1.1", b"1.0"]))
        lines, body = draw(framed())
        start = b"%b %b HTTP/%b\r\n" % (method, draw(TARGETS), version)
        fields = [draw(LINES), b"Host: localhost\r\n", lines, draw(LINES)]
        body = body if lines else b""  # without framing there is no body
        whole += start + b"".join(fields) + b"\r\n" + body
    return whole


SPLITS = st.lists(st.integers(0, 400), max_size=4)


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    """Return *data* cut at *cuts*; no part is empty."""
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    parts = [data[a:b] for a, b in pairwise(edges)]
    return [part for part in parts if part]
