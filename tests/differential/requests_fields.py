"""Field lines: their grammar, their ends, what is for one hop, what somebody owns."""

from __future__ import annotations

from collections.abc import Iterator

from tests.differential.case import Case, post, request, spelled

LINES = [
    *(b"X-A : 1", b"X-A\t: 1", b" X-A: 1", b"\tX-A: 1", b"X A: 1", b": 1", b"X-A", b""),
    *(b"X-A:1", b"X-A:", b"X-A:  1  ", b"X-A:\t1\t", b"X-A:\x0b1", b"X-A:\x0c1"),
    *(b"X-A: 1\r\n 2", b"X-A: 1\r\n\t2", b"X-A: 1\r\n \r\n 2", b"X-A:\r\n 1"),
    *(b"X-A: 1\nX-B: 2", b"X-A: 1\rX-B: 2", b"X-A: 1\r\r", b"X-A: 1\n", b"X-A: \n 1"),
    *(b"X-A: 1\n\nGET /backend-api/hidden HTTP/1.1\nHost: localhost",),
    *(b"X_A: 1", b"X.A: 1", b"X-A: caf\xe9", b"X-A: \xc3\xbc", b"X-A: \x80\xff"),
    *(b'X-A: "a, b"; c=d', b"X-A: a,,b", b"X-A: \\", b"X-A: %0d%0aX-B: 2", b"0: 1"),
    b"X-A: 1\r\nx-a: 2\r\nX-A: 3",
    b"X-A: 1\r\nX-B: 2\r\nX-A: 1",
    b"X-Long: " + b"a" * 4000,
    b"X-Long: " + b"a" * 60_000,
    b"\r\n".join(b"X-%d: 1" % number for number in range(80)),
    b"\r\n".join(b"X-%d: 1" % number for number in range(1500)),
]

CONTROLS = [*range(1, 9), 0, 0x0B, 0x0C, 0x0E, 0x1B, 0x1F, 0x7F]
NO_TOKEN = rb'"(),/;<=>?@[\]{}' + b"\x01\x7f\x80\xff"

HOP_BY_HOP = {
    "a name": [b"Connection: X-A", b"X-A: 1"],
    "a name in another case": [b"Connection: x-a", b"X-A: 1"],
    "names in two lines": [
        b"Connection: X-A",
        b"Connection: X-B",
        b"X-A: 1",
        b"X-B: 2",
    ],
    "names and blanks": [b"Connection: ,\tX-A ,, X-B,", b"X-A: 1", b"x-b: 2"],
    "a name and close": [b"Connection: close, X-A", b"X-A: 1"],
    "a name in quotes": [b'Connection: "X-A"', b"X-A: 1"],
    "empty": [b"Connection:", b"X-A: 1"],
    "itself": [b"Connection: Connection", b"X-A: 1"],
    "host": [b"Connection: Host"],
    "authorization": [b"Connection: Authorization", b"Authorization: Bearer mine"],
    "what is end to end": [b"Connection: Cache-Control", b"Cache-Control: no-store"],
    "close": [b"Connection: close"],
    "keep-alive": [b"Connection: keep-alive", b"Keep-Alive: timeout=5"],
    "close and keep-alive": [b"Connection: close, keep-alive"],
    "Proxy-Connection": [b"Proxy-Connection: close"],
    "Keep-Alive": [b"Keep-Alive: timeout=5"],
    "TE": [b"TE: trailers", b"Connection: TE"],
    "TE that nobody names": [b"TE: trailers, deflate"],
    "Trailer": [b"Trailer: X-T"],
    "Upgrade that nobody names": [b"Upgrade: websocket"],
    "Upgrade to h2c": [
        b"Upgrade: h2c",
        b"Connection: Upgrade, HTTP2-Settings",
        b"HTTP2-Settings: AAMAAABkAAQAAP__",
    ],
    "Proxy-Authorization": [b"Proxy-Authorization: Basic bWFkZTp1cA=="],
    "Proxy-Authenticate": [b"Proxy-Authenticate: Basic"],
}

OWNED = [
    *(b"Authorization: Bearer mine", b"Cookie: a=1", b"Via: 1.1 somebody"),
    *(b"X-Forwarded-For: 10.0.0.1", b"Forwarded: for=10.0.0.1", b"X-Real-IP: 10.0.0.1"),
    *(b"ChatGPT-Account-ID: mine", b"User-Agent: made-up/1", b"Accept-Encoding: zstd"),
    *(b"Range: bytes=0-1", b'If-None-Match: "a"', b"Content-Type: text/plain"),
    *(b"Date: Sun, 06 Nov 1994 08:49:37 GMT", b"Origin: https://evil.example"),
    *(b"Sec-Fetch-Site: cross-site", b"x-codex-turn-state: a;b=c", b"Max-Forwards: 0"),
    *(
        b"X-HTTP-Method-Override: DELETE",
        b"X-Original-URL: /other",
        b"Pragma: no-cache",
    ),
]

EXPECTATIONS = [b"100-continue", b"100-Continue", b"100-continue, tea", b"tea", b""]


def cases() -> Iterator[Case]:
    """Yield every case about field lines."""
    for line in LINES:
        name = (
            f"{spelled(line[:40])} ({len(line)})" if len(line) > 40 else spelled(line)
        )
        yield Case(f"field: {name}", request(line))
    for code in CONTROLS:
        line = b"X-A: a%cb" % code
        yield Case(f"field value: {spelled(line)}", request(line))
    for code in NO_TOKEN:
        line = b"X%cA: 1" % code
        yield Case(f"field name: {spelled(line)}", request(line))
    for name, lines in HOP_BY_HOP.items():
        yield Case(f"connection: {name}", request(*lines))
    yield Case(
        "connection: content-length",
        post(b"Connection: Content-Length", b"Content-Length: 3", body=b"abc"),
    )
    yield Case(
        "connection: transfer-encoding",
        post(
            b"Connection: Transfer-Encoding",
            b"Transfer-Encoding: chunked",
            body=b"3\r\nabc\r\n0\r\n\r\n",
        ),
    )
    for line in OWNED:
        yield Case(f"owned: {spelled(line)}", request(line))
    for value in EXPECTATIONS:
        asking = post(b"Expect: " + value, b"Content-Length: 3", body=b"abc")
        yield Case(f"expect: {spelled(value)}", asking)
    yield Case("expect: without a body", request(b"Expect: 100-continue"))
    yield Case("expect: twice", post(*[b"Expect: 100-continue"] * 2))
    yield Case(
        "expect: in 1.0",
        b"POST /backend-api/case HTTP/1.0\r\nExpect: 100-continue\r\n"
        b"Content-Length: 3\r\n\r\nabc",
    )
    for line in (b"Connection: close", b"Connection: keep-alive"):
        start = b"GET /backend-api/case HTTP/1.0\r\n"
        yield Case(f"1.0: {line.decode()}", start + line + b"\r\n\r\n")
