"""Points 3, 4 and 6: grants and files that are not what bearerd expects."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.login.lab import Family, Visit, grants, grants_after
from tests.login.processes import Daemon, Reply, reached, until
from tests.login.world import World, write_whole

STRANGER: dict[str, dict[str, Any]] = {
    "both": {"access_account": "acct-b", "id_account": "acct-b"},
    "access_alone": {"access_account": "acct-b", "id_account": "acct-a"},
    "no_id_token": {"access_account": "acct-b", "without": ("id_token",)},
}


def is_served(reply: Reply) -> bool:
    """Return True for a good response of the upstream."""
    return reply.status == 200


def is_account_changed(reply: Reply) -> bool:
    """Return True for bearerd's 401 about another account."""
    return (reply.status, reply.code) == (401, "account_changed")


async def after_a_strange_grant(
    world: World, name: str = "both"
) -> tuple[Family, Daemon]:
    """Return once a grant for another account has come and was not served."""
    family = world.log_in()
    daemon = await world.serve(refresh_interval_seconds=1)
    world.authority.revoke_access_tokens()
    world.authority.scenes.append(grants(**STRANGER[name]))
    first = await daemon.ask()
    assert first.status != 200, first
    return family, daemon


async def test_a_grant_for_another_account_is_kept_and_not_served(
    world: World,
) -> None:
    """The token was spent. It is not presented again, and the grant is not lost."""
    daemon = await world.serve(refresh_burst=20)
    for number, (name, options) in enumerate(STRANGER.items(), start=1):
        family = world.log_in()
        await taken_up(world, daemon, family)
        world.authority.revoke_access_tokens()
        world.authority.scenes.append(grants(**options))
        assert (await daemon.ask()).status != 200, name
        served = len(accepted(world))
        replies = [await daemon.ask() for _ in range(4)]
        assert all(is_account_changed(reply) for reply in replies), (name, replies)
        world.assert_kept(family, calls=number)
        assert len(accepted(world)) == served, name
    await daemon.stop()
    daemon = await world.serve()
    assert (await daemon.ask()).status == 401
    world.assert_kept(world.authority.families[-1], calls=len(STRANGER))


def accepted(world: World) -> list[Visit]:
    """Return the requests that the upstream has accepted."""
    return [visit for visit in world.upstream.visits if visit.status == 200]


async def test_adopt_takes_the_grant_for_another_account(world: World) -> None:
    """A person says yes: the grant is served, for the account that it names."""
    family, daemon = await after_a_strange_grant(world)
    finished = await world.run("adopt")
    assert finished.code == 0, finished
    await reached(daemon.ask, is_served, "served", seconds=6)
    assert world.stored_refresh_token() == family.live_token
    world.assert_kept(family, calls=1)


async def test_adopt_takes_the_grant_while_no_daemon_runs(world: World) -> None:
    """The same, with the daemon killed before."""
    family, daemon = await after_a_strange_grant(world)
    await daemon.kill()
    finished = await world.run("adopt")
    assert finished.code == 0, finished
    daemon = await world.serve()
    await reached(daemon.ask, is_served, "served", seconds=6)
    world.assert_kept(family, calls=1)


async def test_a_grant_for_another_account_to_a_command(world: World) -> None:
    """`bearerd token` gets the stranger's grant; it is kept, and not presented again."""
    family = world.log_in(ttl=-5)
    world.authority.scenes.append(grants(**STRANGER["both"]))
    first = await world.run("token")
    assert first.code != 0
    assert first.stdout == ""
    second = await world.run("token")
    assert second.code != 0
    world.assert_kept(family, calls=1)
    assert (await world.run("adopt")).code == 0
    third = await world.run("token")
    assert third.stdout.strip() in family.access_tokens, third
    world.assert_kept(family, calls=1)


async def test_an_id_token_of_another_workspace_alone_changes_nothing(
    world: World,
) -> None:
    """The access token names our account: it is served."""
    family = world.log_in()
    daemon = await world.serve()
    world.authority.revoke_access_tokens()
    world.authority.scenes.append(grants(id_account="acct-b"))
    reply = await daemon.ask()
    assert reply.status == 200, reply
    assert world.upstream.visits[-1].account_id == "acct-a"
    await daemon.stop()
    daemon = await world.serve()
    reply = await daemon.ask()
    assert reply.status == 200, reply
    world.authority.revoke_access_tokens()
    reply = await daemon.ask()
    assert reply.status == 200, reply
    world.assert_kept(family, calls=2)


async def test_a_sign_in_after_a_strange_grant(world: World) -> None:
    """A person signs in to the old account again: that one is served from then on."""
    _, daemon = await after_a_strange_grant(world)
    world.authority.device.approve("acct-a")
    finished = await world.run("login", "--device")
    assert finished.code == 0, finished
    await reached(daemon.ask, is_served, "served", seconds=6)
    assert world.upstream.visits[-1].account_id == "acct-a"
    await daemon.stop()
    daemon = await world.serve()
    assert (await daemon.ask()).status == 200
    assert world.upstream.visits[-1].account_id == "acct-a"
    assert world.authority.reuses == 0


