"""A login that has ended: one clear 401, one call, and service again once the file
changes.

The path is that of a 401, with an authority, or a store, whose failure is final.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bearerd.events import LoginNeeded, LoginRestored
from bearerd.sandbox import (
    CODEX_CLIENT_ID,
    AuthorityFault,
    ClientRejection,
    Sandbox,
)
from tests.support import (
    Daemon,
    ManualClock,
    Reply,
    Start,
    read_login,
    run_in_process,
    tokens_of,
    write_login,
)

End = Callable[[Sandbox, Daemon], None]


def expire(sandbox: Sandbox, _: Daemon) -> None:
    """Let the refresh token become too old."""
    sandbox.tokens.expire_refresh_tokens()


def spend_elsewhere(sandbox: Sandbox, daemon: Daemon) -> None:
    """Have another program with a copy of the login refresh it, and keep the response."""
    sandbox.tokens.rotate(tokens_of(read_login(daemon.store))["refresh_token"])


def sign_out_elsewhere(sandbox: Sandbox, _: Daemon) -> None:
    """End the login at the authority."""
    sandbox.tokens.revoke_refresh_tokens()


def reject_with_invalid_grant(sandbox: Sandbox, _: Daemon) -> None:
    """Let the authority reject it with OAuth's own error code."""
    sandbox.authority.fault(AuthorityFault("refuse", code="invalid_grant"))


async def two_seconds(clock: ManualClock) -> None:
    """Let two seconds pass, with as many reads of the file as the background loop does
    then.
    """
    for _ in range(2):
        await clock.wait_for_sleepers(2)
        clock.advance(1)
    await clock.wait_for_sleepers(2)


def is_clear(reply: Reply, code: str) -> bool:
    """Return True if a response is a 401 of bearerd that an agent does not retry."""
    error = json.loads(reply.body)["error"]
    return (
        (reply.status, reply.code, error["code"]) == (401, code, code)
        and error["type"] == "bearerd_error"
        and "Retry-After" not in reply.headers
        and reply.headers["WWW-Authenticate"] == 'Bearer realm="bearerd"'
    )


@pytest.mark.parametrize(
    ("end", "reason", "message_part"),
    [
        (expire, "expired", "has expired"),
        (spend_elsewhere, "reused", "already used"),
        (sign_out_elsewhere, "revoked", "was revoked"),
        (reject_with_invalid_grant, "other", "refuses this login permanently"),
    ],
)
async def test_a_terminal_failure_is_one_clear_401_until_the_file_changes(
    timed_start: Start,
    timed_sandbox: Sandbox,
    clock: ManualClock,
    *,
    end: End,
    reason: str,
    message_part: str,
) -> None:
    """The reason, the remedy, one call, one event; the file is not changed, and a new
    login in it restores service within 2 s.
    """
    daemon = await timed_start(clock=clock.ticking)
    before = daemon.store.read_bytes()
    end(timed_sandbox, daemon)
    timed_sandbox.revoke_access_tokens()
    replies = await daemon.client.many(20)
    replies += [await daemon.client.send(path) for path in ("/v1/models", "/v1/x")]
    assert all(is_clear(reply, "login_required") for reply in replies)
    assert {message_part in reply.message for reply in replies} == {True}
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
    await two_seconds(clock)
    assert len(daemon.announced(LoginRestored)) == 1
    assert (await daemon.client.send()).status == 200
    assert (await daemon.admin("/readyz"))[0] == 200
    assert timed_sandbox.authority.calls == 1
    assert len(daemon.announced(LoginNeeded)) == 1


PASSING = {
    "a plain 401": (AuthorityFault("unauthorized", before_spending=True), 401),
    "an empty 401": (AuthorityFault("unauthorized_empty", before_spending=True), 401),
    "a page": (AuthorityFault("unauthorized_page", before_spending=True), 401),
    "an unknown code": (
        AuthorityFault("refuse", code="account_under_review", before_spending=True),
        401,
    ),
    "a challenge": (AuthorityFault("challenge"), 403),
    "a proxy": (AuthorityFault("proxy_authentication"), 407),
}


