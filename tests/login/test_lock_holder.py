"""The process that holds the lock is stopped."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.login.lab import grants_after, hangs
from tests.login.processes import Reply, end, reached, until
from tests.login.world import World


@asynccontextmanager
async def stopped_holder(world: World) -> AsyncIterator[Process]:
    """Stop a `bearerd token` in the middle of its call, so that it holds the lock."""
    calls = len(world.authority.calls)
    world.authority.scenes.append(hangs(spends=False))
    process = await world.launcher().start("token")
    try:
        await until(lambda: len(world.authority.calls) > calls, "the holder's call")
        os.kill(process.pid, signal.SIGSTOP)
        yield process
    finally:
        await end(process)


def is_served(reply: Reply) -> bool:
    """Return True for a good response of the upstream."""
    return reply.status == 200


async def test_a_stopped_holder_costs_one_bounded_wait(world: World) -> None:
    """The first requests wait once; those after them are answered at once."""
    family = world.log_in(ttl=-5)
    async with stopped_holder(world) as holder:
        daemon = await world.serve(authority_timeout_seconds=2)
        first = await asyncio.gather(*(daemon.ask() for _ in range(5)))
        assert {reply.status for reply in first} == {503}
        assert max(reply.seconds for reply in first) < 4, first
        assert all(str(holder.pid) in reply.message for reply in first), first
        later = [await daemon.ask() for _ in range(6)]
        assert {reply.status for reply in later} == {503}
        assert max(reply.seconds for reply in later) < 0.7, later
        assert all(1 <= int(reply.headers["retry-after"]) <= 5 for reply in later)
        assert str(holder.pid) in later[-1].message, later[-1]
        assert socket.gethostname() in later[-1].message, later[-1]
        assert "not reached" not in later[-1].message
        presented = len(world.authority.calls)
        assert presented == 1
    await reached(daemon.ask, is_served, "served", seconds=15)
    assert family.is_alive
    assert world.authority.reuses == 0


async def test_a_stopped_holder_and_a_live_access_token(world: World) -> None:
    """The upstream still accepts our token: a stopped holder costs nothing."""
    world.log_in(ttl=100, age=3500)
    world.authority.scenes.append(hangs(spends=False))
    first = await world.serve()
    await until(lambda: bool(world.authority.calls), "the first one's call")
    first.signal(signal.SIGSTOP)
    second = await world.serve(authority_timeout_seconds=5)
    replies = [await second.ask() for _ in range(8)]
    assert {reply.status for reply in replies} == {200}
    assert max(reply.seconds for reply in replies) < 1.5
    assert len(world.authority.calls) == 1


async def test_doctor_warns_about_an_old_lock(world: World) -> None:
    """`bearerd doctor` names the process that holds the lock, and for how long."""
    world.log_in(ttl=-5)
    async with stopped_holder(world) as holder:
        path = world.store.with_name("auth.json.bearerd-lock")
        noted = json.loads(path.read_text())
        path.write_text(json.dumps(noted | {"since": noted["since"] - 600}))
        finished = await world.run("doctor", "--json")
        findings = json.loads(finished.stdout)["findings"]
        locks = [finding for finding in findings if finding["topic"] == "lock"]
        assert locks[0]["verdict"] == "warning", locks
        for part in (str(holder.pid), socket.gethostname(), "since 20"):
            assert part in str(locks), locks


async def test_login_tries_the_lock_before_it_asks_a_person(world: World) -> None:
    """With the lock held, no sign-in begins; the message names the holder."""
    world.live_faster(8)
    world.log_in(ttl=-5)
    async with stopped_holder(world) as holder:
        finished = await world.run("login", "--device", authority_timeout_seconds=2)
        assert finished.code == 1, finished
        assert world.authority.device.starts == 0
        assert str(holder.pid) in finished.stderr, finished.stderr


async def test_a_sign_in_that_cannot_be_stored_is_in_the_rescue_place(
    world: World,
) -> None:
    """The lock is taken by a stopped process while a person signs in."""
    world.log_in(ttl=-5)
    login = asyncio.create_task(
        world.run("login", "--device", patience=60, authority_timeout_seconds=2)
    )
    await until(lambda: world.authority.device.polls > 0, "the sign-in has begun")
    async with stopped_holder(world):
        world.authority.device.approve("acct-a")
        finished = await login
        newest = world.authority.families[-1]
        assert len(world.authority.families) == 2
        assert finished.code == 0, finished
        assert "it is kept in" in finished.stderr, finished
        assert newest.is_alive
        assert world.holding(newest.live_token), "the new login is in no file"
        assert world.holding(newest.live_token) != ["store/auth.json"]
    daemon = await world.serve()
    await reached(daemon.ask, is_served, "served by the new login", seconds=15)
    assert world.upstream.visits[-1].access_token in newest.access_tokens
    assert world.stored_refresh_token() == newest.live_token


async def test_logout_with_a_stopped_holder(world: World) -> None:
    """`logout` says who holds the lock, in bounded time, and removes nothing half."""
    family = world.log_in(ttl=-5)
    async with stopped_holder(world) as holder:
        finished = await world.run("logout", authority_timeout_seconds=2, patience=60)
        assert finished.seconds < 20
        if finished.code != 0:
            assert str(holder.pid) in finished.stderr
            assert family.is_alive
            assert world.stored_refresh_token() == family.live_token


async def test_a_holder_stopped_with_the_grant_in_its_socket(world: World) -> None:
    """The holder is a daemon; it goes on after all time-outs and stores the grant."""
    family, gate = world.log_in(), asyncio.Event()
    first = await world.serve(authority_timeout_seconds=1)
    second = await world.serve(authority_timeout_seconds=1)
    world.authority.revoke_access_tokens()
    world.authority.scenes.append(grants_after(gate))
    asking = asyncio.create_task(first.ask())
    await until(lambda: bool(world.authority.calls), "the call")
    first.signal(signal.SIGSTOP)
    gate.set()
    began = time.monotonic()
    while time.monotonic() - began < 3:
        assert (await second.ask()).status == 503
    first.signal(signal.SIGCONT)
    with suppress(OSError):
        await asking
    await reached(second.ask, is_served, "the second serves", seconds=8)
    await reached(first.ask, is_served, "the first serves", seconds=8)
    world.assert_kept(family, calls=1)


async def test_a_holder_that_is_killed_after_it_was_stopped(world: World) -> None:
    """Kill -9 of the stopped holder frees the lock; the maybe spent token was not spent."""
    world.live_faster(4)
    family = world.log_in(ttl=-5)
    async with stopped_holder(world):
        daemon = await world.serve(authority_timeout_seconds=1)
        assert (await daemon.ask()).status == 503
    await reached(daemon.ask, is_served, "served", seconds=30)
    assert family.is_alive
    assert world.authority.reuses == 0


async def test_eight_commands_at_once(world: World) -> None:
    """Eight `bearerd token` with an expired token: one call, eight tokens."""
    family = world.log_in(ttl=-5)
    codes = await world.run_together(8, "token")
    assert codes == [0] * 8
    world.assert_kept(family, calls=1)
