"""Sign-in by device code: how often it polls, when it gives up, and what it returns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from bearerd.clock import Clock
from bearerd.credential.authority.client import AuthorityClient
from bearerd.credential.authority.device_code import (
    DeviceAuthorization,
    UnclearPoll,
)
from bearerd.credential.authority.device_flow import (
    MAX_FAILED_POLLS,
    sign_in_by_device,
)
from bearerd.credential.authority.errors import CallFailed, SignInFailed
from bearerd.sandbox import Sandbox
from tests.credential.authority.conftest import CHOSEN
from tests.credential.authority.scripted import scripted_client


def stepping(step: Callable[[int], Awaitable[None]]) -> Clock:
    """Return a clock on which a sleep moves time, and calls *step* with its number."""
    seconds, sleeps = [1000.0], [0]

    async def sleep(duration: float) -> None:
        seconds[0] += duration
        sleeps[0] += 1
        await step(sleeps[0])

    return Clock(monotonic=lambda: seconds[0], sleep=sleep)


async def nothing(_sleep: int) -> None:
    """Let a sleep pass."""


def ignore(_device: DeviceAuthorization) -> None:
    """Do not show the code."""


async def test_a_device_is_signed_in_once_its_code_is_typed_in(
    sandbox: Sandbox, client: AuthorityClient
) -> None:
    """It polls at the authority's interval, and shows the code once."""
    shown: list[DeviceAuthorization] = []

    async def approve(sleep: int) -> None:
        if sleep == 2:
            sandbox.authority.sign_in.approve_device(shown[0].user_code)

    credential = await sign_in_by_device(
        client, clock=stepping(approve), show_code=shown.append
    )
    assert credential.account_id == CHOSEN
    assert credential.refresh_token
    assert sandbox.authority.sign_in.device_polls == 3
    assert len(shown) == 1


async def test_a_code_that_is_not_typed_in_expires(
    sandbox: Sandbox, client: AuthorityClient
) -> None:
    """After 15 minutes of the clock, of one poll a second."""
    with pytest.raises(SignInFailed, match="15 minutes"):
        await sign_in_by_device(client, clock=stepping(nothing), show_code=ignore)
    assert sandbox.authority.sign_in.device_polls == 900


DEVICE = (200, b'{"device_auth_id": "d", "user_code": "U", "interval": "1"}')
PENDING = (403, b"{}")
ENDED = (410, b'{"error": "expired_token"}')


async def test_a_network_that_stays_away_ends_the_polls() -> None:
    """After a few failures in a row."""
    sleeps: list[int] = []

    async def count(sleep: int) -> None:
        sleeps.append(sleep)

    async with scripted_client(DEVICE, PENDING, None) as client:
        with pytest.raises(CallFailed, match="sent no complete response"):
            await sign_in_by_device(client, clock=stepping(count), show_code=ignore)
    assert len(sleeps) == MAX_FAILED_POLLS  # one after the pending poll


async def test_a_network_that_comes_back_does_not() -> None:
    """The count starts again with each response."""
    flaky = [None] * (MAX_FAILED_POLLS - 1)
    script = (DEVICE, *flaky, PENDING, *flaky, PENDING, *flaky, ENDED)
    async with scripted_client(*script) as client:
        with pytest.raises(SignInFailed, match="status 410, expired_token"):
            await sign_in_by_device(client, clock=stepping(nothing), show_code=ignore)


HICCUPS = [(502, b"<html>bad gateway</html>"), (500, b"{}"), (200, b"<html></html>")]


async def test_a_gateway_in_trouble_does_not_end_it() -> None:
    """Its responses count as failed polls, together with those that did not arrive."""
    script = (DEVICE, *HICCUPS, None, PENDING, *HICCUPS, None, ENDED)
    async with scripted_client(*script) as client:
        with pytest.raises(SignInFailed, match="status 410, expired_token"):
            await sign_in_by_device(client, clock=stepping(nothing), show_code=ignore)


async def test_a_gateway_that_stays_in_trouble_ends_it() -> None:
    """After a few responses in a row; the last one is named."""
    async with scripted_client(DEVICE, *HICCUPS, (503, b"")) as client:
        with pytest.raises(UnclearPoll, match="status 503"):
            await sign_in_by_device(client, clock=stepping(nothing), show_code=ignore)


async def test_an_authority_that_asks_for_patience_gets_it() -> None:
    """Five seconds more between all later polls, each time that it asks."""
    busy = (429, b'{"error": "slow_down"}')
    moments: list[float] = []
    clock = stepping(nothing)

    async def sleep(seconds: float) -> None:
        moments.append(seconds)
        await clock.sleep(seconds)

    patient = Clock(monotonic=clock.monotonic, sleep=sleep)
    script = (DEVICE, PENDING, busy, PENDING, *[busy] * MAX_FAILED_POLLS, ENDED)
    async with scripted_client(*script) as client:
        with pytest.raises(SignInFailed, match="expired_token"):
            await sign_in_by_device(client, clock=patient, show_code=ignore)
    assert moments == [1, 6, 6, 11, 16, 21, 26, 31]


async def test_an_authority_that_is_not_reached_at_all_ends_it_at_once() -> None:
    """No code was shown yet, so there is nothing to wait for."""
    async with scripted_client(None) as client:
        with pytest.raises(CallFailed):
            await sign_in_by_device(client, clock=stepping(nothing), show_code=ignore)
