"""What a gateway adds and leaves out: methods, conditions, challenges, origin."""

from __future__ import annotations

import json

import pytest

from tests.wire.gateway import (
    ACCESS_TOKEN,
    CLIENT_KEY,
    Gateway,
    get,
    ok,
    request,
)
from tests.wire.peers import first_line, names, status, values


async def test_via_and_forwarded_fields_of_a_client_are_removed(
    gateway: Gateway,
) -> None:
    """Items 103, 114: and none of ours are added."""
    _, _, head = await gateway.asked(
        get(
            b"/v1/models",
            b"Via: 1.1 somebody",
            b"Forwarded: for=10.0.0.1",
            b"X-Forwarded-For: 10.0.0.1",
            b"X-Forwarded-Host: a.example",
            b"X-Forwarded-Proto: https",
            b"X-Forwarded-Port: 443",
            b"X-Real-IP: 10.0.0.1",
        )
    )
    assert names(head) == {b"host", b"authorization", b"chatgpt-account-id"}


async def test_via_of_a_response_is_forwarded(gateway: Gateway) -> None:
    """Item 103: we add nothing to it."""
    client, _ = await gateway.answered(ok(b"ok", b"Via: 1.1 edge"))
    assert values(await client.head(), b"via") == [b"1.1 edge"]


async def test_max_forwards_is_not_added(gateway: Gateway) -> None:
    """Item 105: a request without it gets none."""
    _, _, head = await gateway.asked(request(b"OPTIONS", b"/v1/models"))
    assert b"max-forwards" not in names(head)


@pytest.mark.parametrize("method", [b"TRACE", b"TRACK"])
async def test_a_method_that_would_echo_the_token_is_rejected(
    gateway: Gateway, method: bytes
) -> None:
    """Item 106: TRACE returns the request with its credential."""
    assert status(await gateway.refused(request(method, b"/v1/models"))) in (400, 405)


@pytest.mark.parametrize(
    "line",
    [
        b'If-None-Match: "a", W/"b"',
        b"If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT",
        b'If-Match: "x"',
        b'If-Range: "x"',
        b"Range: bytes=0-1,-5",
        b"Cache-Control: no-transform, max-age=0",
        b"Accept-Encoding: zstd;q=0.5, br",
    ],
)
async def test_conditions_and_ranges_are_forwarded_unchanged(
    gateway: Gateway, line: bytes
) -> None:
    """Items 107, 108, 109: the upstream evaluates them."""
    _, _, head = await gateway.asked(get(b"/v1/models", line))
    assert line in head.split(b"\r\n")


async def test_a_partial_response_is_forwarded_unchanged(gateway: Gateway) -> None:
    """Item 108: with its Content-Range."""
    client, _ = await gateway.answered(
        b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/9\r\n"
        b"Content-Length: 2\r\n\r\nok"
    )
    head, body = await client.response()
    assert values(head, b"content-range") == [b"bytes 0-1/9"]
    assert (status(head), body) == (206, b"ok")


async def test_our_own_errors_are_never_421(gateway: Gateway) -> None:
    """Item 110: a client would retry over another connection."""
    head = await gateway.refused(b"GET /v1/a HTTP/1.1\r\nHost: evil.example\r\n\r\n")
    assert status(head) == 403


async def test_a_challenge_of_the_upstream_is_forwarded_unchanged(
    gateway: Gateway,
) -> None:
    """Item 111: here that of a 403; a 401 that is not about the token is treated alike."""
    line = b'WWW-Authenticate: Bearer realm="x", error="insufficient_scope"'
    client, _ = await gateway.answered(
        b"HTTP/1.1 403 Forbidden\r\n%b\r\nContent-Length: 0\r\n\r\n" % line
    )
    assert line in (await client.head()).split(b"\r\n")


@pytest.mark.parametrize(
    ("raw", "expected", "code"),
    [
        (get(b"/nowhere"), 404, b"not_found"),
        (get(b"/v1/a/../b"), 403, b"target_forbidden"),
        (get(b"/v1/a", b"Origin: https://evil.example"), 403, b"origin_forbidden"),
        (get(b"/v1/a", b"Sec-Fetch-Site: cross-site"), 403, b"origin_forbidden"),
        (get(b"/profiles/other/v1/a"), 403, b"target_forbidden"),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, b"request_malformed"),
        (b"nonsense\r\n\r\n", 400, b"request_malformed"),
        (b"GET /v1/a HTTP/1.1\r\nHost: x.example\r\n\r\n", 403, b"host_forbidden"),
    ],
)
async def test_every_error_of_ours_is_marked(
    gateway: Gateway, raw: bytes, expected: int, code: bytes
) -> None:
    """Items 112, 145: by a field, and in OpenAI's error shape."""
    client = await gateway.client()
    await client.send(raw)
    head, body = await client.response()
    assert status(head) == expected
    assert values(head, b"x-bearerd-error") == [code]
    error = json.loads(body)["error"]
    assert error["code"] == code.decode()
    assert (error["type"], error["param"]) == ("bearerd_error", None)


async def test_a_response_of_the_upstream_cannot_carry_our_marks(
    gateway: Gateway,
) -> None:
    """Item 145: fields with our prefix are removed from it."""
    client, _ = await gateway.answered(
        ok(b"ok", b"X-Bearerd-Error: login_required", b"x-bearerd-recovery: refresh")
    )
    assert names(await client.head()) == {b"content-length", b"date"}


@pytest.mark.parametrize(
    "raw",
    [
        get(b"/v1/a", b"Authorization: Bearer %b\x00" % CLIENT_KEY.encode()),
        get(b"/v1/a", b"x-bearerd-key : " + CLIENT_KEY.encode()),
        b"GET /v1/%b\x01 HTTP/1.1\r\n\r\n" % CLIENT_KEY.encode(),
        get(b"/nowhere?key=" + CLIENT_KEY.encode()),
        CLIENT_KEY.encode() + b"\r\n\r\n",
    ],
)
async def test_no_error_echoes_the_request(gateway: Gateway, raw: bytes) -> None:
    """Item 141: the request may hold a key."""
    client = await gateway.client()
    await client.send(raw)
    head, body = await client.response()
    assert status(head) in (400, 404)
    assert CLIENT_KEY.encode() not in head + body
    assert ACCESS_TOKEN.encode() not in head + body


async def test_no_event_holds_a_query(gateway: Gateway) -> None:
    """Item 142: an event has the path only."""
    client, _ = await gateway.answered(ok(), get(b"/v1/models?secret=made-up-value"))
    await client.response()
    await gateway.finished()
    assert "made-up-value" not in repr(gateway.events)


@pytest.mark.parametrize("path", [b"/metrics", b"/healthz", b"/api/status", b"/"])
async def test_admin_paths_are_not_served_to_clients(
    gateway: Gateway, path: bytes
) -> None:
    """Item 143: nor forwarded."""
    assert status(await gateway.refused(get(path))) == 404


@pytest.mark.parametrize("code", [301, 302, 307, 308])
async def test_a_redirect_is_forwarded_and_not_followed(
    gateway: Gateway, code: int
) -> None:
    """Item 131: following it could send our credential elsewhere."""
    client, _ = await gateway.answered(
        b"HTTP/1.1 %d Moved\r\nLocation: https://evil.example/\r\n"
        b"Content-Length: 0\r\n\r\n" % code
    )
    head = await client.head()
    assert first_line(head) == b"HTTP/1.1 %d Moved" % code
    assert values(head, b"location") == [b"https://evil.example/"]
    assert gateway.upstream.connections == 1
