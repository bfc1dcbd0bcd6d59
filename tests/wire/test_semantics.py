"""What a gateway says and does not say: methods, conditions, challenges, provenance."""

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


async def test_via_and_forwarded_fields_of_a_client_go_no_further(
    gateway: Gateway,
) -> None:
    """Items 103, 114: nor are any of ours added; where it came from is its own affair."""
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


async def test_a_response_s_own_via_is_passed_on(gateway: Gateway) -> None:
    """Item 103: it is the upstream's history; we add nothing to it."""
    client, _ = await gateway.answered(ok(b"ok", b"Via: 1.1 edge"))
    assert values(await client.head(), b"via") == [b"1.1 edge"]


async def test_max_forwards_is_not_added(gateway: Gateway) -> None:
    """Item 105."""
    _, _, head = await gateway.asked(request(b"OPTIONS", b"/v1/models"))
    assert b"max-forwards" not in names(head)


@pytest.mark.parametrize("method", [b"TRACE", b"TRACK"])
async def test_a_method_that_would_echo_the_bearer_is_refused(
    gateway: Gateway, method: bytes
) -> None:
    """Item 106."""
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
async def test_conditions_and_ranges_go_on_untouched(
    gateway: Gateway, line: bytes
) -> None:
    """Items 107, 108, 109."""
    _, _, head = await gateway.asked(get(b"/v1/models", line))
    assert line in head.split(b"\r\n")


async def test_a_partial_response_comes_back_untouched(gateway: Gateway) -> None:
    """Item 108."""
    client, _ = await gateway.answered(
        b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/9\r\n"
        b"Content-Length: 2\r\n\r\nok"
    )
    head, body = await client.response()
    assert values(head, b"content-range") == [b"bytes 0-1/9"]
    assert (status(head), body) == (206, b"ok")


async def test_our_own_refusals_are_never_421(gateway: Gateway) -> None:
    """Item 110: a client would ask again on another connection."""
    head = await gateway.refused(b"GET /v1/a HTTP/1.1\r\nHost: evil.example\r\n\r\n")
    assert status(head) == 403


async def test_a_challenge_of_the_upstream_is_passed_on_unmodified(
    gateway: Gateway,
) -> None:
    """Item 111: of a 401 that is not about the token, here a 403 beside it."""
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
async def test_every_refusal_is_marked_as_ours(
    gateway: Gateway, raw: bytes, expected: int, code: bytes
) -> None:
    """Items 112, 145: by a field and in OpenAI's error shape."""
    client = await gateway.client()
    await client.send(raw)
    head, body = await client.response()
    assert status(head) == expected
    assert values(head, b"x-bearerd-error") == [code]
    error = json.loads(body)["error"]
    assert error["code"] == code.decode()
    assert (error["type"], error["param"]) == ("bearerd_error", None)


async def test_a_response_of_the_upstream_cannot_speak_in_our_name(
    gateway: Gateway,
) -> None:
    """Item 145."""
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
async def test_no_error_echoes_what_was_sent(gateway: Gateway, raw: bytes) -> None:
    """Item 141: it may hold a key."""
    client = await gateway.client()
    await client.send(raw)
    head, body = await client.response()
    assert status(head) in (400, 404)
    assert CLIENT_KEY.encode() not in head + body
    assert ACCESS_TOKEN.encode() not in head + body


async def test_no_event_holds_a_query(gateway: Gateway) -> None:
    """Item 142: what is told of a request is its path."""
    client, _ = await gateway.answered(ok(), get(b"/v1/models?secret=made-up-value"))
    await client.response()
    await gateway.finished()
    assert "made-up-value" not in repr(gateway.events)


@pytest.mark.parametrize("path", [b"/metrics", b"/healthz", b"/api/status", b"/"])
async def test_what_operators_ask_is_not_served_to_clients(
    gateway: Gateway, path: bytes
) -> None:
    """Item 143: nor forwarded."""
    assert status(await gateway.refused(get(path))) == 404


@pytest.mark.parametrize("code", [301, 302, 307, 308])
async def test_a_redirect_is_passed_on_and_not_followed(
    gateway: Gateway, code: int
) -> None:
    """Item 131: following it could carry our signature elsewhere."""
    client, _ = await gateway.answered(
        b"HTTP/1.1 %d Moved\r\nLocation: https://evil.example/\r\n"
        b"Content-Length: 0\r\n\r\n" % code
    )
    head = await client.head()
    assert first_line(head) == b"HTTP/1.1 %d Moved" % code
    assert values(head, b"location") == [b"https://evil.example/"]
    assert gateway.upstream.connections == 1
