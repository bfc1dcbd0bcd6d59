"""The upstream: its check of credentials, its resources and its records."""

import asyncio
import hashlib
import io
import json

import aiohttp
import pytest
from yarl import URL

from bearerd.sandbox import Sandbox, Usage, fingerprint
from tests.sandbox.conftest import Clock, login

Field = tuple[str, str]


async def get(
    sandbox: Sandbox, http: aiohttp.ClientSession, path: str, *fields: Field
) -> tuple[int, dict[str, object]]:
    """Return status and JSON of a GET under the base."""
    url = URL(f"{sandbox.upstream_url}/{path}", encoded=True)
    async with http.get(url, headers=fields) as response:
        return response.status, await response.json()


async def talk(sandbox: Sandbox, request: str) -> object:
    """Send these bytes to the upstream and return the JSON of its response."""
    base = URL(sandbox.upstream_url)
    reader, writer = await asyncio.open_connection(base.host, base.port)
    writer.write(request.encode("latin-1"))
    response = await reader.read()
    writer.close()
    return json.loads(response.partition(b"\r\n\r\n")[2])


def bearer(access_token: str) -> Field:
    """Return the credential's header field."""
    return "Authorization", f"Bearer {access_token}"


async def test_a_live_token_is_accepted_with_the_name_of_its_account(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    """The name of another account is forbidden, not unauthorized."""
    signed = bearer(login(sandbox)["access_token"])
    own, other = ("chatgpt-account-id", "acct-sandbox-1"), ("ChatGPT-Account-ID", "x")
    assert (await get(sandbox, http, "wham/usage", signed))[0] == 200
    assert (await get(sandbox, http, "wham/usage", signed, own))[0] == 200
    assert (await get(sandbox, http, "wham/usage", signed, other))[0] == 403
    assert (await get(sandbox, http, "wham/usage", signed, own, other))[0] == 403
    assert sandbox.upstream.statuses == {200: 2, 403: 2}


@pytest.mark.parametrize("values", [[], ["Basic eA=="], ["Bearer x", "Bearer x"]])
async def test_a_request_without_exactly_one_bearer_token_is_rejected(
    sandbox: Sandbox, http: aiohttp.ClientSession, values: list[str]
) -> None:
    """With none, another scheme or two of them: the plain 401."""
    fields = [("Authorization", value) for value in values]
    response = await get(sandbox, http, "wham/usage", *fields)
    assert response == (401, {"detail": "Unauthorized"})


async def test_a_dead_token_is_rejected_with_the_reason(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    """Expired and invalidated differ in the code, in the body and in a field."""
    url = f"{sandbox.upstream_url}/wham/usage"

    async def code(access_token: str) -> str:
        async with http.get(url, headers=[bearer(access_token)]) as response:
            assert response.status == 401
            error = (await response.json())["error"]
            assert error["type"] == "invalid_request_error"
            assert response.headers["x-openai-authorization-error"] == error["code"]
            return str(error["code"])

    expired, revoked = login(sandbox), None
    assert sandbox.expire_access_tokens() == 1
    revoked = login(sandbox)
    assert sandbox.revoke_access_tokens() == 1
    assert await code(expired["access_token"]) == "token_expired"
    assert await code(revoked["access_token"]) == "token_invalidated"
    assert await code("never-issued") == "token_invalidated"


async def test_a_token_expires_by_the_clock(
    sandbox: Sandbox, http: aiohttp.ClientSession, clock: Clock
) -> None:
    """The upstream's own clock counts, and a lifetime can be changed."""
    sandbox.tokens.access_lifetime_seconds = 5
    signed = bearer(login(sandbox)["access_token"])
    assert (await get(sandbox, http, "codex/models", signed))[0] == 200
    clock.seconds += 5
    status, body = await get(sandbox, http, "codex/models", signed)
    assert status == 401
    assert "token_expired" in json.dumps(body)


async def test_the_upstream_has_a_clock_of_its_own(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    """`exp` is checked by it, and the Date field comes from it."""
    signed = bearer(login(sandbox)["access_token"])
    sandbox.authority.clock.skew(-3600)
    sandbox.upstream.clock.skew(864000)
    url = f"{sandbox.upstream_url}/wham/usage"
    async with http.get(url, headers=[signed]) as response:
        assert response.status == 401
        assert response.headers["Date"] == sandbox.upstream.clock.http_date()
    sandbox.upstream.clock.skew(0)
    assert (await get(sandbox, http, "wham/usage", signed))[0] == 200


async def test_the_usage_is_in_the_fields_of_a_turn_and_in_its_resource(
    sandbox: Sandbox, http: aiohttp.ClientSession, clock: Clock
) -> None:
    """Codex reads both; a test can set them."""
    sandbox.upstream.usage = Usage(primary_used_percent=100, primary_reset_seconds=60)
    signed = bearer(login(sandbox)["access_token"])
    url = f"{sandbox.upstream_url}/codex/responses"
    async with http.post(url, headers=[signed]) as response:
        fields = response.headers
    assert fields["x-codex-primary-used-percent"] == "100"
    assert fields["x-codex-primary-window-minutes"] == "300"
    assert fields["x-codex-primary-reset-at"] == str(int(clock.seconds) + 60)
    assert fields["x-codex-secondary-used-percent"] == "1"
    assert fields["x-codex-secondary-window-minutes"] == "10080"
    assert fields["x-codex-credits-has-credits"] == "false"
    _, body = await get(sandbox, http, "wham/usage", signed)
    limit = body["rate_limit"]
    assert isinstance(limit, dict)
    assert (limit["allowed"], limit["limit_reached"]) == (False, True)
    assert limit["primary_window"]["reset_at"] == int(clock.seconds) + 60


async def test_the_small_resources_have_what_clients_read(
    sandbox: Sandbox, http: aiohttp.ClientSession, clock: Clock
) -> None:
    """Models, usage, and the account entry that Codex requires."""
    signed = bearer(login(sandbox)["access_token"])
    _, models = await get(sandbox, http, "codex/models?client_version=0.169.0", signed)
    assert models == {"models": []}
    _, usage = await get(sandbox, http, "wham/usage", signed)
    limit = usage["rate_limit"]
    assert isinstance(limit, dict)
    assert limit["primary_window"]["reset_at"] == int(clock.seconds) + 5 * 3600
    assert limit["primary_window"]["reset_at"] < 2**31
    _, check = await get(sandbox, http, "wham/accounts/check", signed)
    accounts = check["accounts"]
    assert isinstance(accounts, list)
    (account,) = accounts
    assert account["id"] == check["default_account_id"] == "acct-sandbox-1"
    assert account["workspace_backend_origin"] == "https://sandbox.invalid"
    assert account["account_routing_override"] == "NO_CONSTRAINT"


async def test_an_unknown_path_is_not_found(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    """In JSON under the base and beside it; for HEAD without a body."""
    access_token = login(sandbox)["access_token"]
    for path in ("nope", "bytes/many"):
        status, body = await get(sandbox, http, path, bearer(access_token))
        assert (status, "not_found" in json.dumps(body)) == (404, True)
    beside = sandbox.upstream_url.removesuffix("/backend-api") + "/v1/responses"
    async with http.post(beside) as response:
        assert response.status == 404
    usage = f"{sandbox.upstream_url}/wham/usage"
    async with http.post(usage, headers=[bearer(access_token)]) as response:
        assert response.status == 404
    url = f"{sandbox.upstream_url}/codex/responses"
    async with http.head(url, headers=[bearer(access_token)]) as response:
        assert response.status == 404
        assert await response.read() == b""


async def test_the_echo_has_what_arrived(sandbox: Sandbox) -> None:
    """Target and fields as they came, in order; the body as a hash."""
    access_token = login(sandbox)["access_token"]
    fields = [
        ["Host", "x"],
        ["Authorization", f"Bearer {access_token}"],
        ["X-Twice", "1"],
        ["x-twice", "2"],
        ["X-Odd", "\xe9"],
        ["Content-Length", "3"],
        ["Connection", "close"],
    ]
    head = "".join(f"{name}: {value}\r\n" for name, value in fields)
    target = "/backend-api/echo?a=%2F&b"
    seen = await talk(sandbox, f"PUT {target} HTTP/1.1\r\n{head}\r\nabc")
    assert seen == {
        "method": "PUT",
        "raw_path": target,
        "headers": fields,
        "body_length": 3,
        "body_sha256": hashlib.sha256(b"abc").hexdigest(),
    }


async def test_a_body_in_any_encoding_and_size_is_accepted_as_it_is(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    """Without a limit; bytes are counted and hashed, never decoded."""
    body = b"\x28\xb5\x2f\xfd" + bytes(3_000_000)
    for encoding in ("zstd", "gzip"):
        fields = [
            bearer(login(sandbox)["access_token"]),
            ("Content-Encoding", encoding),
        ]
        url = f"{sandbox.upstream_url}/codex/responses"
        async with http.post(url, headers=fields, data=io.BytesIO(body)) as response:
            assert response.status == 200
        record = sandbox.upstream.records[-1]
        assert record.body_length == len(body)
        assert record.body_sha256 == hashlib.sha256(body).hexdigest()
        assert record.header(b"content-encoding") == [encoding.encode()]


async def test_the_record_of_a_request_does_not_print_its_secret(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    """The raw fields are in the record; its repr has a fingerprint."""
    access_token = login(sandbox)["access_token"]
    await get(sandbox, http, "wham/usage?x=1", bearer(access_token))
    (record,) = sandbox.upstream.records
    assert (record.method, record.raw_path) == ("GET", "/backend-api/wham/usage?x=1")
    assert (record.status, record.outcome) == (200, "answered")
    assert record.access_fingerprint == fingerprint(access_token)
    assert record.header(b"AUTHORIZATION") == [f"Bearer {access_token}".encode()]
    assert access_token not in repr(record)


async def test_a_client_that_expects_100_gets_it(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    """RFC 9110 section 10.1.1: 100 before the body."""
    url = f"{sandbox.upstream_url}/echo"
    fields = [bearer(login(sandbox)["access_token"])]
    async with http.post(url, headers=fields, data=b"abc", expect100=True) as response:
        assert (await response.json())["body_length"] == 3


async def test_the_requested_number_of_bytes_arrives(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    """With a Content-Length, in chunks."""
    fields = [bearer(login(sandbox)["access_token"])]
    for length in (0, 1, 200_000):
        url = f"{sandbox.upstream_url}/bytes/{length}"
        async with http.get(url, headers=fields) as response:
            assert response.headers["Content-Length"] == str(length)
            assert len(await response.read()) == length
        assert sandbox.upstream.records[-1].sent_bytes == length


async def test_extra_fields_are_on_every_response(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    """On streams and on errors too; a name may come twice."""
    sandbox.upstream.extra_headers.add("Set-Cookie", "a=1")
    sandbox.upstream.extra_headers.add("Set-Cookie", "b=2")
    fields = [bearer(login(sandbox)["access_token"])]
    for method, path in (
        ("GET", "echo"),
        ("GET", "nope"),
        ("GET", "bytes/5"),
        ("POST", "codex/responses"),
    ):
        url = f"{sandbox.upstream_url}/{path}"
        async with http.request(method, url, headers=fields) as response:
            assert response.headers.getall("Set-Cookie") == ["a=1", "b=2"]


async def test_a_request_can_be_held_before_its_credential_is_checked(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    """A token that is revoked in the meantime is rejected."""
    signed = bearer(login(sandbox)["access_token"])
    sandbox.upstream.gate.close()
    call = asyncio.create_task(get(sandbox, http, "echo", signed))
    await sandbox.upstream.wait_for_requests(1)
    await sandbox.upstream.wait_for_waiting(1)
    assert sandbox.upstream.waiting == 1
    sandbox.revoke_access_tokens()
    sandbox.upstream.gate.open()
    assert (await call)[0] == 401


async def test_a_request_can_be_held_after_its_credential_was_checked(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    """A token that is revoked in the meantime was accepted before."""
    signed = bearer(login(sandbox)["access_token"])
    sandbox.upstream.response_gate.close()
    call = asyncio.create_task(get(sandbox, http, "echo", signed))
    await sandbox.upstream.response_gate.wait_for_waiting(1)
    sandbox.revoke_access_tokens()
    sandbox.upstream.response_gate.open()
    assert (await call)[0] == 200


async def test_a_client_that_leaves_is_noticed_at_once(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    """Although nothing is being written to it."""
    signed = bearer(login(sandbox)["access_token"])
    sandbox.upstream.gate.close()
    call = asyncio.create_task(get(sandbox, http, "echo", signed))
    await sandbox.upstream.wait_for_waiting(1)
    call.cancel()
    await sandbox.upstream.wait_for_abandoned(1)
    (record,) = sandbox.upstream.records
    assert (record.outcome, record.status) == ("abandoned", None)
    assert sandbox.upstream.waiting == 0
