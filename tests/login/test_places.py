"""Where a login lies: links, two ways to one file, a second user, and old backups."""

from __future__ import annotations

import asyncio
import os

import pytest

from tests.login.faults import AS_NOBODY, NOBODY, needs_root
from tests.login.lab import grants_after
from tests.login.processes import Reply, passed, reached, until
from tests.login.world import World, write_whole


def is_served(reply: Reply) -> bool:
    """Return True for a good response of the upstream."""
    return reply.status == 200


@pytest.mark.parametrize("kind", ["file", "folder"])
async def test_two_daemons_on_two_ways_to_one_file(world: World, kind: str) -> None:
    """One daemon reaches the file by a link: they take turns, and present once."""
    family, gate = world.log_in(), asyncio.Event()
    other = world.folder / "other"
    if kind == "file":
        other.mkdir()
        (other / "auth.json").symlink_to(world.store)
    else:
        other.symlink_to(world.store.parent)
    first = await world.serve(keys_file=world.home / "k1")
    second = await world.serve(store=other / "auth.json", keys_file=world.home / "k2")
    assert (await second.ask()).status == 200
    world.authority.revoke_access_tokens()
    world.authority.scenes.append(grants_after(gate))
    asking = [asyncio.create_task(daemon.ask()) for daemon in (first, second)]
    await until(lambda: bool(world.authority.calls), "the call")
    await passed(1)
    assert len(world.authority.calls) == 1
    gate.set()
    replies = await asyncio.gather(*asking)
    assert [reply.status for reply in replies] == [200, 200], replies
    world.assert_kept(family, calls=1)
    if kind == "file":
        assert (other / "auth.json").is_symlink()


async def test_a_backup_of_a_hundred_rotations_ago(world: World) -> None:
    """The list of spent tokens is bounded; an old backup is not presented all the same."""
    family = world.log_in()
    backup = world.store.read_bytes()
    daemon = await world.serve(refresh_burst=500, refresh_interval_seconds=0.01)
    for _ in range(100):
        world.authority.revoke_access_tokens()
        await reached(daemon.ask, is_served, "served", seconds=8, pause=0.02)
    assert family.rotations >= 100
    write_whole(world.store, backup)
    world.authority.revoke_access_tokens()
    await reached(daemon.ask, is_served, "served", seconds=8)
    await world.kept(family)


async def test_a_backup_of_a_hundred_rotations_ago_after_a_restart(
    world: World,
) -> None:
    """The same while no daemon runs: the state beside the store has to know."""
    world.log_in()
    backup = world.store.read_bytes()
    daemon = await world.serve(refresh_burst=500, refresh_interval_seconds=0.01)
    for _ in range(100):
        world.authority.revoke_access_tokens()
        await reached(daemon.ask, is_served, "served", seconds=8, pause=0.02)
    await daemon.stop()
    write_whole(world.store, backup)
    world.authority.revoke_access_tokens()
    daemon = await world.serve()
    assert (await daemon.ask()).code == "login_required"
    assert world.authority.reuses == 0


@needs_root
async def test_a_command_of_another_user_beside_an_unsaved_login(world: World) -> None:
    """The grant is in the service's rescue place; root's command looks in its own home."""
    family = world.log_in()
    for path in [world.folder, *world.folder.rglob("*")]:
        os.chown(path, NOBODY, NOBODY)
    world.prefix = AS_NOBODY
    daemon = await world.serve(keys_file=world.home / "keys.json")
    world.prefix = ()
    assert (await daemon.ask()).status == 200
    world.store.parent.chmod(0o555)
    world.authority.revoke_access_tokens()
    # As if the file belonged to a read-only mount: the service cannot replace it.
    os.chown(world.store.parent, 0, 0)
    os.chown(world.store, 0, NOBODY)
    world.store.chmod(0o640)
    await reached(daemon.ask, is_served, "served", seconds=8)
    root_home = world.folder / "root-home"
    root_home.mkdir()
    world.environ = {"HOME": str(root_home)}
    assert world.stored_refresh_token() != family.live_token
    await world.run("token")
    assert world.authority.reuses == 0
    assert family.is_alive


async def test_the_folder_moves_away_and_comes_back_in_flight(world: World) -> None:
    """A volume that goes during the call and returns as it was: nothing is presented twice."""
    family, gate = world.log_in(), asyncio.Event()
    daemon = await world.serve(refresh_interval_seconds=1)
    world.authority.revoke_access_tokens()
    world.authority.scenes.append(grants_after(gate))
    asking = asyncio.create_task(daemon.ask())
    await until(lambda: bool(world.authority.calls), "the call")
    away = world.folder / "away"
    world.store.parent.rename(away)
    gate.set()
    await asking
    assert world.holding(family.live_token), "the live token is in no file"
    away.rename(world.store.parent)
    await reached(daemon.ask, is_served, "served", seconds=10)
    await world.kept(family, calls=1)


async def test_an_empty_volume_and_the_old_one_again(world: World) -> None:
    """An empty folder is mounted in the place, then the old one: not a sign-out."""
    family = world.log_in()
    daemon = await world.serve(refresh_interval_seconds=1)
    assert (await daemon.ask()).status == 200
    away = world.folder / "away"
    world.store.parent.rename(away)
    world.store.parent.mkdir()
    world.authority.revoke_access_tokens()
    for _ in range(3):
        reply = await daemon.ask()
        assert reply.code != "login_required", reply
    for path in world.store.parent.iterdir():
        path.unlink()
    world.store.parent.rmdir()
    away.rename(world.store.parent)
    await reached(daemon.ask, is_served, "served", seconds=10)
    await world.kept(family)


async def test_a_file_removed_and_put_back_without_a_call(world: World) -> None:
    """Removed for some seconds, put back as it was: served, and nothing was presented."""
    family = world.log_in()
    before = world.store.read_bytes()
    daemon = await world.serve()
    assert (await daemon.ask()).status == 200
    world.store.unlink()
    await reached(daemon.ask, lambda reply: reply.status == 401, "noticed", seconds=9)
    write_whole(world.store, before)
    await reached(daemon.ask, is_served, "served", seconds=9)
    world.assert_kept(family, calls=0)