async def test_a_strange_grant_and_the_account_of_the_next_grant(world: World) -> None:
    """After `adopt`, the family goes on; a third account is strange again."""
    family, daemon = await after_a_strange_grant(world)
    assert (await world.run("adopt")).code == 0
    await reached(daemon.ask, is_served, "served", seconds=6)
    world.authority.revoke_access_tokens()
    world.authority.scenes.append(grants(access_account="acct-b", id_account="acct-b"))
    await reached(daemon.ask, is_served, "served", seconds=6)
    world.assert_kept(family, calls=2)


# Another account's file arrives while a refresh is in flight.


async def foreign_file_in_flight(world: World) -> tuple[Family, bytes, Daemon]:
    """Put another account's file into the store during a call, and let the call end."""
    family, gate = world.log_in(), asyncio.Event()
    before = world.store.read_bytes()
    daemon = await world.serve(refresh_interval_seconds=1)
    world.authority.revoke_access_tokens()
    world.authority.scenes.append(grants_after(gate))
    asking = asyncio.create_task(daemon.ask())
    await until(lambda: bool(world.authority.calls), "the call")
    world.log_in("acct-b")
    gate.set()
    reply = await asking
    assert is_account_changed(reply), reply
    return family, before, daemon


async def test_the_old_file_put_back_finds_the_response(world: World) -> None:
    """The other account's file lands in flight; the old file comes back; it is served."""
    family, before, daemon = await foreign_file_in_flight(world)
    world.assert_kept(family, calls=1)
    write_whole(world.store, before)
    await reached(daemon.ask, is_served, "served", seconds=6)
    world.assert_kept(family, calls=1)
    assert world.upstream.visits[-1].account_id == "acct-a"


async def test_the_old_file_put_back_after_a_kill_finds_the_response(
    world: World,
) -> None:
    """The same with kill -9 in between."""
    family, before, daemon = await foreign_file_in_flight(world)
    await daemon.kill()
    write_whole(world.store, before)
    daemon = await world.serve()
    await reached(daemon.ask, is_served, "served", seconds=6)
    world.assert_kept(family, calls=1)


async def test_the_old_file_put_back_after_an_adoption(world: World) -> None:
    """The other account is adopted and refreshed; the old file comes back and is adopted."""
    family, before, daemon = await foreign_file_in_flight(world)
    assert (await world.run("adopt")).code == 0
    await reached(daemon.ask, is_served, "served", seconds=6)
    assert world.upstream.visits[-1].account_id == "acct-b"
    world.authority.revoke_access_tokens()
    await reached(daemon.ask, is_served, "served after a refresh", seconds=6)
    assert world.holding(family.live_token), "the first account's token is in no file"
    write_whole(world.store, before)
    await reached(daemon.ask, is_account_changed, "account_changed", seconds=6)
    assert (await world.run("adopt")).code == 0
    await reached(daemon.ask, is_served, "served", seconds=6)
    assert world.upstream.visits[-1].account_id == "acct-a"
    world.assert_kept(family)


async def test_a_file_removed_and_put_back_in_flight(world: World) -> None:
    """The file is moved away during the call and put back after it."""
    world.live_faster(8)
    family, gate = world.log_in(), asyncio.Event()
    before = world.store.read_bytes()
    daemon = await world.serve(refresh_interval_seconds=1)
    world.authority.revoke_access_tokens()
    world.authority.scenes.append(grants_after(gate))
    asking = asyncio.create_task(daemon.ask())
    await until(lambda: bool(world.authority.calls), "the call")
    world.store.unlink()
    gate.set()
    await asking
    write_whole(world.store, before)
    await reached(daemon.ask, is_served, "served", seconds=6)
    await world.kept(family, calls=1)


async def test_two_strange_files_in_a_row_in_flight(world: World) -> None:
    """B and C land during two calls for A and B; each response is found again."""
    family, before, daemon = await foreign_file_in_flight(world)
    stranger, gate = world.authority.families[-1], asyncio.Event()
    before_b = world.store.read_bytes()
    assert (await world.run("adopt")).code == 0
    await reached(daemon.ask, is_served, "served", seconds=6)
    world.authority.revoke_access_tokens()
    world.authority.scenes.append(grants_after(gate))
    asking = asyncio.create_task(daemon.ask())
    await until(lambda: len(world.authority.calls) == 2, "the call for B")
    world.log_in("acct-c")
    gate.set()
    assert is_account_changed(await asking)
    assert world.holding(family.live_token), "A's token is in no file"
    assert world.holding(stranger.live_token), "B's token is in no file"
    write_whole(world.store, before_b)
    await reached(daemon.ask, is_served, "B served", seconds=6)
    await world.kept(stranger)
    write_whole(world.store, before)
    await reached(daemon.ask, is_account_changed, "A is noticed", seconds=6)
    assert (await world.run("adopt")).code == 0
    await reached(daemon.ask, is_served, "A served", seconds=6)
    await world.kept(family)


