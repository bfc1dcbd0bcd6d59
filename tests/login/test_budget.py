"""Points 9 and 11: what the authority has to bear, and clocks that jump."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from tests.login.http1 import Response
from tests.login.lab import error, grants, http_date, says
from tests.login.processes import reached
from tests.login.world import World

YEAR = 365 * 86400.0


def throttled(status: int, retry_after: str) -> Response:
    """Return a response that says when to come back."""
    return Response.of_json(status, {"error": "slow_down"}, retry_after=retry_after)


@pytest.mark.chaos
@pytest.mark.parametrize("form", ["seconds", "date"])
@pytest.mark.parametrize("status", [429, 503, 403])
async def test_eight_commands_and_four_restarts_make_one_or_two_calls(
    world: World, status: int, form: str
) -> None:
    """`Retry-After: 600`, in seconds or as a date, binds all processes on the store."""
    family = world.log_in(ttl=-5)
    value = "600" if form == "seconds" else http_date(time.time() + 600)
    world.authority.always = says(throttled(status, value))
    codes = await world.run_together(8, "token")
    assert codes == [1] * 8
    for _ in range(4):
        daemon = await world.serve()
        reply = await daemon.ask()
        assert reply.status == 503
        assert 1 <= int(reply.headers["retry-after"]) <= 5
        await daemon.kill()
    assert 1 <= len(world.authority.calls) <= 2
    assert family.is_alive


@pytest.mark.parametrize(
    "value", [str(int(20 * YEAR)), "Fri, 31 Dec 2199 23:59:59 GMT", "9" * 400]
)
async def test_an_absurd_retry_after_does_not_hide_the_login(
    world: World, value: str
) -> None:
    """An authority that asks for twenty years is asked again within an hour or so."""
    world.log_in(ttl=-5)
    world.authority.scenes.append(says(throttled(429, value)))
    await world.run("token")
    state = json.loads(world.state_files()["auth.json.bearerd-state"])
    assert state["retry"]["until"] < time.time() + 2 * 3600, state["retry"]


@pytest.mark.parametrize(
    "value", ["-5", "nonsense", "", "0", "1.5", "\x00", "Thu, 01 Jan 1970 00:00:00 GMT"]
)
async def test_a_strange_retry_after_is_borne(world: World, value: str) -> None:
    """A value that says nothing is no value: 503, and back within seconds."""
    family = world.log_in()
    daemon = await world.serve()
    world.authority.revoke_access_tokens()
    world.authority.scenes.append(says(throttled(429, value)))
    reply = await daemon.ask()
    assert reply.status == 503, reply
    await reached(daemon.ask, lambda reply: reply.status == 200, "served", seconds=9)
    world.assert_kept(family, calls=2)


def edit_state(world: World, **changes: object) -> None:
    """Change the state file, as a jump of the clock would have left it."""
    path = world.store.with_name("auth.json.bearerd-state")
    document = json.loads(path.read_text()) if path.exists() else {"version": 1}
    path.write_text(json.dumps(document | changes))


@pytest.mark.parametrize("ahead", [3600.0, 30 * 86400.0, YEAR])
async def test_a_clock_that_was_ahead_does_not_dry_the_budget(
    world: World, ahead: float
) -> None:
    """The budget ran dry while the clock was wrong; the clock is right again."""
    family = world.log_in(ttl=-5)
    edit_state(world, level={"calls": 0.0, "at": time.time() + ahead})
    daemon = await world.serve(refresh_interval_seconds=1)
    await reached(daemon.ask, lambda reply: reply.status == 200, "served", seconds=6)
    world.assert_kept(family, calls=1)


@pytest.mark.parametrize("ahead", [30 * 86400.0, YEAR])
async def test_a_pause_that_was_noted_by_a_clock_ahead(
    world: World, ahead: float
) -> None:
    """A 429 came while the clock was ahead; the pause ends all the same."""
    family = world.log_in(ttl=-5)
    world.authority.scenes.append(says(throttled(429, "1")))
    await world.run("token")
    path = world.store.with_name("auth.json.bearerd-state")
    state = json.loads(path.read_text())
    state["retry"]["until"] += ahead
    state["level"]["at"] += ahead
    path.write_text(json.dumps(state))
    daemon = await world.serve(refresh_interval_seconds=1)
    await reached(daemon.ask, lambda reply: reply.status == 200, "served", seconds=8)
    world.assert_kept(family, calls=2)


async def test_a_refusal_that_was_noted_by_a_clock_ahead(world: World) -> None:
    """The count of refused fresh tokens has a time in the future: refreshes go on."""
    family = world.log_in(ttl=-5)
    ahead = {"count": 12, "at": time.time() + YEAR}
    edit_state(world, unaccepted=ahead)
    daemon = await world.serve(refresh_interval_seconds=1)
    await reached(daemon.ask, lambda reply: reply.status == 200, "served", seconds=8)
    world.assert_kept(family, calls=1)


NONSENSE = {
    "list": b"[]",
    "empty": b"",
    "wrong_types": b'{"version": 1, "owner": 5, "level": "x", "retry": [], "spent": 7}',
    "nan": b'{"version": 1, "level": {"calls": NaN, "at": NaN}}',
    "infinite": b'{"version": 1, "level": {"calls": -1e999, "at": 1e999}}',
    "deep": b"[" * 100000,
    "later_version": b'{"version": 99, "owner": null, "budget": {"new": "form"}}',
    "not_utf8": b'{"version": "\xff\xfe"}',
    "null_fields": b'{"version": 1, "level": {"calls": null, "at": null}, "retry": {}}',
}


@pytest.mark.parametrize("name", NONSENSE)
async def test_nonsense_in_the_state_file_ends_nothing(world: World, name: str) -> None:
    """The state beside the store is torn or of a later version: served, and refreshed."""
    family = world.log_in()
    world.store.with_name("auth.json.bearerd-state").write_bytes(NONSENSE[name])
    daemon = await world.serve(refresh_interval_seconds=1)
    assert (await daemon.ask()).status == 200
    world.authority.revoke_access_tokens()
    await reached(daemon.ask, lambda reply: reply.status == 200, "served", seconds=8)
    world.assert_kept(family, calls=1)
    assert await daemon.stop() == 0


@pytest.mark.parametrize("name", ["list", "empty", "deep", "not_utf8"])
async def test_nonsense_in_the_journal_ends_nothing(world: World, name: str) -> None:
    """The journal is torn: served, and refreshed."""
    family = world.log_in()
    world.store.with_name("auth.json.bearerd-journal").write_bytes(NONSENSE[name])
    daemon = await world.serve(refresh_interval_seconds=1)
    assert (await daemon.ask()).status == 200
    world.authority.revoke_access_tokens()
    await reached(daemon.ask, lambda reply: reply.status == 200, "served", seconds=8)
    world.assert_kept(family, calls=1)


@pytest.mark.chaos
async def test_an_account_refused_for_good_does_not_rotate_for_ever(
    world: World,
) -> None:
    """With an interval of one second, forty seconds see few rotations, ever more seldom."""
    family = world.log_in()
    daemon = await world.serve(refresh_burst=2, refresh_interval_seconds=1)
    world.upstream.outage = error(401, "account_deactivated")
    began = time.monotonic()
    while time.monotonic() - began < 40:
        await daemon.ask()
        await asyncio.sleep(0.15)
    times = [call.at - began for call in world.authority.calls]
    assert len(times) <= 12, times
    assert len([moment for moment in times if moment > 20]) <= 3, times
    assert family.is_alive
    world.upstream.outage = None
    reply = await daemon.ask()
    assert reply.status == 200, reply
    world.authority.revoke_access_tokens()
    await reached(daemon.ask, lambda reply: reply.status == 200, "served", seconds=8)
    world.assert_kept(family)


async def test_damping_ends_with_a_new_login(world: World) -> None:
    """The account was refused for a while; a person signs in anew: one 401 is recovered."""
    world.log_in()
    daemon = await world.serve(refresh_burst=2, refresh_interval_seconds=0.5)
    world.upstream.outage = error(401, "account_deactivated")
    began = time.monotonic()
    while time.monotonic() - began < 6:
        await daemon.ask()
        await asyncio.sleep(0.1)
    calls = len(world.authority.calls)
    world.upstream.outage = None
    newer = world.log_in()
    world.authority.revoke_access_tokens()
    await reached(daemon.ask, lambda reply: reply.status == 200, "served", seconds=6)
    assert len(world.authority.calls) == calls + 1
    world.assert_kept(newer)


async def test_grants_whose_tokens_are_expired_do_not_drive_the_authority(
    world: World,
) -> None:
    """Each new access token is expired when it comes: the calls are bounded."""
    family = world.log_in()
    daemon = await world.serve(refresh_interval_seconds=5)
    world.authority.revoke_access_tokens()
    world.authority.always = grants(ttl=-60)
    began = time.monotonic()
    while time.monotonic() - began < 6:
        reply = await daemon.ask()
        assert reply.status in {401, 503}, reply
        await asyncio.sleep(0.1)
    assert len(world.authority.calls) <= 7
    world.assert_kept(family)


@pytest.mark.parametrize("without", [("access_token",), ("access_token", "id_token")])
async def test_a_grant_without_an_access_token_backs_off(
    world: World, without: tuple[str, ...]
) -> None:
    """The refresh token was rotated: it is kept, and the next call takes its time."""
    family = world.log_in()
    daemon = await world.serve(refresh_interval_seconds=1)
    world.authority.revoke_access_tokens()
    world.authority.always = grants(without=without)
    began = time.monotonic()
    while time.monotonic() - began < 3:
        reply = await daemon.ask()
        assert reply.status in {401, 503}, reply
        await asyncio.sleep(0.05)
    assert len(world.authority.calls) <= 3, [call.at for call in world.authority.calls]
    world.assert_kept(family)
    world.authority.always = grants()
    await reached(daemon.ask, lambda reply: reply.status == 200, "served", seconds=20)
    world.assert_kept(family)
