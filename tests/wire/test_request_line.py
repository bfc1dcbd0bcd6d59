"""Request line and target: what is served, what is rejected, what is forwarded
unchanged.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.wire.gateway import Gateway, get, ok, request
from tests.wire.parsers import lax
from tests.wire.peers import first_line, status, values


async def test_an_http_0_9_request_is_rejected(gateway: Gateway) -> None:
    """Item 1: HTTP/0.9 has no field for a key, and no status for an error."""
    assert status(await gateway.refused(b"GET /v1/models\r\n\r\n")) == 400


@pytest.mark.parametrize(
    "version", [b"HTTP/2.0", b"HTTP/1.2", b"HTTP/3.0", b"HTTP/9.9"]
)
async def test_an_unsupported_version_is_rejected(
    gateway: Gateway, version: bytes
) -> None:
    """Item 2: HTTP/1.0 and HTTP/1.1 are supported; the response is in HTTP/1.1."""
    head = await gateway.refused(
        b"GET /v1/models %b\r\nHost: localhost\r\n\r\n" % version
    )
    assert status(head) in (400, 505)
    assert head.startswith(b"HTTP/1.1 ")


async def test_an_http_1_0_request_is_forwarded_in_http_1_1(
    gateway: Gateway,
) -> None:
    """Item 3: each hop has a version of its own."""
    _, _, head = await gateway.asked(b"GET /v1/models HTTP/1.0\r\n\r\n")
    assert first_line(head) == b"GET /backend-api/codex/models HTTP/1.1"


async def test_an_empty_line_before_the_request_line_is_skipped(
    gateway: Gateway,
) -> None:
    """Item 4: RFC 9112 section 2.2."""
    _, _, head = await gateway.asked(b"\r\n" + get(b"/v1/models"))
    assert first_line(head) == b"GET /backend-api/codex/models HTTP/1.1"


@pytest.mark.parametrize(
    "method", [b"G\x00ET", b"G(ET", b"G\xc3\x89T", b"GET\t", b"\x01"]
)
async def test_a_method_that_is_no_token_is_rejected(
    gateway: Gateway, method: bytes
) -> None:
    """Item 5: RFC 9110 section 9.1."""
    assert status(await gateway.refused(request(method, b"/v1/models"))) == 400


@lax("any token is a method, and is passed on")
async def test_an_unknown_method_is_forwarded_or_rejected(
    gateway: Gateway,
) -> None:
    """Item 6: the parser accepts the registered methods only."""
    head = await gateway.refused(request(b"X" * 60, b"/v1/models"))
    assert status(head) in (400, 405, 501)


@pytest.mark.parametrize("method", [b"PATCH", b"PROPFIND", b"PURGE", b"REPORT"])
async def test_a_registered_method_is_forwarded(
    gateway: Gateway, method: bytes
) -> None:
    """Item 6: which methods a resource supports is decided by the upstream."""
    _, _, head = await gateway.asked(request(method, b"/v1/models"))
    assert first_line(head) == method + b" /backend-api/codex/models HTTP/1.1"


@lax("a method is turned into upper case")
async def test_a_method_keeps_its_case_or_is_rejected(gateway: Gateway) -> None:
    """Item 6: methods are case-sensitive; `get` is not GET."""
    assert status(await gateway.refused(request(b"get", b"/v1/models"))) in (400, 501)


async def test_a_request_line_of_8000_octets_is_accepted(gateway: Gateway) -> None:
    """Item 7: RFC 9112 section 3 recommends it."""
    target = b"/v1/" + b"a" * 8000
    _, _, head = await gateway.asked(get(target))
    assert first_line(head) == b"GET /backend-api/codex/%b HTTP/1.1" % target[4:]


async def test_a_request_target_above_the_limit_is_414(gateway: Gateway) -> None:
    """Item 7: RFC 9110 section 15.5.15."""
    assert status(await gateway.refused(get(b"/v1/" + b"a" * 40_000))) == 414


@pytest.mark.parametrize("authority", [b"localhost:1", b"127.0.0.1", b"[::1]:8787"])
async def test_an_absolute_target_that_names_us_is_served(
    gateway: Gateway, authority: bytes
) -> None:
    """Item 8: RFC 9112 section 3.2.2."""
    _, _, head = await gateway.asked(get(b"http://%b/v1/models?a=1" % authority))
    assert first_line(head) == b"GET /backend-api/codex/models?a=1 HTTP/1.1"


@pytest.mark.parametrize(
    "target",
    [
        b"http://chatgpt.com/backend-api/codex/models",
        b"https://evil.example/v1/models",
        b"http://localhost.evil.example/v1/models",
    ],
)
async def test_an_absolute_target_that_names_another_host_is_rejected(
    gateway: Gateway, target: bytes
) -> None:
    """Item 9: no connection is made to it, and no credential is attached."""
    assert status(await gateway.refused(get(target))) == 403


@pytest.mark.parametrize("userinfo", [b"localhost@evil.example", b"a:b@localhost"])
async def test_user_information_in_an_absolute_target_is_rejected(
    gateway: Gateway, userinfo: bytes
) -> None:
    """Item 9: RFC 9110 section 4.2.4 calls it an error."""
    head = await gateway.refused(get(b"http://%b/v1/models" % userinfo))
    assert status(head) in (400, 403)


async def test_an_absolute_target_overrides_the_host_field(gateway: Gateway) -> None:
    """Item 10: RFC 9112 section 3.2.2, the Host received is ignored."""
    client = await gateway.client()
    await client.send(
        b"GET http://localhost/v1/models HTTP/1.1\r\nHost: evil.example\r\n\r\n"
    )
    going_on = asyncio.create_task(gateway.upstream.accept())
    answering = asyncio.create_task(client.head())
    await asyncio.wait({going_on, answering}, return_when=asyncio.FIRST_COMPLETED)
    answering.cancel()
    assert going_on.done() or going_on.cancel() is False
    head = await going_on.result().head()
    assert values(head, b"host") == [b"127.0.0.1:%d" % gateway.upstream.port]


async def test_options_of_the_server_itself_is_not_forwarded(gateway: Gateway) -> None:
    """Item 11: it asks what we can do, so the response is ours."""
    client = await gateway.client()
    await client.send(request(b"OPTIONS", b"*"))
    assert status(await client.head()) in (200, 204)
    assert gateway.upstream.connections == 0


async def test_connect_is_not_allowed_and_ends_the_connection(
    gateway: Gateway,
) -> None:
    """Item 12: no connection is made; what follows would be the bytes of a tunnel."""
    client = await gateway.client()
    await client.send(
        b"CONNECT chatgpt.com:443 HTTP/1.1\r\nHost: chatgpt.com:443\r\n\r\n"
    )
    head = await client.head()
    assert status(head) == 405
    assert values(head, b"connection") == [b"close"]
    assert b"HTTP/1.1" not in await client.rest()
    assert gateway.upstream.connections == 0


@pytest.mark.parametrize(
    "below",
    [
        b"a;b=1/c",
        b"%zz",
        b'|{}^`"<>',
        b"%41%6a",
        b"a%20b+c",
        b"a?x=%2F..//\\&y=/../z",
        b"?",
        b"a?",
        b"",
        b"a..b/...",
    ],
)
async def test_path_and_query_reach_the_upstream_byte_for_byte(
    gateway: Gateway, below: bytes
) -> None:
    """Item 13: nothing is normalised, decoded or encoded."""
    _, _, head = await gateway.asked(get(b"/backend-api/" + below))
    assert first_line(head) == b"GET /backend-api/%b HTTP/1.1" % below


@pytest.mark.parametrize(
    "path",
    [
        b"/backend-api/a/../b",
        b"/backend-api/%2e%2e/b",
        b"/backend-api/.%2E/b",
        b"/backend-api/a%2fb",
        b"/backend-api//a",
        b"//x/backend-api/a",
        b"/backend-api/a\\b",
        b"/backend-api/a%5cb",
        b"/backend-api/a%00b",
        b"/backend-api/..",
        b"/backend-api/./a",
        b"/backend-api/..;/a",
    ],
)
async def test_an_ambiguous_path_is_rejected(gateway: Gateway, path: bytes) -> None:
    """Item 14: a rule for one path has no effect if the upstream reads another."""
    assert status(await gateway.refused(get(path))) == 403


async def test_a_fragment_is_rejected(gateway: Gateway) -> None:
    """Item 15: a request target has none."""
    assert status(await gateway.refused(get(b"/v1/models#part"))) == 400


@pytest.mark.parametrize(
    "target", [b"/v1/\x7f", b"/v1/\x01", b"/v1/\xc3\xa9", b"/v1/\xff", b"/v1/a?\x80"]
)
async def test_a_byte_outside_visible_ascii_is_rejected(
    gateway: Gateway, target: bytes
) -> None:
    """Item 16: RFC 9112 section 3.2."""
    assert status(await gateway.refused(get(target))) == 400


@pytest.mark.parametrize(
    ("target", "upstream"),
    [
        (b"/backend-api/x", b"/backend-api/x"),
        (b"/backend-api/", b"/backend-api/"),
        (b"/v1/x", b"/backend-api/codex/x"),
        (b"/codex/x", b"/backend-api/codex/x"),
        (b"/responses", b"/backend-api/codex/responses"),
        (b"/responses/r1?a=b", b"/backend-api/codex/responses/r1?a=b"),
        (b"/profiles/default/backend-api/x", b"/backend-api/x"),
        (b"/v1/%41%2d", b"/backend-api/codex/%41%2d"),
    ],
)
async def test_the_base_path_is_joined_with_one_slash(
    gateway: Gateway, target: bytes, upstream: bytes
) -> None:
    """Item 17: and the path keeps its encoding."""
    _, _, head = await gateway.asked(get(target))
    assert first_line(head) == b"GET %b HTTP/1.1" % upstream


@pytest.mark.parametrize(
    "target",
    [
        b"@evil.example/v1/models",
        b"//evil.example/v1/models",
        b"/\\evil.example/v1/models",
        b"/@evil.example/",
        b":80/v1/models",
        b"evil.example:443",
    ],
)
async def test_no_target_changes_the_host_that_is_connected_to(
    gateway: Gateway, target: bytes
) -> None:
    """Item 18: whatever its form."""
    assert status(await gateway.refused(get(target))) in (400, 403, 404)


async def test_no_path_reaches_above_the_base(gateway: Gateway) -> None:
    """Item 18: a path that starts with @ stays below the base."""
    client, peer, head = await gateway.asked(get(b"/backend-api/@evil.example/"))
    assert first_line(head) == b"GET /backend-api/@evil.example/ HTTP/1.1"
    await peer.send(ok())
    assert (await client.response())[1] == b"ok"
