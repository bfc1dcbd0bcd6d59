"""Points 12 and 13: clocks that disagree, and a 401 that does not name the token."""

from __future__ import annotations

import time
from itertools import count

import pytest

from tests.login.clocks import needs_compiler
from tests.login.http1 import Response
from tests.login.lab import CLAIMS, Turn, grants, http_date, jwt
from tests.login.processes import Daemon, Reply, reached, until
from tests.login.world import World

SILENT = {
    "empty": Response(401),
    "forbidden": Response.of_json(401, {"detail": "Forbidden"}),
    "html": Response(401, b"<html>no</html>", {"content-type": "text/html"}),
}


def is_served(reply: Reply) -> bool:
    """Return True for a good response of the upstream."""
    return reply.status == 200


async def expires_at(daemon: Daemon) -> float:
    """Return what the metrics say about the expiry of the credential."""
    return await daemon.metric("bearerd_credential_expires_at_seconds")


# Skew.


async def test_a_token_issued_earlier_is_no_skew(world: World) -> None:
    """The token in the file has ten seconds left and was issued fifty minutes ago."""
    family = world.log_in(ttl=10, age=3000)
    daemon = await world.serve()
    await until(lambda: len(world.authority.calls) == 1, "refreshed in time", seconds=8)
    await reached(daemon.ask, is_served, "served", seconds=5)
    world.assert_kept(family, calls=1)


async def test_a_granted_token_issued_earlier_is_no_skew(world: World) -> None:
    """The authority grants a token of its cache: issued 3000 s ago, 60 s left."""
    world.log_in()
    daemon = await world.serve()
    world.authority.revoke_access_tokens()
    world.authority.scenes.append(grants(ttl=60, age=3000))
    before = time.time()
    assert (await daemon.ask()).status == 200
    assert await expires_at(daemon) < before + 90


async def test_a_wrong_date_alone_is_no_skew(world: World) -> None:
    """Something between us and the authority writes a Date of two hours ago."""
    world.log_in()
    daemon = await world.serve()
    world.authority.revoke_access_tokens()

    async def with_an_old_date(turn: Turn) -> None:
        granted = turn.spend(ttl=60)
        fields = {**granted.headers, "date": http_date(time.time() - 7200)}
        await turn.answer(Response(granted.status, granted.body, fields))

    world.authority.scenes.append(with_an_old_date)
    before = time.time()
    assert (await daemon.ask()).status == 200
    assert await expires_at(daemon) < before + 90


@pytest.mark.parametrize("behind", [7200.0, -7200.0])
async def test_skew_that_two_things_agree_on_is_believed(
    world: World, behind: float
) -> None:
    """Our clock is two hours ahead or behind: the token is used, and refreshed once."""
    world.authority.now = lambda: time.time() - behind
    family = world.log_in()
    daemon = await world.serve(refresh_interval_seconds=1)
    await reached(daemon.ask, is_served, "served", seconds=8)
    world.authority.revoke_access_tokens()
    await reached(daemon.ask, is_served, "served", seconds=8)
    calls = len(world.authority.calls)
    for _ in range(10):
        assert (await daemon.ask()).status == 200
    assert len(world.authority.calls) == calls <= 2
    world.assert_kept(family)


async def test_a_clock_ahead_and_an_authority_that_is_away(world: World) -> None:
    """By our clock the token has expired, by the authority's it has not."""
    world.authority.now = lambda: time.time() - 7200
    family = world.log_in()
    daemon = await world.serve(refresh_interval_seconds=1)
    await reached(daemon.ask, is_served, "served", seconds=8)
    world.assert_kept(family)
    calls = len(world.authority.calls)
    await daemon.stop()
    daemon = await world.serve(refresh_interval_seconds=1)
    await reached(daemon.ask, is_served, "served", seconds=8)
    assert len(world.authority.calls) - calls <= 1
    world.assert_kept(family)


@needs_compiler
async def test_strange_expiry_claims_end_nothing(world: World) -> None:
    """The claim is no number, or none that a clock can hold."""
    clock = world.live_by(10)
    family = world.log_in()
    daemon = await world.serve(
        refresh_burst=50, refresh_interval_seconds=1, authority_timeout_seconds=100
    )
    for expiry in ("soon", 1e400, -1, True, None):
        account = {"chatgpt_account_id": "acct-a"}
        token = jwt({"exp": expiry, "iat": 10**30, CLAIMS: account})
        world.authority.revoke_access_tokens()
        family.access_tokens[token] = clock.now() + 3600
        world.authority.scenes.append(grants(override={"access_token": token}))
        reply = await daemon.ask()
        assert reply.status in {200, 401, 503}, (expiry, reply)
        assert reply.code != "internal_error", (expiry, reply)
        await reached(daemon.ask, is_served, f"exp {expiry}", seconds=8)
    world.assert_kept(family)


# A dead token of which the upstream says nothing.


@pytest.mark.parametrize("name", SILENT)
async def test_a_dead_token_right_after_the_start_is_recovered(
    world: World, name: str
) -> None:
    """Another path takes anything; ours says 401 without a word about tokens."""
    family = world.log_in()
    world.upstream.rejection = SILENT[name]
    world.upstream.by_path["/backend-api/open"] = Response.of_json(200, {})
    world.authority.revoke_access_tokens()
    daemon = await world.serve()
    assert (await daemon.ask("/backend-api/open")).status == 200
    reply = await daemon.ask()
    assert reply.status == 200, reply
    world.assert_kept(family, calls=1)


async def test_each_path_is_tried_once_for_a_dead_token(world: World) -> None:
    """Several paths see the dead token first; the first of them recovers for all."""
    family = world.log_in()
    world.upstream.rejection = SILENT["empty"]
    world.upstream.by_path["/backend-api/open"] = Response.of_json(200, {})
    world.authority.revoke_access_tokens()
    daemon = await world.serve()
    assert (await daemon.ask("/backend-api/open")).status == 200
    for number in range(5):
        reply = await daemon.ask(f"/backend-api/other/{number}")
        assert reply.status == 200, reply
    world.assert_kept(family, calls=1)


async def test_ever_new_paths_that_refuse_do_not_drive_the_authority(
    world: World,
) -> None:
    """A client asks for ever new paths that are forbidden to it: the budget holds."""
    family = world.log_in()
    daemon = await world.serve(refresh_burst=3, refresh_interval_seconds=2)
    assert (await daemon.ask()).status == 200
    numbers, began = count(), time.monotonic()
    while time.monotonic() - began < 4:
        path = f"/backend-api/secret/{next(numbers)}"
        world.upstream.by_path[path] = SILENT["empty"]
        assert (await daemon.ask(path)).status == 401
        assert (await daemon.ask()).status == 200
    assert len(world.authority.calls) <= 6, len(world.authority.calls)
    world.assert_kept(family)


async def test_one_path_that_always_refuses_does_not_stop_the_others(
    world: World,
) -> None:
    """A path that is never accepted gets its 401; the others are served throughout."""
    family = world.log_in()
    world.upstream.by_path["/backend-api/secret"] = SILENT["forbidden"]
    daemon = await world.serve(refresh_burst=3, refresh_interval_seconds=2)
    began = time.monotonic()
    while time.monotonic() - began < 3:
        assert (await daemon.ask()).status == 200
        assert (await daemon.ask("/backend-api/secret")).status == 401
    assert len(world.authority.calls) <= 2, len(world.authority.calls)
    world.assert_kept(family)