@pytest.mark.parametrize(("fault", "status"), PASSING.values(), ids=PASSING)
async def test_a_rejection_that_is_not_about_the_token_ends_no_login(
    timed_start: Start,
    timed_sandbox: Sandbox,
    clock: ManualClock,
    fault: AuthorityFault,
    status: int,
) -> None:
    """The access token is dead, and the authority does not say that the login is. So
    clients get a 503 for now; a minute later it is asked again, and the login goes on.
    The pause is recorded beside the file: a restart calls no earlier.
    """
    daemon = await timed_start()
    login = read_login(daemon.store)
    timed_sandbox.authority.fault(fault)
    timed_sandbox.revoke_access_tokens()
    for reply in await daemon.client.many(20):
        assert (reply.status, reply.code) == (503, "authority_unavailable")
        assert reply.headers["Retry-After"] == "5"
        assert f"answered {status}; the login is kept" in reply.message
    (profile,) = json.loads((await daemon.admin("/api/status"))[1])["profiles"]
    assert (profile["state"], profile["code"]) == ("blocked", "authority_unavailable")
    assert not profile["needs_person"]
    assert daemon.announced(LoginNeeded) == []
    assert timed_sandbox.authority.calls == 1
    assert read_login(daemon.store) == login
    await daemon.stop()

    again = await timed_start(login=login)
    timed_sandbox.authority.clear_faults()
    clock.seconds += 44  # a minute, less at most a quarter
    assert (await again.client.send()).code == "authority_unavailable"
    assert timed_sandbox.authority.calls == 1
    clock.seconds += 16
    assert (await again.client.send()).status == 200
    assert (timed_sandbox.authority.calls, timed_sandbox.authority.reused) == (2, 0)
    assert again.announced(LoginNeeded) == []


@pytest.mark.parametrize(
    "rejection",
    [
        ClientRejection("invalid_client", status=401),
        ClientRejection("unauthorized_client", status=400),
        ClientRejection("invalid_client", status=400, form="object"),
    ],
    ids=lambda rejection: f"{rejection.code}-{rejection.form}",
)
async def test_a_rejected_client_is_a_fault_of_the_settings_and_never_on_disk(
    timed_start: Start, timed_sandbox: Sandbox, rejection: ClientRejection
) -> None:
    """A person has to correct the settings and not to sign in; the message names them.
    After the restart the authority is asked at once.
    """
    daemon = await timed_start()
    login = read_login(daemon.store)
    clients = timed_sandbox.authority.clients
    clients.unregister(CODEX_CLIENT_ID)
    clients.reject_with(rejection)
    timed_sandbox.revoke_access_tokens()
    for reply in await daemon.client.many(20):
        assert (reply.status, reply.code) == (503, "authority_unavailable")
        assert f"rejects this client ({rejection.code})" in reply.message
        assert "correct `client_id` or `token_url`, and restart" in reply.message
    (profile,) = json.loads((await daemon.admin("/api/status"))[1])["profiles"]
    assert (profile["needs_person"], profile["needs_sign_in"]) == (True, False)
    assert daemon.announced(LoginNeeded) == []
    assert timed_sandbox.authority.calls == 1
    assert read_login(daemon.store) == login
    await daemon.stop()

    clients.register(CODEX_CLIENT_ID)
    again = await timed_start(login=login)
    assert (await again.client.send()).status == 200
    assert (timed_sandbox.authority.calls, timed_sandbox.authority.reused) == (2, 0)


async def test_a_dead_login_is_remembered_by_the_next_process(
    start: Start, sandbox: Sandbox
) -> None:
    """The failure is recorded beside the file: after a restart the dead token is not
    spent again.
    """
    daemon = await start()
    sandbox.tokens.revoke_refresh_tokens()
    sandbox.revoke_access_tokens()
    assert is_clear(await daemon.client.send(), "login_required")
    await daemon.stop()
    again = await start(login=read_login(daemon.store))
    assert is_clear(await again.client.send(), "login_required")
    assert sandbox.authority.calls == 1


