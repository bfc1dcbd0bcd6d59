"""A login that is over: one clear 401, one call, and service again once the file changes.

The path is that of a 401, with an authority, or a store, that says no for good.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bearerd.clock import Clock
from bearerd.events import LoginNeeded, LoginRestored
from bearerd.sandbox import AuthorityFault, Sandbox
from tests.support import (
    Daemon,
    ManualClock,
    Reply,
    Start,
    read_login,
    run_command,
    tokens_of,
    write_login,
)

End = Callable[[Sandbox, Daemon], None]


def expire(sandbox: Sandbox, _: Daemon) -> None:
    """Let the refresh token grow too old."""
    sandbox.tokens.expire_refresh_tokens()


def spend_elsewhere(sandbox: Sandbox, daemon: Daemon) -> None:
    """Have another program with a copy of the login refresh it, and keep the response."""
    sandbox.tokens.rotate(tokens_of(read_login(daemon.store))["refresh_token"])


def sign_out_elsewhere(sandbox: Sandbox, _: Daemon) -> None:
    """End the login at the authority."""
    sandbox.tokens.revoke_refresh_tokens()


def refuse_otherwise(sandbox: Sandbox, _: Daemon) -> None:
    """Let the authority say no in words that nobody knows."""
    sandbox.authority.fault(AuthorityFault("answer", status=401, body="{}"))


def refuse_plainly(sandbox: Sandbox, _: Daemon) -> None:
    """Let the authority say no in OAuth's own words, without a subtype."""
    sandbox.authority.fault(AuthorityFault("refuse", code="invalid_grant"))


def patient(hand: ManualClock) -> Clock:
    """Return the clock moved by hand, by which pauses shorter than a tick take no time."""

    async def sleep(seconds: float) -> None:
        await (hand.sleep(seconds) if seconds >= 1 else asyncio.sleep(0))

    return Clock(now=hand.now, monotonic=hand.now, sleep=sleep)


async def two_seconds(hand: ManualClock) -> None:
    """Let as much time pass, and upkeep look at the file as often as it does then."""
    for _ in range(2):
        await hand.wait_for_sleepers(2)
        hand.advance(1)
    await hand.wait_for_sleepers(2)


def is_clear(reply: Reply, code: str) -> bool:
    """Say whether a response is a 401 of bearerd that an agent does not try again."""
    error = json.loads(reply.body)["error"]
    return (
        (reply.status, reply.code, error["code"]) == (401, code, code)
        and error["type"] == "bearerd_error"
        and "Retry-After" not in reply.headers
        and reply.headers["WWW-Authenticate"] == 'Bearer realm="bearerd"'
    )


@pytest.mark.parametrize(
    ("end", "reason", "said"),
    [
        (expire, "expired", "has expired"),
        (spend_elsewhere, "reused", "already used"),
        (sign_out_elsewhere, "revoked", "was revoked"),
        (refuse_otherwise, "other", "refuses this login for good"),
        (refuse_plainly, "other", "refuses this login for good"),
    ],
)
async def test_a_refusal_for_good_is_one_clear_401_until_the_file_changes(
    timed_start: Start,
    timed_sandbox: Sandbox,
    hand: ManualClock,
    *,
    end: End,
    reason: str,
    said: str,
) -> None:
    """The reason, the command that mends it, one call, one announcement; the file stays
    as it was, and a new login in it brings service back within 2 s.
    """
    daemon = await timed_start(clock=patient(hand))
    before = daemon.store.read_bytes()
    end(timed_sandbox, daemon)
    timed_sandbox.revoke_access_tokens()
    replies = await daemon.client.many(20)
    replies += [await daemon.client.send(path) for path in ("/v1/models", "/v1/x")]
    assert all(is_clear(reply, "login_required") for reply in replies)
    assert {said in reply.message for reply in replies} == {True}
    assert {"`bearerd login`" in reply.message for reply in replies} == {True}
    assert timed_sandbox.authority.calls == 1
    (needed,) = daemon.announced(LoginNeeded)
    assert (needed.code, needed.reason) == ("login_required", reason)
    status, text = await daemon.admin("/readyz")
    (missing,) = json.loads(text)["missing"]
    assert (status, missing["remedy"]) == (503, replies[0].message)
    assert daemon.store.read_bytes() == before

    timed_sandbox.authority.clear_faults()
    write_login(daemon.store, timed_sandbox.auth_document())
    await two_seconds(hand)
    assert len(daemon.announced(LoginRestored)) == 1
    assert (await daemon.client.send()).status == 200
    assert (await daemon.admin("/readyz"))[0] == 200
    assert timed_sandbox.authority.calls == 1
    assert len(daemon.announced(LoginNeeded)) == 1


async def test_a_dead_login_is_remembered_by_the_next_process(
    start: Start, sandbox: Sandbox
) -> None:
    """The refusal stands beside the file: a restart spends no dead token again."""
    daemon = await start()
    sandbox.tokens.revoke_refresh_tokens()
    sandbox.revoke_access_tokens()
    assert is_clear(await daemon.client.send(), "login_required")
    await daemon.stop()
    again = await start(login=read_login(daemon.store))
    assert is_clear(await again.client.send(), "login_required")
    assert sandbox.authority.calls == 1