# An older file of the same account.


def rotate_elsewhere(world: World, family: Family) -> None:
    """Rotate as Codex does on the same file: present, then write the file."""
    world.authority.mint(family)
    world.put(family)


async def taken_up(world: World, daemon: Daemon, family: Family) -> None:
    """Return once requests carry the family's newest access token."""
    newest = list(family.access_tokens)[-1]
    visits = world.upstream.visits
    await reached(
        daemon.ask,
        lambda _: visits[-1].access_token == newest,
        "the newest token is used",
        seconds=8,
    )


@pytest.mark.parametrize("who", ["bearerd", "command", "codex"])
async def test_an_older_file_is_not_taken_up(world: World, who: str) -> None:
    """A backup of before the rotation is restored, whoever rotated."""
    family = world.log_in()
    backup = world.store.read_bytes()
    daemon = await world.serve(refresh_interval_seconds=1)
    assert (await daemon.ask()).status == 200
    if who == "bearerd":
        world.authority.revoke_access_tokens()
        assert (await daemon.ask()).status == 200
    elif who == "command":
        # The refresh window is longer than the access token's life.
        world.authority.mint(family, ttl=30)
        world.put(family)
        backup = world.store.read_bytes()
        assert (await world.run("token")).code == 0
        await taken_up(world, daemon, family)
    else:
        rotate_elsewhere(world, family)
        await taken_up(world, daemon, family)
    write_whole(world.store, backup)
    for _ in range(5):
        assert (await daemon.ask()).status == 200
        await asyncio.sleep(0.2)
    world.authority.revoke_access_tokens()
    await reached(daemon.ask, is_served, "served", seconds=8)
    world.assert_kept(family)
    await until(
        lambda: world.stored_refresh_token() == family.live_token, "written back"
    )


async def test_a_backup_of_two_rotations_ago(world: World) -> None:
    """Two foreign rotations, then the first file again."""
    family = world.log_in()
    backup = world.store.read_bytes()
    daemon = await world.serve(refresh_interval_seconds=1)
    for _ in range(2):
        rotate_elsewhere(world, family)
        await taken_up(world, daemon, family)
    write_whole(world.store, backup)
    world.authority.revoke_access_tokens()
    await reached(daemon.ask, is_served, "served", seconds=8)
    world.assert_kept(family)


async def test_a_backup_restored_in_place_and_a_restart(world: World) -> None:
    """The daemon is stopped right after the restore; what it held is on disk then."""
    family = world.log_in()
    backup = world.store.read_bytes()
    daemon = await world.serve(refresh_interval_seconds=1)
    rotate_elsewhere(world, family)
    await taken_up(world, daemon, family)
    world.store.write_bytes(backup)
    await daemon.stop()
    assert world.holding(family.live_token), "the live token is in no file"
    daemon = await world.serve()
    world.authority.revoke_access_tokens()
    await reached(daemon.ask, is_served, "served", seconds=8)
    world.assert_kept(family)


async def test_a_backup_restored_while_no_daemon_runs_is_not_presented(
    world: World,
) -> None:
    """The state beside the store knows the spent token: it is not shown to the authority."""
    world.log_in()
    backup = world.store.read_bytes()
    daemon = await world.serve()
    world.authority.revoke_access_tokens()
    assert (await daemon.ask()).status == 200
    await daemon.stop()
    write_whole(world.store, backup)
    world.authority.revoke_access_tokens()
    daemon = await world.serve()
    assert (await daemon.ask()).status != 200
    assert world.authority.reuses == 0, "a token known as spent was presented"


async def test_a_new_login_of_the_same_account_is_taken_up(world: World) -> None:
    """A new sign-in of the account is no older file."""
    world.log_in()
    daemon = await world.serve()
    assert (await daemon.ask()).status == 200
    newer = world.log_in()
    await taken_up(world, daemon, newer)


async def test_a_login_with_an_older_stamp_is_a_backup_while_ours_is_good(
    world: World,
) -> None:
    """It cannot be told from one. Once ours is refused for good it is taken up."""
    world.live_faster(8)
    family = world.log_in()
    daemon = await world.serve()
    assert (await daemon.ask()).status == 200
    other = world.authority.sign_in(age=3600)
    document = world.authority.document(other)
    document["last_refresh"] = "2026-01-01T00:00:00Z"
    write_whole(world.store, document)
    await until(
        lambda: world.stored_refresh_token() == family.live_token, "written over"
    )
    assert (await daemon.ask()).status == 200
    family.is_alive = False
    await reached(daemon.ask, lambda reply: reply.code == "login_required", "refused")
    write_whole(world.store, document)
    await taken_up(world, daemon, other)
