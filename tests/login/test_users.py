"""Files and users: commands that root runs in a folder that belongs to a service."""

from __future__ import annotations

import os

import pytest

from tests.login.faults import AS_NOBODY, NOBODY, needs_root
from tests.login.lab import hangs
from tests.login.processes import Daemon, Finished, reached, until
from tests.login.world import World

pytestmark = needs_root


def own_all(world: World, uid: int = NOBODY) -> None:
    """Let the service's user own the home and the store's folder."""
    for path in [world.folder, *world.folder.rglob("*")]:
        os.chown(path, uid, uid)


def owned_by_root(world: World) -> list[str]:
    """Return the files in the store's folder that the service's user does not own."""
    return [
        path.name
        for path in world.store.parent.iterdir()
        if path.stat().st_uid != NOBODY
    ]


async def serve_as_nobody(world: World) -> Daemon:
    """Start the service as its own user, as a unit file does."""
    world.prefix = AS_NOBODY
    try:
        return await world.serve(refresh_interval_seconds=1)
    finally:
        world.prefix = ()


async def sign_in_as_root(world: World) -> Finished:
    """Run `bearerd login --device` as root."""
    world.authority.device.approve("acct-a")
    return await world.run("login", "--device")


async def serves_and_refreshes(world: World) -> None:
    """Assert that the service serves, refreshes and saves, all as its own user."""
    daemon = await serve_as_nobody(world)
    reply = await daemon.ask()
    assert reply.status == 200, reply
    world.authority.revoke_access_tokens()
    await reached(daemon.ask, lambda reply: reply.status == 200, "served", seconds=8)
    family = world.authority.families[-1]
    assert world.stored_refresh_token() == family.live_token
    assert world.store.stat().st_uid == NOBODY
    world.assert_kept(family)
    assert await daemon.stop() == 0


def is_a_refusal_with_the_command(finished: Finished) -> bool:
    """Return True for a refusal that names what to run instead."""
    return finished.code != 0 and any(
        word in finished.stderr for word in ("sudo -u", "runuser", "setpriv", "su ")
    )


async def test_a_login_by_root_in_the_folder_of_another_user(world: World) -> None:
    """All new files belong to the folder's owner, or the login is refused beforehand."""
    own_all(world)
    finished = await sign_in_as_root(world)
    if is_a_refusal_with_the_command(finished):
        assert world.authority.device.starts == 0
        assert not world.store.exists()
        assert owned_by_root(world) == []
        return
    assert finished.code == 0, finished
    assert owned_by_root(world) == []
    await serves_and_refreshes(world)


async def test_a_login_by_root_into_a_folder_that_it_makes(world: World) -> None:
    """The folder is missing; the one above it belongs to the service's user."""
    own_all(world)
    world.store.parent.rmdir()
    finished = await sign_in_as_root(world)
    if is_a_refusal_with_the_command(finished):
        return
    assert finished.code == 0, finished
    assert world.store.parent.stat().st_uid == NOBODY
    assert owned_by_root(world) == []
    await serves_and_refreshes(world)


@pytest.mark.parametrize(
    "command",
    [("token",), ("adopt",), ("doctor",), ("status",), ("key", "create", "bot")],
    ids=lambda command: command[0],
)
async def test_another_command_by_root(world: World, command: tuple[str, ...]) -> None:
    """The first command ever in the folder is one of root's; the service then works."""
    world.log_in(ttl=30)
    own_all(world)
    finished = await world.run(*command)
    assert owned_by_root(world) == [], finished
    await serves_and_refreshes(world)


async def test_a_refresh_by_root_that_cannot_write(world: World) -> None:
    """Root's command refreshes; its grant and all files beside belong to the service."""
    family = world.log_in(ttl=-5)
    own_all(world)
    finished = await world.run("token")
    if is_a_refusal_with_the_command(finished):
        assert len(world.authority.calls) == 0
        return
    assert finished.code == 0, finished
    assert owned_by_root(world) == []
    world.assert_kept(family, calls=1)
    await serves_and_refreshes(world)


async def test_a_journal_that_root_has_left(world: World) -> None:
    """Root's command is killed in its call: the service can read what it left."""
    family = world.log_in(ttl=-5)
    own_all(world)
    world.authority.scenes.append(hangs(spends=False))
    process = await world.launcher().start("token")
    await until(
        lambda: bool(world.authority.calls) or process.returncode is not None,
        "the call",
    )
    if process.returncode is None:
        process.kill()
    await process.communicate()
    assert owned_by_root(world) == []
    daemon = await serve_as_nobody(world)
    await reached(daemon.ask, lambda reply: reply.status == 200, "served", seconds=30)
    assert family.is_alive
    assert world.stored_refresh_token() == family.live_token


async def test_root_own_files_do_not_lead_to_a_loop_of_advice(world: World) -> None:
    """A folder full of root's files: the service names the owner and what to run."""
    world.log_in()
    daemon = await world.serve()
    assert (await daemon.ask()).status == 200
    await daemon.stop()
    os.chown(world.folder, NOBODY, NOBODY)
    for path in [world.home, *world.home.rglob("*")]:
        os.chown(path, NOBODY, NOBODY)
    os.chown(world.store.parent, NOBODY, NOBODY)
    world.prefix = AS_NOBODY
    try:
        daemon = await world.serve()
    except AssertionError as failed:
        text = str(failed)
    else:
        reply = await daemon.ask()
        text = reply.message + daemon.log_text()
        assert reply.status == 503, reply
    assert "bearerd login" not in text, text
    assert "chown" in text, text


async def test_a_login_by_root_after_the_service_was_refused_for_good(
    world: World,
) -> None:
    """An operator signs in as root beside the running service: it is taken up at once."""
    world.log_in()
    own_all(world)
    daemon = await serve_as_nobody(world)
    for family in world.authority.families:
        family.is_alive = False
    reply = await daemon.ask()
    assert reply.code == "login_required", reply
    finished = await sign_in_as_root(world)
    if is_a_refusal_with_the_command(finished):
        return
    assert finished.code == 0, finished
    await reached(daemon.ask, lambda reply: reply.status == 200, "served", seconds=8)
    assert owned_by_root(world) == []
    world.authority.revoke_access_tokens()
    await reached(daemon.ask, lambda reply: reply.status == 200, "served", seconds=8)
    world.assert_kept(world.authority.families[-1])


async def test_a_login_by_root_with_its_own_home_and_the_rescue_place(
    world: World,
) -> None:
    """Root has another home: what it cannot store must be where the service looks."""
    world.log_in()
    own_all(world)
    other_home = world.folder / "root-home"
    other_home.mkdir()
    world.environ = {"HOME": str(other_home)}
    finished = await sign_in_as_root(world)
    world.environ = {}
    if is_a_refusal_with_the_command(finished):
        return
    assert finished.code == 0, finished
    assert owned_by_root(world) == []
    assert not [path for path in other_home.rglob("*") if path.is_file()]
    await serves_and_refreshes(world)
