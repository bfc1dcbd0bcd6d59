"""Where a request ends: lengths, codings, chunks, and requests hidden in bodies."""

from __future__ import annotations

from collections.abc import Iterator

from tests.differential.case import UPGRADE, Case, post, request, spelled

CHUNKED = b"Transfer-Encoding: chunked"
CHUNKS = b"3\r\nabc\r\n0\r\n\r\n"
HIDDEN = b"GET /backend-api/hidden HTTP/1.1\r\nHost: localhost\r\n\r\n"

CODINGS = [
    *(b"chunked", b"Chunked", b"CHUNKED", b" chunked", b"chunked ", b"\tchunked\t"),
    *(
        b"xchunked",
        b"chunkedx",
        b"identity",
        b"gzip",
        b"gzip, chunked",
        b"chunked, gzip",
    ),
    *(b"chunked, chunked", b"identity, chunked", b"chunked, identity", b",chunked"),
    *(b"chunked,", b", chunked ,", b"chunked;q=1", b'"chunked"', b"'chunked'", b""),
    *(b"\x0bchunked", b"chunked\x0b", b"\x00chunked", b"chunked\x00", b"ch\xfcnked"),
    *(b"\r\n chunked", b"chunked\r\n ", b"x\r\n chunked", b"trailers", b"\xa0chunked"),
]

CODING_LINES = {
    "twice": [CHUNKED, CHUNKED],
    "twice, second unknown": [CHUNKED, b"Transfer-Encoding: x"],
    "twice, first unknown": [b"Transfer-Encoding: x", CHUNKED],
    "twice, first identity": [b"Transfer-Encoding: identity", CHUNKED],
    "blank before the colon": [b"Transfer-Encoding : chunked"],
    "tab before the colon": [b"Transfer-Encoding\t: chunked"],
    "after a blank": [b" Transfer-Encoding: chunked"],
    "no blank": [b"Transfer-Encoding:chunked"],
    "underscore": [b"Transfer_Encoding: chunked"],
    "behind a bare CR": [b"X-A: 1\rTransfer-Encoding: chunked"],
    "behind a bare LF": [b"X-A: 1\nTransfer-Encoding: chunked"],
    "behind a NUL in the name": [b"Transfer\x00-Encoding: chunked"],
    "behind a folded line": [b"X-A: 1\r\n Transfer-Encoding: chunked"],
    "a CR at the end": [b"Transfer-Encoding: chunked\r"],
}

LENGTHS = [
    *(b"3", b"03", b"0000000000000000000003", b"+3", b"-3", b"3.0", b"0x3", b"3_0"),
    *(b"3,3", b"3, 3", b"3, 4", b"3;a", b"3 3", b"\t3", b"3\t", b"", b" ", b'"3"'),
    *(b"3\x0b", b"\x0b3", b"3\x00", b"\xb3", b"three", b"18446744073709551619", b"1e1"),
    *(b"\r\n 3", b"3\r\n ", b"-0", b"3,", b",3"),
]

LENGTH_LINES = {
    "twice the same": [b"Content-Length: 3", b"Content-Length: 3"],
    "twice different": [b"Content-Length: 3", b"Content-Length: 4"],
    "twice different, less last": [b"Content-Length: 4", b"Content-Length: 3"],
    "twice in two cases": [b"Content-Length: 3", b"content-length: 3"],
    "blank before the colon": [b"Content-Length : 3"],
    "underscore": [b"Content_Length: 3"],
    "and an underscore": [b"Content-Length: 3", b"Content_Length: 9"],
    "and chunks": [b"Content-Length: 3", CHUNKED],
    "and chunks, other order": [CHUNKED, b"Content-Length: 3"],
    "of zero": [b"Content-Length: 0"],
    "of the chunks": [b"Content-Length: 13", CHUNKED],
}

