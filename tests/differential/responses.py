"""What an upstream may answer: framing, heads, interim responses, endings, stray bytes."""

from __future__ import annotations

from collections.abc import Iterator

from tests.differential.case import OK, UPGRADE, Case, End, request, response, spelled

CHUNKED = b"Transfer-Encoding: chunked"
CHUNKS = b"2\r\nok\r\n0\r\n\r\n"
TWO = b"Content-Length: 2"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"

START_LINES = [
    *(b"HTTP/1.1 200 OK", b"HTTP/1.1 200", b"HTTP/1.1 200 ", b"HTTP/1.1 299 a  b"),
    *(b"HTTP/1.1 299 caf\xe9", b"HTTP/1.1 299 a\tb", b"HTTP/1.1 299 a\x01b"),
    *(b"HTTP/1.0 200 OK", b"HTTP/1.2 200 OK", b"HTTP/2.0 200 OK", b"HTTP/0.9 200 OK"),
    *(b"http/1.1 200 OK", b"HTTP/1.1  200 OK", b"HTTP/1.1 20 OK", b"HTTP/1.1 2000 OK"),
    *(b"HTTP/1.1 099 OK", b"HTTP/1.1 600 OK", b"HTTP/1.1 999 OK", b"HTTP/1.1 abc OK"),
    *(b"HTTP/1.1 -20 OK", b"HTTP/1.1 2 0 OK", b"HTTP/11 200 OK", b"ICY 200 OK"),
    *(b"garbage", b"\r\nHTTP/1.1 200 OK", b" HTTP/1.1 200 OK", b"\x16\x03\x01\x02"),
    *(b"HTTP/1.1\t200 OK", b"HTTP/1.1 200\tOK", b"HTTP/1.1 200OK", b"HTTP/1.1200 OK"),
]

LENGTHS = [
    *(b"2", b"02", b"+2", b"-2", b"0x2", b"2.0", b"2, 2", b"2,3", b"2 2", b"2;a", b""),
    *(b'"2"', b"2\x0b", b"18446744073709551618", b"two", b" \t2\t ", b"2\r\n "),
]

CODINGS = [
    *(b"chunked", b"Chunked", b"xchunked", b"identity", b"gzip", b"gzip, chunked"),
    *(b"chunked, gzip", b"chunked, chunked", b",chunked", b"chunked;a", b'"chunked"'),
    *(b"\x0bchunked", b"chunked\x00", b"", b"\r\n chunked"),
]

FRAMINGS = {
    "a coding and a length": [CHUNKED, TWO],
    "a length and a coding": [TWO, CHUNKED],
    "two equal lengths": [TWO, TWO],
    "two lengths": [TWO, b"Content-Length: 9"],
    "two codings": [CHUNKED, CHUNKED],
    "identity and a length": [b"Transfer-Encoding: identity", TWO],
    "a coding before a blank": [b"Transfer-Encoding : chunked"],
    "a length before a blank": [b"Content-Length : 2"],
    "an underscore": [b"Content_Length: 2", CHUNKED],
}

CHUNK_BODIES = {
    "with an extension": b"2;a=b\r\nok\r\n0\r\n\r\n",
    "with leading zeros": b"0002\r\nok\r\n000\r\n\r\n",
    "with a trailer": b"2\r\nok\r\n0\r\nX-T: 1\r\n\r\n",
    "with a trailer that frames": b"2\r\nok\r\n0\r\nContent-Length: 9\r\n\r\n",
    "with a bare LF after the size": b"2\nok\r\n0\r\n\r\n",
    "with a bare LF after the data": b"2\r\nok\n0\r\n\r\n",
    "with a blank before the size": b" 2\r\nok\r\n0\r\n\r\n",
    "with a blank after the size": b"2 \r\nok\r\n0\r\n\r\n",
    "with a plus": b"+2\r\nok\r\n0\r\n\r\n",
    "with 0x": b"0x2\r\nok\r\n0\r\n\r\n",
    "with no size": b"\r\nok\r\n0\r\n\r\n",
    "with 2^64 + 2": b"10000000000000002\r\nok\r\n0\r\n\r\n",
    "with too much data": b"2\r\nokay\r\n0\r\n\r\n",
    "with a CR in an extension": b"2;a\rb\r\nok\r\n0\r\n\r\n",
    "with an LF in an extension": b"2;a\nb\r\nok\r\n0\r\n\r\n",
}

