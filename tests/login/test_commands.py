"""Commands that run at a bad moment: a sign-in, a sign-out or a start beside a call."""

from __future__ import annotations

import asyncio
import fcntl
import os

import pytest

from tests.login.clocks import needs_compiler
from tests.login.faults import AS_NOBODY, NOBODY, needs_root
from tests.login.http1 import Response
from tests.login.lab import Family, error, grants_after, spends_and_says
from tests.login.processes import Daemon, passed, reached, until
from tests.login.world import World


async def grant_in_the_rescue_place(world: World) -> Family:
    """Leave a grant in the rescue place: the folder takes nothing, the daemon is killed."""
    family = world.log_in()
    for path in [world.folder, *world.folder.rglob("*")]:
        os.chown(path, NOBODY, NOBODY)
    world.prefix = AS_NOBODY
    keys = world.home / "keys.json"
    daemon = await world.serve(keys_file=keys)
    assert (await daemon.ask()).status == 200
    world.store.parent.chmod(0o555)
    world.store.chmod(0o444)
    world.authority.revoke_access_tokens()
    await reached(daemon.ask, lambda reply: reply.status == 200, "served", seconds=8)
    found = world.holding(family.live_token)
    assert found, "the grant is in no file"
    assert all(name.startswith("home/") for name in found), found
    await daemon.kill()
    world.store.parent.chmod(0o755)
    world.store.chmod(0o600)
    return family


async def grant_in_the_journal(world: World) -> Family:
    """Leave a grant in the journal: killed while another program locks the file."""
    family = world.log_in()
    daemon = await world.serve()
    world.authority.revoke_access_tokens()
    with world.store.with_name("auth.lock").open("w") as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)  # as Codex does while it writes
        asking = asyncio.create_task(daemon.ask())
        await until(
            lambda: family.rotations == 1 and bool(world.holding(family.live_token)),
            "the grant is in the journal",
        )
        await daemon.kill()
    await asyncio.gather(asking, return_exceptions=True)
    assert world.stored_refresh_token() != family.live_token
    return family


@needs_root
async def test_logout_revokes_what_is_in_the_rescue_place(world: World) -> None:
    """The file holds the spent token, the rescue place the live one."""
    family = await grant_in_the_rescue_place(world)
    finished = await world.run("logout")
    assert finished.code == 0, finished
    assert family.live_token in world.authority.revoked
    assert not family.is_alive
    assert not world.holding(family.live_token)
    assert not world.store.exists()


async def test_logout_revokes_what_is_in_the_journal(world: World) -> None:
    """The file holds the spent token, the journal the live one."""
    family = await grant_in_the_journal(world)
    finished = await world.run("logout")
    assert finished.code == 0, finished
    assert family.live_token in world.authority.revoked
    assert not family.is_alive
    assert not world.holding(family.live_token)


async def test_a_start_after_a_kill_takes_the_journal_up(world: World) -> None:
    """The grant in the journal is served: no call."""
    family = await grant_in_the_journal(world)
    daemon = await world.serve()
    await reached(daemon.ask, lambda reply: reply.status == 200, "served", seconds=8)
    world.assert_kept(family, calls=1)


@needs_root
async def test_a_start_after_a_kill_takes_the_rescue_place_up(world: World) -> None:
    """The grant in the rescue place is served: no call."""
    family = await grant_in_the_rescue_place(world)
    daemon = await world.serve(keys_file=world.home / "keys.json")
    await reached(daemon.ask, lambda reply: reply.status == 200, "served", seconds=8)
    world.assert_kept(family, calls=1)
    assert world.stored_refresh_token() == family.live_token


async def test_logout_while_a_refresh_is_in_flight(world: World) -> None:
    """The daemon's call has spent the token: the new one is revoked, not forgotten."""
    family, gate = world.log_in(), asyncio.Event()
    daemon = await world.serve()
    world.authority.revoke_access_tokens()
    world.authority.scenes.append(grants_after(gate))
    asking = asyncio.create_task(daemon.ask())
    await until(lambda: bool(world.authority.calls), "the call")
    leaving = asyncio.create_task(world.run("logout"))
    await passed(2)
    gate.set()
    finished = await leaving
    await asking
    assert finished.code == 0, finished
    assert not world.store.exists()
    assert not family.is_alive, world.authority.revoked
    await reached(
        daemon.ask,
        lambda reply: reply.code == "login_required",
        "signed out",
        seconds=8,
    )


HTML = {"content-type": "text/html"}
HICCUPS = {
    "slow_down": Response.of_json(429, {"error": "slow_down"}),
    "slow_down_400": Response.of_json(400, {"error": "slow_down"}),
    "retry_after": Response.of_json(429, {"detail": "no"}, retry_after="1"),
    "bad_gateway": Response(502, b"<html>bad gateway</html>", HTML),
    "server_error": error(500, "internal"),
    "unavailable": Response(503),
    "not_json": Response(200, b"<html>hello</html>", HTML),
}