async def test_another_account_in_the_file_is_one_clear_401_until_it_is_adopted(
    timed_start: Start, timed_sandbox: Sandbox, clock: ManualClock
) -> None:
    """Nothing is sent for the other account; the return of the old account restores
    service.
    """
    daemon = await timed_start()
    mine = read_login(daemon.store)
    other = timed_sandbox.auth_document("acct-somebody-else")
    write_login(daemon.store, other)
    await two_seconds(clock)
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
    await two_seconds(clock)
    assert len(daemon.announced(LoginRestored)) == 1
    assert (await daemon.client.send()).status == 200


async def test_an_adopted_account_is_served(
    timed_start: Start, timed_sandbox: Sandbox, clock: ManualClock
) -> None:
    """`bearerd adopt` confirms the change; a running daemon then uses the account."""
    daemon = await timed_start()
    write_login(daemon.store, timed_sandbox.auth_document("acct-somebody-else"))
    await two_seconds(clock)
    settings = {"store": daemon.store, "issuer_url": timed_sandbox.issuer_url}
    home = daemon.store.with_name("home")
    adopted = await run_in_process(home, "adopt", settings=settings)
    assert (adopted.code, adopted.stderr) == (0, "")
    assert "acct-somebody-else" in adopted.stdout
    await two_seconds(clock)
    assert len(daemon.announced(LoginRestored)) == 1
    assert (await daemon.client.send()).status == 200
    (record,) = timed_sandbox.upstream.records
    assert record.header(b"chatgpt-account-id") == [b"acct-somebody-else"]
    assert timed_sandbox.authority.calls == 0


async def test_no_file_is_one_clear_401_until_there_is_one(
    timed_start: Start, timed_sandbox: Sandbox, clock: ManualClock
) -> None:
    """The daemon runs and reports what is missing; neither server is called."""
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
    await two_seconds(clock)
    assert len(daemon.announced(LoginRestored)) == 1
    assert (await daemon.client.send()).status == 200


async def test_a_sign_out_is_noticed_and_not_undone(
    timed_start: Start, timed_sandbox: Sandbox, clock: ManualClock
) -> None:
    """A removed file is a sign-out: none of its tokens is used any more."""
    daemon = await timed_start(clock=clock.ticking)
    assert (await daemon.client.send()).status == 200
    daemon.store.unlink()
    await two_seconds(
        clock
    )  # a file missing at one read may be in the middle of a write
    (needed,) = daemon.announced(LoginNeeded)
    assert needed.reason == "missing"
    assert is_clear(await daemon.client.send(), "login_required")
    assert not daemon.store.exists()
    assert (timed_sandbox.upstream.requests, timed_sandbox.authority.calls) == (1, 0)


async def test_a_sign_out_during_the_refresh_is_not_undone(
    start: Start, sandbox: Sandbox
) -> None:
    """The late response finds no file, and creates none."""
    daemon = await start()
    sandbox.revoke_access_tokens()
    sandbox.authority.gate.close()
    async with daemon.client.asking() as response:
        await sandbox.authority.wait_for_waiting(1)
        daemon.store.unlink()
        sandbox.authority.gate.open()
        assert is_clear(await response, "login_required")
    assert not daemon.store.exists()
    assert sandbox.authority.calls == 1


@pytest.mark.parametrize("content", [b"", b'{"tokens": {"acc', b"[]", b"\xff\xfe"])
async def test_an_invalid_file_is_one_clear_401_until_it_is_valid(
    start: Start, sandbox: Sandbox, tmp_path: Path, content: bytes
) -> None:
    """At start there is no other login; the message names the fault and quotes nothing."""
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


async def test_a_file_that_becomes_invalid_changes_nothing(
    start: Start, sandbox: Sandbox
) -> None:
    """The current login is kept, because another program may be writing; its new login
    is used.
    """
    daemon = await start()
    daemon.store.write_text('{"tokens": {"acc')
    replies = await daemon.client.many(5)
    assert {reply.status for reply in replies} == {200}
    write_login(daemon.store, sandbox.auth_document())
    sandbox.revoke_access_tokens()
    assert (await daemon.client.send()).status == 200
    assert daemon.announced(LoginNeeded) == []
    assert (sandbox.authority.refreshes, sandbox.authority.reused) == (1, 0)