async def test_another_account_in_the_file_is_one_clear_401_until_it_is_meant(
    timed_start: Start, timed_sandbox: Sandbox, hand: ManualClock
) -> None:
    """Nothing goes out in another name; the old account's return restores service."""
    daemon = await timed_start()
    mine = read_login(daemon.store)
    other = timed_sandbox.auth_document("acct-somebody-else")
    write_login(daemon.store, other)
    await two_seconds(hand)
    (needed,) = daemon.announced(LoginNeeded)
    assert (needed.code, needed.profile) == ("account_changed", "default")
    replies = await daemon.client.many(20)
    assert all(is_clear(reply, "account_changed") for reply in replies)
    for named in ("acct-somebody-else", "acct-sandbox-1", "bearerd adopt"):
        assert named in replies[0].message
    assert (timed_sandbox.upstream.requests, timed_sandbox.authority.calls) == (0, 0)
    assert read_login(daemon.store) == other
    assert len(daemon.announced(LoginNeeded)) == 1

    write_login(daemon.store, mine)
    await two_seconds(hand)
    assert len(daemon.announced(LoginRestored)) == 1
    assert (await daemon.client.send()).status == 200


async def test_another_account_is_taken_up_once_it_is_adopted(
    timed_start: Start, timed_sandbox: Sandbox, hand: ManualClock
) -> None:
    """`bearerd adopt` says that the change is meant; a daemon that runs goes on with it."""
    daemon = await timed_start()
    write_login(daemon.store, timed_sandbox.auth_document("acct-somebody-else"))
    await two_seconds(hand)
    settings = {"store": daemon.store, "issuer_url": timed_sandbox.issuer_url}
    home = daemon.store.with_name("home")
    adopted = await run_command(home, "adopt", settings=settings)
    assert (adopted.code, adopted.stderr) == (0, "")
    assert "acct-somebody-else" in adopted.stdout
    await two_seconds(hand)
    assert len(daemon.announced(LoginRestored)) == 1
    assert (await daemon.client.send()).status == 200
    (record,) = timed_sandbox.upstream.records
    assert record.header(b"chatgpt-account-id") == [b"acct-somebody-else"]
    assert timed_sandbox.authority.calls == 0


async def test_no_file_is_one_clear_401_until_there_is_one(
    timed_start: Start, timed_sandbox: Sandbox, hand: ManualClock
) -> None:
    """The daemon runs and says what is missing; nothing is asked of anybody."""
    daemon = await timed_start(login=None)
    replies = await daemon.client.many(20)
    assert all(is_clear(reply, "login_required") for reply in replies)
    assert f"{daemon.store}: there is no credential file" in replies[0].message
    assert "`bearerd login`" in replies[0].message
    status, text = await daemon.admin("/readyz")
    (missing,) = json.loads(text)["missing"]
    assert (status, missing["reason"]) == (503, "missing")
    assert missing["store"] == str(daemon.store)
    assert (timed_sandbox.upstream.requests, timed_sandbox.authority.calls) == (0, 0)
    (needed,) = daemon.announced(LoginNeeded)
    assert needed.reason == "missing"

    write_login(daemon.store, timed_sandbox.auth_document())
    await two_seconds(hand)
    assert len(daemon.announced(LoginRestored)) == 1
    assert (await daemon.client.send()).status == 200


async def test_a_sign_out_is_noticed_and_not_undone(
    timed_start: Start, timed_sandbox: Sandbox, hand: ManualClock
) -> None:
    """Whoever removes the file has signed out: no token of it is used any more."""
    daemon = await timed_start(clock=patient(hand))
    assert (await daemon.client.send()).status == 200
    daemon.store.unlink()
    await two_seconds(hand)  # gone for one look may be a writer at work
    (needed,) = daemon.announced(LoginNeeded)
    assert needed.reason == "missing"
    assert is_clear(await daemon.client.send(), "login_required")
    assert not daemon.store.exists()
    assert (timed_sandbox.upstream.requests, timed_sandbox.authority.calls) == (1, 0)


async def test_a_sign_out_during_the_refresh_is_not_undone(
    start: Start, sandbox: Sandbox
) -> None:
    """The late response finds no file, and makes none."""
    daemon = await start()
    sandbox.revoke_access_tokens()
    sandbox.authority.hold.close()
    async with daemon.client.asking() as response:
        await sandbox.authority.wait_for_waiting(1)
        daemon.store.unlink()
        sandbox.authority.hold.open()
        assert is_clear(await response, "login_required")
    assert not daemon.store.exists()
    assert sandbox.authority.calls == 1


@pytest.mark.parametrize("content", [b"", b'{"tokens": {"acc', b"[]", b"\xff\xfe"])
async def test_a_broken_file_is_one_clear_401_until_it_is_whole(
    start: Start, sandbox: Sandbox, tmp_path: Path, content: bytes
) -> None:
    """At the start there is nothing to go on with; what is wrong is said, not quoted."""
    store = tmp_path / "auth.json"
    store.write_bytes(content)
    daemon = await start(login=None)
    reply = await daemon.client.send()
    assert is_clear(reply, "login_required")
    assert reply.message.startswith(f"{store}: it ")
    (needed,) = daemon.announced(LoginNeeded)
    assert needed.reason == "unreadable"
    assert store.read_bytes() == content
    write_login(store, sandbox.auth_document())
    assert (await daemon.client.send()).status == 200
    assert sandbox.authority.calls == 0


async def test_a_file_broken_meanwhile_costs_nothing(
    start: Start, sandbox: Sandbox
) -> None:
    """What is held goes on, for a foreign writer may be at work; his login is taken."""
    daemon = await start()
    daemon.store.write_text('{"tokens": {"acc')
    replies = await daemon.client.many(5)
    assert {reply.status for reply in replies} == {200}
    write_login(daemon.store, sandbox.auth_document())
    sandbox.revoke_access_tokens()
    assert (await daemon.client.send()).status == 200
    assert daemon.announced(LoginNeeded) == []
    assert (sandbox.authority.refreshes, sandbox.authority.reused) == (1, 0)
