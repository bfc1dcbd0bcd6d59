"""The two device code calls: what each response means."""

from __future__ import annotations

import json

import pytest

from bearerd.credential.authority.client import AuthorityClient
from bearerd.credential.authority.device_code import (
    DeviceAuthorization,
    SlowDown,
    UnclearPoll,
    poll,
    request_user_code,
)
from bearerd.credential.authority.errors import SignInFailed
from bearerd.sandbox import Sandbox
from tests.credential.authority.scripted import scripted_client

DEVICE = DeviceAuthorization("d", "U", 1.0, "http://page")


async def test_a_user_code_comes_with_its_page(
    sandbox: Sandbox, client: AuthorityClient
) -> None:
    """The id by which the result is polled is not shown."""
    device = await request_user_code(client)
    assert device.page == f"{sandbox.issuer_url}/codex/device"
    assert device.interval_seconds == 1
    assert device.user_code in repr(device)
    assert device.device_auth_id not in repr(device)


async def test_a_poll_gives_nothing_until_the_code_is_typed_in(
    sandbox: Sandbox, client: AuthorityClient
) -> None:
    """Then an authorization code, with the verifier that the server made."""
    device = await request_user_code(client)
    assert await poll(client, device) is None
    sandbox.authority.sign_in.approve_device(device.user_code)
    code = await poll(client, device)
    assert code is not None
    assert code.redirect_uri == f"{sandbox.issuer_url}/deviceauth/callback"
    assert code.code not in repr(code)
    assert code.verifier not in repr(code)


async def test_an_authority_without_device_codes_is_named(
    sandbox: Sandbox, client: AuthorityClient
) -> None:
    """With the other way as the remedy."""
    sandbox.authority.sign_in.device_enabled = False
    with pytest.raises(SignInFailed, match="without --device"):
        await request_user_code(client)


@pytest.mark.parametrize(
    ("interval", "seconds"),
    [
        ("1", 1.0),
        ("7", 7.0),
        (3, 3.0),
        ("60", 60.0),
        ("0", 5.0),
        ("61", 5.0),
        ("-1", 5.0),
        ("soon", 5.0),
        ("nan", 5.0),
        ("inf", 5.0),
        (None, 5.0),
    ],
)
async def test_the_interval_is_one_that_can_be_waited(
    interval: object, seconds: float
) -> None:
    """The authority writes it as a string. RFC 8628 has 5 seconds where there is none."""
    body = {"device_auth_id": "d", "usercode": "U", "interval": interval}
    async with scripted_client((200, json.dumps(body).encode())) as client:
        device = await request_user_code(client)
    assert (device.user_code, device.interval_seconds) == ("U", seconds)


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (500, b"{}"),
        (400, b'{"error": "invalid_request"}'),
        (200, b"{}"),
        (200, b'{"device_auth_id": "d"}'),
        (200, b"[" * 200_000),
        (302, b""),
    ],
    ids=["500", "400", "nothing", "half", "deep", "redirect"],
)
async def test_a_response_without_a_user_code_is_a_failure(
    status: int, content: bytes
) -> None:
    """With the status, and the command to run again."""
    async with scripted_client((status, content)) as client:
        with pytest.raises(
            SignInFailed, match=f"issued no device code .status {status}"
        ):
            await request_user_code(client)


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (410, b'{"error": "expired_token"}'),
        (400, b'{"error": "access_denied"}'),
        (401, b""),
    ],
)
async def test_any_other_4xx_to_a_poll_ends_the_sign_in(
    status: int, content: bytes
) -> None:
    """The person has declined, or the code has expired."""
    async with scripted_client((status, content)) as client:
        with pytest.raises(SignInFailed, match=f"ended .* .status {status}") as ended:
            await poll(client, DEVICE)
    assert not isinstance(ended.value, UnclearPoll)


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (500, b"{}"),
        (502, b"<html>bad gateway</html>"),
        (302, b""),
        (200, b"{}"),
        (200, b'{"authorization_code": "c"}'),
        (200, b"[" * 200_000),
    ],
    ids=["500", "502", "redirect", "nothing", "half", "deep"],
)
async def test_a_response_that_says_nothing_about_the_sign_in_is_unclear(
    status: int, content: bytes
) -> None:
    """The next poll may get a better one."""
    async with scripted_client((status, content)) as client:
        with pytest.raises(UnclearPoll, match=f"status {status}"):
            await poll(client, DEVICE)


@pytest.mark.parametrize(
    ("status", "content"),
    [(429, b""), (429, b'{"detail": "no"}'), (400, b'{"error": "slow_down"}')],
)
async def test_a_poll_that_came_too_soon_asks_for_patience(
    status: int, content: bytes
) -> None:
    """By its status, or by the code of RFC 8628."""
    async with scripted_client((status, content)) as client:
        with pytest.raises(SlowDown) as asked:
            await poll(client, DEVICE)
    assert asked.value.retry_after_seconds == 0


@pytest.mark.parametrize("status", [403, 404])
async def test_403_and_404_mean_that_the_code_is_not_typed_in(status: int) -> None:
    """With any body."""
    async with scripted_client((status, b"[" * 200_000)) as client:
        assert await poll(client, DEVICE) is None
