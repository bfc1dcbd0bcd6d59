"""Request lines, targets, hosts and methods that two readers may take differently."""

from __future__ import annotations

from collections.abc import Iterator

from tests.differential.case import PATH, Case, post, request, spelled

HOST = b"Host: localhost\r\n"

LINES = {
    "0.9": b"GET %b\r\n",
    "0.9 with version blank": b"GET %b \r\n",
    "1.0": b"GET %b HTTP/1.0\r\n",
    "1.2": b"GET %b HTTP/1.2\r\n",
    "2.0": b"GET %b HTTP/2.0\r\n",
    "1.10": b"GET %b HTTP/1.10\r\n",
    "01.1": b"GET %b HTTP/01.1\r\n",
    "1.": b"GET %b HTTP/1.\r\n",
    "lower case protocol": b"GET %b http/1.1\r\n",
    "other protocol": b"GET %b HTTQ/1.1\r\n",
    "no slash": b"GET %b HTTP 1.1\r\n",
    "two blanks before the target": b"GET  %b HTTP/1.1\r\n",
    "two blanks after the target": b"GET %b  HTTP/1.1\r\n",
    "tab before the target": b"GET\t%b HTTP/1.1\r\n",
    "tab after the target": b"GET %b\tHTTP/1.1\r\n",
    "vertical tab after the target": b"GET %b\x0bHTTP/1.1\r\n",
    "blank at the end": b"GET %b HTTP/1.1 \r\n",
    "more at the end": b"GET %b HTTP/1.1 HTTP/1.1\r\n",
    "blank at the start": b" GET %b HTTP/1.1\r\n",
    "bare LF": b"GET %b HTTP/1.1\n",
    "CR CR LF": b"GET %b HTTP/1.1\r\r\n",
    "bare CR": b"GET %b HTTP/1.1\r",
    "an empty line before": b"\r\nGET %b HTTP/1.1\r\n",
    "two empty lines before": b"\r\n\r\nGET %b HTTP/1.1\r\n",
    "a bare LF before": b"\nGET %b HTTP/1.1\r\n",
    "a bare CR before": b"\rGET %b HTTP/1.1\r\n",
    "a byte order mark before": b"\xef\xbb\xbfGET %b HTTP/1.1\r\n",
}

METHODS = [
    *(b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"PROPFIND", b"MKCOL"),
    *(b"QUERY", b"PURGE", b"TRACE", b"TRACK", b"get", b"Get", b"GETX", b"X-OWN"),
    *(b"M!#$%&'*+-.^_`|~", b"G(T", b"G\x00T", b"G\x80T", b"PRI", b"XXXX" * 20),
]

TARGETS = [
    *(b"/a/../b", b"/a/./b", b"/a/..", b"/..", b"/%2e%2e/b", b"/.%2E/b", b"/%2e/b"),
    *(b"/a//b", b"//a", b"/a%2fb", b"/a%2Fb", b"/a%5cb", b"/a\\b", b"/a%00b", b"/a%zz"),
    *(b"/a%", b"/%c0%ae%c0%ae/b", b"/..;/b", b"/a;b=1", b"/a%3b", b"/%252e%252e/b"),
    *(b"/|", b"/{}", b'/"', b"/<>", b"/^`", b"/[]", b"/a|b{c}", b"/%41", b"/%7e"),
    *(b"/a?x=/../y", b"/a?", b"/?a", b"/a??b", b"/a?b#c", b"/a#b", b"/a?%00", b"/a+b"),
    *(
        b"/a?x=//y",
        b"/a?\\",
        b"/a\x7f",
        b"/a\x01",
        b"/a\x80",
        b"/a\xc3\xa9",
        b"/a\x00b",
    ),
    *(b"/a?\xff", b"/a\x0b", b"/@evil.example/", b"/a:b", b"/a@b"),
]