LINES = [
    *(b"X-A : 1", b" X-A: 1", b"X-A", b": 1", b"X A: 1", b"X(A: 1", b"X\x80A: 1"),
    *(b"X-A: 1\r\n 2", b"X-A: a\x00b", b"X-A: a\rb", b"X-A: a\nX-B: b", b"X-A: a\x01b"),
    *(b"X-A: caf\xe9", b"X-A:", b"X_A: 1", b"X-A: 1\r\nx-a: 2\r\nX-A: 3"),
    *(b"Set-Cookie: a=1\r\nSet-Cookie: b=2", b"Connection: X-A\r\nX-A: 1"),
    *(b"Connection: close", b"Connection: Content-Length", b"Keep-Alive: timeout=9"),
    *(b"Proxy-Connection: close", b"Upgrade: h2c", b"Trailer: X-T", b"TE: trailers"),
    *(b"Proxy-Authenticate: Basic", b"Via: 1.1 edge", b"Server: made-up"),
    *(b"Content-Encoding: gzip", b"X-Accel-Redirect: /other", b"Location: //evil/"),
    *(b"Date: Sun, 06 Nov 1994 08:49:37 GMT", b"WWW-Authenticate: Bearer realm=x"),
    *(b"X-Accel-Buffering: no", b"Content-Type: text/plain", b"Refresh: 1; url=/"),
    b"X-Long: " + b"a" * 3000,
    b"X-Long: " + b"a" * 100_000,
]

WITHOUT_BODY = [(b"204 No Content", "204"), (b"304 Not Modified", "304")]

BROKEN_OFF = {
    "a length": response(b"Content-Length: 10", body=b"ok"),
    "a length before any body": response(b"Content-Length: 10"),
    "chunks in data": response(CHUNKED, body=b"5\r\nok"),
    "chunks between": response(CHUNKED, body=b"2\r\nok\r\n"),
    "chunks before the end": response(CHUNKED, body=b"2\r\nok\r\n0\r\n"),
    "chunks in a size": response(CHUNKED, body=b"2\r\nok\r\n1"),
    "chunks in a trailer": response(CHUNKED, body=b"2\r\nok\r\n0\r\nX-T: 1\r\n"),
    "chunks before any": response(CHUNKED),
    "a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "a status line": b"HTTP/1.1 2",
    "nothing": b"",
    "an interim answer": HINTS,
}

STRAY = {
    "a byte": OK + b"x",
    "an answer": OK + response(b"Content-Length: 4", body=b"evil"),
    "an answer after chunks": response(CHUNKED, body=CHUNKS) + OK,
    "an answer after 204": response(start=b"204 No Content") + OK,
    "an answer after 304": response(start=b"304 Not Modified") + OK,
    "NULs": OK + b"\x00" * 9,
}


def cases() -> Iterator[Case]:
    """Yield every case about a response."""
    for start in START_LINES:
        data = b"%b\r\nContent-Length: 2\r\n\r\nok" % start
        yield Case(f"status line: {spelled(start)}", request(), data, End.CLOSE)
    for length in LENGTHS:
        line = b"Content-Length: " + length
        yield _of(f"answer length: {spelled(length)}", line, body=b"ok")
    for coding in CODINGS:
        line = b"Transfer-Encoding: " + coding
        yield _of(f"answer coding: {spelled(coding)}", line, body=CHUNKS)
    for name, lines in FRAMINGS.items():
        yield _of(
            f"answer with {name}", *lines, body=CHUNKS if CHUNKED in lines else b"ok"
        )
    for name, chunks in CHUNK_BODIES.items():
        yield _of(f"answer chunks {name}", CHUNKED, body=chunks)
    for line in LINES:
        yield _of(
            f"answer field: {spelled(line[:60])} ({len(line)})", TWO, line, body=b"ok"
        )
    yield from _without_body()
    yield from _interim()
    for name, data in BROKEN_OFF.items():
        for end in (End.CLOSE, End.RESET):
            yield Case(
                f"answer broken off ({end.value}) in {name}", request(), data, end
            )
    for name, data in STRAY.items():
        yield Case(f"stray: {name}", request(), data)
    yield from _endings()