CHUNK_BODIES = {
    "two": b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n",
    "none": b"0\r\n\r\n",
    "in capitals": b"A\r\n0123456789\r\n0\r\n\r\n",
    "with leading zeros": b"0003\r\nabc\r\n0\r\n\r\n",
    "with many leading zeros": b"0" * 40 + b"3\r\nabc\r\n0\r\n\r\n",
    "with many last zeros": b"3\r\nabc\r\n00000\r\n\r\n",
    "with an extension": b"3;a=b\r\nabc\r\n0;c\r\n\r\n",
    "with a quoted extension": b'3;a="b\\"c;\\r"\r\nabc\r\n0\r\n\r\n',
    "with a blank extension": b"3 ;a\r\nabc\r\n0\r\n\r\n",
    "with a long extension": b"3;" + b"a" * 3000 + b"\r\nabc\r\n0\r\n\r\n",
    "with a CR in an extension": b"3;a\rb\r\nabc\r\n0\r\n\r\n",
    "with an LF in an extension": b"3;a\nb\r\nabc\r\n0\r\n\r\n",
    "with an LF after an extension": b"3;a\nabc\r\n0\r\n\r\n",
    "with a NUL in an extension": b"3;a\x00b\r\nabc\r\n0\r\n\r\n",
    "with a blank after the size": b"3 \r\nabc\r\n0\r\n\r\n",
    "with a tab after the size": b"3\t\r\nabc\r\n0\r\n\r\n",
    "with a blank before the size": b" 3\r\nabc\r\n0\r\n\r\n",
    "with a plus": b"+3\r\nabc\r\n0\r\n\r\n",
    "with a minus": b"-3\r\nabc\r\n0\r\n\r\n",
    "with 0x": b"0x3\r\nabc\r\n0\r\n\r\n",
    "with an underscore": b"0_3\r\nabc\r\n0\r\n\r\n",
    "with no size": b"\r\nabc\r\n0\r\n\r\n",
    "with a letter": b"g\r\nabc\r\n0\r\n\r\n",
    "with 2^64 + 3": b"10000000000000003\r\nabc\r\n0\r\n\r\n",
    "with 2^32 + 3": b"100000003\r\nabc\r\n0\r\n\r\n",
    "with a bare LF after the size": b"3\nabc\r\n0\r\n\r\n",
    "with a bare LF after the data": b"3\r\nabc\n0\r\n\r\n",
    "with a bare CR after the size": b"3\rabc\r\n0\r\n\r\n",
    "with two CRs after the size": b"3\r\r\nabc\r\n0\r\n\r\n",
    "with no end of the data": b"3\r\nabc0\r\n\r\n",
    "with too much data": b"3\r\nabcd\r\n0\r\n\r\n",
    "with bare LFs all over": b"3\nabc\n0\n\n",
    "ended by bare LFs": b"3\r\nabc\r\n0\n\n",
    "ended by one bare LF": b"3\r\nabc\r\n0\r\n\n",
    "with a trailer": b"3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n",
    "with a trailer that frames": b"3\r\nabc\r\n0\r\nContent-Length: 9\r\n\r\n",
    "with a trailer that signs": b"3\r\nabc\r\n0\r\nAuthorization: Bearer x\r\n\r\n",
    "with a trailer that is none": b"3\r\nabc\r\n0\r\nnone\r\n\r\n",
    "with a folded trailer": b"3\r\nabc\r\n0\r\nX-T: 1\r\n 2\r\n\r\n",
    "with a trailer ended by LF": b"3\r\nabc\r\n0\r\nX-T: 1\n\r\n",
}