@needs_compiler
async def test_hiccups_do_not_end_a_device_sign_in(world: World) -> None:
    """Polls go wrong in each way, then the person approves: the sign-in goes on."""
    world.live_by(40)
    hiccups = world.authority.device.hiccups
    hiccups.extend(HICCUPS.values())
    login = asyncio.create_task(
        world.run("login", "--device", patience=40, authority_timeout_seconds=100)
    )
    await until(lambda: not hiccups or login.done(), "the hiccups")
    world.authority.device.approve("acct-a")
    finished = await login
    assert finished.code == 0, finished
    assert world.stored_refresh_token() == world.authority.families[-1].live_token


@pytest.mark.parametrize("status", [400, 401, 410])
async def test_a_declined_device_sign_in_ends(world: World, status: int) -> None:
    """A person has declined, or the code has expired: it ends, with a clear line."""
    world.authority.device.hiccups.append(error(status, "access_denied"))
    finished = await world.run("login", "--device", patience=40)
    assert finished.code in {1, 3}, finished
    assert world.authority.device.polls == 1
    assert not world.store.exists()


async def test_an_opaque_first_login_is_pinned_as_soon_as_it_is_known(
    world: World,
) -> None:
    """The first file names no account; the first grant does; B's file is then strange."""
    family = world.log_in(opaque=True)
    daemon = await world.serve()
    assert (await daemon.ask()).status == 200
    world.authority.revoke_access_tokens()
    assert (await daemon.ask()).status == 200
    world.log_in("acct-b")
    reply = await reached(
        daemon.ask, lambda reply: reply.status != 200, "B is strange", seconds=8
    )
    assert reply.code == "account_changed", reply
    assert not [v for v in world.upstream.visits if v.account_id == "acct-b"]
    assert family.is_alive


async def test_an_opaque_login_is_pinned_by_a_file_that_names_it(world: World) -> None:
    """Another program writes the same login with its account; B's file is strange."""
    family = world.log_in(opaque=True)
    daemon = await world.serve()
    assert (await daemon.ask()).status == 200
    world.authority.mint(family)
    world.put(family)
    await reached(
        daemon.ask,
        lambda _: world.upstream.visits[-1].account_id == "acct-a",
        "the account is known",
        seconds=8,
    )
    world.log_in("acct-b")
    reply = await reached(
        daemon.ask, lambda reply: reply.status != 200, "B is strange", seconds=8
    )
    assert reply.code == "account_changed", reply


async def test_a_file_of_another_account_while_no_daemon_runs(world: World) -> None:
    """The pin is on disk: B's file is strange after a restart, until `adopt`."""
    world.log_in()
    daemon = await world.serve()
    assert (await daemon.ask()).status == 200
    await daemon.kill()
    world.log_in("acct-b")
    daemon = await world.serve()
    reply = await daemon.ask()
    assert reply.code == "account_changed", reply
    assert (await world.run("token")).code != 0
    assert (await world.run("adopt")).code == 0
    await reached(daemon.ask, lambda reply: reply.status == 200, "adopted", seconds=8)


async def test_login_while_a_refresh_is_in_flight(world: World) -> None:
    """A person signs in anew while a late response flies: the new login wins."""
    family, gate = world.log_in(), asyncio.Event()
    daemon = await world.serve()
    world.authority.revoke_access_tokens()
    world.authority.scenes.append(grants_after(gate))
    asking = asyncio.create_task(daemon.ask())
    await until(lambda: bool(world.authority.calls), "the call")
    world.authority.device.approve("acct-a")
    login = asyncio.create_task(world.run("login", "--device", patience=60))
    await passed(3)
    gate.set()
    finished = await login
    await asking
    if finished.code == 0:
        newest = world.authority.families[-1]
        assert world.stored_refresh_token() == newest.live_token
        assert newest.is_alive
    else:
        world.assert_kept(family)
    await reached(daemon.ask, lambda reply: reply.status == 200, "served", seconds=8)
    assert world.authority.reuses == 0


async def test_two_logins_at_once(world: World) -> None:
    """Two people sign in at once: the stored login is alive, and is served."""
    world.authority.device.approve("acct-a")
    codes = await world.run_together(2, "login", "--device")
    assert 0 in codes
    alive = [f.live_token for f in world.authority.families if f.is_alive]
    assert world.stored_refresh_token() in alive
    daemon = await world.serve()
    assert (await daemon.ask()).status == 200


async def test_a_rotation_answered_with_a_server_error(world: World) -> None:
    """Rotated, then 500: the new token is lost. The message names what has happened."""
    world.log_in()
    daemon: Daemon = await world.serve()
    world.authority.revoke_access_tokens()
    world.authority.scenes.append(spends_and_says(error(500, "internal")))
    reply = await reached(
        daemon.ask, lambda reply: reply.status == 401, "said", seconds=25, pause=0.5
    )
    assert reply.code == "login_required"
    assert "the response to a refresh was lost" in reply.message, reply
    assert len(world.authority.calls) == 2
    assert len(daemon.logged("login.needed")) == 1
    world.authority.device.approve("acct-a")
    assert (await world.run("login", "--device")).code == 0
    await reached(daemon.ask, lambda reply: reply.status == 200, "served", seconds=8)