WHOLE_TARGETS = [
    *(b"*", b"http://localhost/backend-api/case", b"HTTP://LOCALHOST/backend-api/case"),
    *(
        b"http://localhost:80/backend-api/case?a=b",
        b"https://localhost/backend-api/case",
    ),
    *(b"http://evil.example/backend-api/case", b"http://localhost@evil.example/a"),
    *(b"http://a:b@localhost/backend-api/case", b"http://localhost", b"http://"),
    *(b"http:///backend-api/case", b"http:/backend-api/case", b"ftp://localhost/a"),
    *(b"http://localhost\\@evil.example/", b"localhost/backend-api/case"),
    *(b"@evil.example/backend-api/case", b"evil.example:443", b"backend-api/case"),
    *(b"?a=b", b"//localhost/backend-api/case", b"http://localhost/backend-api/a#b"),
    b"/backend-api/" + b"a" * 7900,
    b"/backend-api/" + b"a" * 40_000,
]

HOSTS = [
    *(b"", b" ", b"localhost ", b"LOCALHOST", b"localhost.", b"localhost:80"),
    *(b"localhost:", b"localhost:0", b"localhost:99999", b"localhost:8x", b"a b"),
    *(b"evil.example", b"localhost,evil.example", b"localhost evil.example"),
    *(b"a@localhost", b"localhost@evil.example", b"localhost/a", b"localhost?a"),
    *(b"localhost#a", b"http://localhost", b"[::1]", b"[::1]:80", b"[::1", b"::1"),
    *(b"127.0.0.1", b"0x7f.1", b"local\x00host", b"local\x80host", b"local%68ost"),
    *(b"localhost\\", b"localhost:80:80", b"-", b"..", b"localhost\t"),
]

HOST_LINES = {
    "none": b"",
    "twice the same": HOST + HOST,
    "twice different": HOST + b"Host: evil.example\r\n",
    "twice in two cases": HOST + b"hOST: evil.example\r\n",
    "blank before the colon": b"Host : localhost\r\n",
    "folded": b"Host:\r\n localhost\r\n",
    "no blank": b"Host:localhost\r\n",
    "after a blank": b" Host: localhost\r\n",
    "then an underscored one": HOST + b"Ho_st: evil.example\r\n",
}


def cases() -> Iterator[Case]:
    """Yield every case about what a request is for."""
    for name, line in LINES.items():
        head = line % PATH
        yield Case(f"line: {name}", head + (b"" if "0.9" in name else HOST) + b"\r\n")
    for method in METHODS:
        yield Case(f"method: {spelled(method[:20])}", request(method=method))
    for method in (b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"PATCH"):
        name = f"method with a body: {method.decode()}"
        yield Case(name, request(b"Content-Length: 3", method=method, body=b"abc"))
    yield Case(
        "method: CONNECT",
        b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",
    )
    yield Case("method: OPTIONS *", request(method=b"OPTIONS", target=b"*"))
    for target in TARGETS:
        yield Case(f"path: {spelled(target)}", request(target=b"/backend-api" + target))
    for target in WHOLE_TARGETS:
        name = f"target: {spelled(target[:40])} ({len(target)})"
        yield Case(name, request(target=target))
    yield from _hosts()
    for hops in (b"0", b"1", b"x"):
        line = b"Max-Forwards: " + hops
        yield Case(f"max-forwards {hops.decode()}", request(line, method=b"OPTIONS"))


def _hosts() -> Iterator[Case]:
    start = b"GET %b HTTP/1.1\r\n" % PATH
    for host in HOSTS:
        yield Case(f"host: {spelled(host)}", start + b"Host: %b\r\n\r\n" % host)
    for name, lines in HOST_LINES.items():
        yield Case(f"host line: {name}", start + lines + b"\r\n")
    yield Case("host line: none in 1.0", b"GET %b HTTP/1.0\r\n\r\n" % PATH)
    yield Case(
        "host line: another than the absolute target's",
        b"GET http://localhost%b HTTP/1.1\r\nHost: evil.example\r\n\r\n" % PATH,
    )
    yield Case(
        "host line: none beside an absolute target",
        b"GET http://localhost%b HTTP/1.1\r\n\r\n" % PATH,
    )
    yield Case("empty post", post())