def _of(name: str, *lines: bytes, body: bytes) -> Case:
    """Return a case whose answer ends with its connection, whatever else it says."""
    return Case(name, request(), response(*lines, body=body), End.CLOSE)


def _without_body() -> Iterator[Case]:
    head = request(method=b"HEAD")
    for name, lines in {"a length": [TWO], "chunks": [CHUNKED], "neither": []}.items():
        body = {"a length": b"ok", "chunks": CHUNKS, "neither": b"ok"}[name]
        for start, status in WITHOUT_BODY:
            told = response(*lines, start=start)
            yield Case(f"{status} with {name}", request(), told)
            yield Case(f"{status} with {name} and a body", request(), told + body)
        yield Case(f"HEAD with {name}", head, response(*lines))
        yield Case(f"HEAD with {name} and a body", head, response(*lines, body=body))
        yield Case(
            f"205 with {name}",
            request(),
            response(*lines, start=b"205 Reset Content", body=body),
            End.CLOSE,
        )


def _interim() -> Iterator[Case]:
    waiting = b"HTTP/1.1 100 Continue\r\n\r\n"
    yield Case("interim: 100", request(), waiting + OK)
    yield Case("interim: 102", request(), b"HTTP/1.1 102 Processing\r\n\r\n" + OK)
    yield Case("interim: 103", request(), HINTS + OK)
    yield Case(
        "interim: 103 to 1.0", b"GET /backend-api/case HTTP/1.0\r\n\r\n", HINTS + OK
    )
    yield Case("interim: three", request(), HINTS * 3 + OK)
    yield Case("interim: a hundred", request(), HINTS * 100 + OK)
    told = response(TWO, start=b"103 Early Hints")
    yield Case("interim: with a length", request(), told + OK)
    asking = request(*UPGRADE)
    upgraded = [
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
    ]
    switch = response(*upgraded, start=b"101 Switching Protocols", body=b"raw")
    yield Case("101: asked for", asking, switch, End.CLOSE)
    yield Case("101: not asked for", request(), switch, End.CLOSE)
    other = switch.replace(b"websocket", b"other")
    yield Case("101: to another protocol", asking, other, End.CLOSE)
    bare = response(start=b"101 Switching Protocols")
    yield Case("101: without Upgrade", asking, bare, End.CLOSE)
    yield Case("upgrade answered by 200", asking, OK)
    refused = response(b"Content-Length: 2", start=b"426 Upgrade Required", body=b"no")
    yield Case("upgrade answered by 426", asking, refused)
    yield Case("upgrade in 1.0", asking.replace(b"HTTP/1.1", b"HTTP/1.0"))


def _endings() -> Iterator[Case]:
    old = b"GET /backend-api/case HTTP/1.0\r\n\r\n"
    unframed = response(body=b"ok")
    yield Case("answer ended by its connection", request(), unframed, End.CLOSE)
    yield Case("answer ended by a reset", request(), unframed, End.RESET)
    yield Case("answer ended by its connection, to 1.0", old, unframed, End.CLOSE)
    chunked = response(CHUNKED, body=CHUNKS)
    yield Case("answer in chunks, to 1.0", old, chunked)
    cut = response(CHUNKED, body=b"2\r\nok\r\n")
    yield Case("answer in chunks broken off, to 1.0", old, cut, End.CLOSE)
    yield Case("answer with bare LFs", request(), OK.replace(b"\r\n", b"\n"), End.CLOSE)
    yield Case("answer of 0.9", request(), b"ok", End.CLOSE)
    for status in (201, 206, 301, 307, 400, 403, 404, 413, 429, 500, 503):
        start = b"%d Said So" % status
        yield Case(
            f"status {status}", request(), response(TWO, start=start, body=b"ok")
        )