def cases() -> Iterator[Case]:
    """Yield every case about where a request ends."""
    for coding in CODINGS:
        line = b"Transfer-Encoding: " + coding
        yield Case(f"coding: {spelled(coding)}", post(line, body=CHUNKS))
    for name, lines in CODING_LINES.items():
        yield Case(f"coding line: {name}", post(*lines, body=CHUNKS))
        both = (*lines, b"Content-Length: 13")
        yield Case(f"coding line and a length: {name}", post(*both, body=CHUNKS))
    for length in LENGTHS:
        line = b"Content-Length: " + length
        yield Case(f"length: {spelled(length)}", post(line, body=b"abc"))
    for name, lines in LENGTH_LINES.items():
        body = CHUNKS if "chunks" in name else b"abc"
        yield Case(f"length line: {name}", post(*lines, body=body))
    for name, chunks in CHUNK_BODIES.items():
        yield Case(f"chunks {name}", post(CHUNKED, body=chunks))
    yield from _hidden()
    yield Case(
        "coding in 1.0",
        b"POST /backend-api/case HTTP/1.0\r\n%b\r\n\r\n%b" % (CHUNKED, CHUNKS),
    )
    yield Case(
        "coding and a length in 1.0",
        b"POST /backend-api/case HTTP/1.0\r\nContent-Length: 13\r\n%b\r\n\r\n%b"
        % (CHUNKED, CHUNKS),
    )
    three = b"Content-Length: 3"
    yield Case("length: and CRLF behind the body", post(three, body=b"abc\r\n"))
    closing = post(three, b"Connection: close", body=b"abc\r\n")
    yield Case("length: and CRLF behind the body of the last", closing)
    yield Case("length: on GET", request(b"Content-Length: 3", body=b"abc"))
    yield Case("coding: on GET", request(CHUNKED, body=CHUNKS))
    body = b"a" * 100_000
    yield Case("length: 100000", post(b"Content-Length: 100000", body=body))


def _hidden() -> Iterator[Case]:
    """Yield bodies that hold a request, framed so that somebody may see two."""
    length = b"Content-Length: %d" % len(HIDDEN)
    ended = b"0\r\n\r\n" + HIDDEN
    all_of_it = b"Content-Length: %d" % len(ended)
    yield Case("hidden: in a body", post(length, body=HIDDEN))
    yield Case("hidden: in a body of GET", request(length, body=HIDDEN))
    yield Case("hidden: in a chunk", post(CHUNKED, body=_chunk(HIDDEN)))
    yield Case("hidden: CL.TE", post(all_of_it, CHUNKED, body=ended))
    yield Case(
        "hidden: TE.CL", post(CHUNKED, b"Content-Length: 4", body=_chunk(HIDDEN))
    )
    for name, line in {
        "blank": b"Transfer-Encoding : chunked",
        "vertical tab": b"Transfer-Encoding: \x0bchunked",
        "other name": b"Transfer-Encoding: xchunked",
        "folded": b"Transfer-Encoding:\r\n chunked",
        "two codings": b"Transfer-Encoding: chunked, identity",
        "bare CR": b"X: y\rTransfer-Encoding: chunked",
        "bare LF": b"X: y\nTransfer-Encoding: chunked",
        "underscore": b"Transfer_Encoding: chunked",
    }.items():
        yield Case(f"hidden: TE.TE by {name}", post(all_of_it, line, body=ended))
    yield Case("hidden: CL.0", post(b"Content-Length: 0", body=HIDDEN))
    yield Case("hidden: no framing", post(body=HIDDEN))
    yield Case("hidden: two lengths", post(b"Content-Length: 0", length, body=HIDDEN))
    yield Case("hidden: a signed length", post(b"Content-Length: +0", body=HIDDEN))
    yield Case("hidden: behind the last chunk", post(CHUNKED, body=CHUNKS + HIDDEN))
    yield Case(
        "hidden: behind an extension's LF",
        post(CHUNKED, body=b"2;\n\r\n0\r\n\r\n" + HIDDEN),
    )
    yield Case(
        "hidden: behind a short chunk",
        post(CHUNKED, body=b"2\r\n\r\n0\r\n\r\n" + HIDDEN + b"0\r\n\r\n"),
    )
    yield Case("hidden: pipelined", request() + HIDDEN)
    yield Case("hidden: pipelined after close", request(b"Connection: close") + HIDDEN)
    yield Case(
        "hidden: behind an expectation",
        post(b"Expect: 100-continue", length, body=HIDDEN),
    )
    yield Case(
        "hidden: behind an upgrade",
        request(*UPGRADE) + HIDDEN,
    )
    yield Case("hidden: garbage", request() + b"\x00\x01nonsense\r\n\r\n" + HIDDEN)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)
