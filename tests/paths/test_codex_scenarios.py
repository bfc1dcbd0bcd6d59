"""Codex's own tests of the refresh, applied to bearerd by requests.

The order is that of Codex's suite (codex-rs, login tests/suite/auth_refresh.rs):
refresh, near expiry, changed file, other account, final failures, recovery. A test
names what bearerd does better on purpose.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from bearerd.credential.token import AUTH_CLAIM
from bearerd.events import CredentialLoaded, CredentialRefreshed, RefreshFailed
from bearerd.sandbox import Account, AuthorityFault, Sandbox
from tests.support import (
    Daemon,
    ManualClock,
    Start,
    opaque_login,
    read_login,
    tokens_of,
    write_login,
)
from tests.support.login import bare_jwt

NINE_DAYS = 9 * 24 * 3600.0


def bearers(sandbox: Sandbox) -> list[str | None]:
    """Return the fingerprint of the access token of each request."""
    return [record.access_fingerprint for record in sandbox.upstream.records]


async def near_expiry(
    start: Start, sandbox: Sandbox, clock: ManualClock, seconds: float
) -> Daemon:
    """Start a daemon whose token expires in *seconds*; no refresh was considered yet."""
    sandbox.tokens.access_lifetime_seconds = 3600
    login = sandbox.auth_document()
    clock.seconds += 3600 - seconds
    return await start(login=login)


async def test_the_refresh_has_the_configured_client_id(
    start: Start, sandbox: Sandbox
) -> None:
    """Scenario 1, with its three fields. The system's proxy is not used;
    `test_authority_proxy.py` has the route through `upstream_proxy`.
    """
    asked: list[dict[str, Any]] = []
    grant = tokens_of(sandbox.auth_document())

    async def response(request: web.BaseRequest) -> web.Response:
        asked.append(json.loads(await request.read()))
        return web.json_response(grant)

    runner = web.ServerRunner(web.Server(response))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    login = sandbox.auth_document()
    daemon = await start(
        login=login,
        client_id="staging-client",
        token_url=f"http://127.0.0.1:{runner.addresses[0][1]}/oauth/token",
    )
    sandbox.tokens.revoke(tokens_of(login)["refresh_token"])
    assert (await daemon.client.send()).status == 200
    await runner.cleanup()
    assert asked == [
        {
            "client_id": "staging-client",
            "grant_type": "refresh_token",
            "refresh_token": tokens_of(login)["refresh_token"],
        }
    ]
    assert tokens_of(read_login(daemon.store))["access_token"] == grant["access_token"]


async def test_a_refresh_changes_the_tokens_in_the_file_only(
    start: Start, sandbox: Sandbox
) -> None:
    """Scenario 2. The response holds no id token, so the old one stays. Better than
    Codex: unknown fields are kept.
    """
    before = {
        **sandbox.auth_document(),
        "last_refresh": "2026-02-01T12:34:56.789012345Z",
        "a_later_field": {"kept": True},
    }
    daemon = await start(login=before)
    sandbox.authority.fault(AuthorityFault("omit_id_token"))
    sandbox.revoke_access_tokens()
    assert (await daemon.client.send()).status == 200
    after = read_login(daemon.store)
    old, new = tokens_of(before), tokens_of(after)
    assert new["access_token"] != old["access_token"]
    assert new["refresh_token"] != old["refresh_token"]
    assert (new["id_token"], new["account_id"]) == (old["id_token"], old["account_id"])
    assert str(after["last_refresh"]) > str(before["last_refresh"])
    assert after["a_later_field"] == {"kept": True}
    (call,) = sandbox.authority.records
    assert call.body_keys == ("client_id", "grant_type", "refresh_token")
    assert call.content_type == "application/json"


async def test_an_unchanged_file_is_followed_by_a_refresh(
    start: Start, sandbox: Sandbox
) -> None:
    """Scenario 3. Better than Codex: the rejected token is not sent again after a
    reload that found nothing new, so two sends are enough.
    """
    daemon = await start()
    sandbox.revoke_access_tokens()
    reply = await daemon.client.send()
    assert (reply.status, reply.recovery) == (200, "refresh")
    assert sandbox.authority.refreshes == 1
    old, new = bearers(sandbox)
    assert old != new


async def test_a_token_near_expiry_is_refreshed_in_the_background(
    timed_start: Start, timed_sandbox: Sandbox, clock: ManualClock
) -> None:
    """Scenario 4: four minutes are inside the window. Better than Codex: no request
    waits for it, because the old token is still valid.
    """
    timed_sandbox.authority.gate.close()
    daemon = await near_expiry(timed_start, timed_sandbox, clock, 240)
    reply = await daemon.client.send()
    assert (reply.status, reply.recovery) == (200, None)
    await timed_sandbox.authority.wait_for_waiting(1)
    timed_sandbox.authority.gate.open()
    (refreshed,) = await daemon.wait_for(CredentialRefreshed)
    assert refreshed.trigger == "expiring"
    assert (await daemon.client.send()).status == 200
    old, new = bearers(timed_sandbox)
    assert old != new
    assert timed_sandbox.authority.calls == 1


async def test_a_token_outside_the_window_is_not_refreshed(
    timed_start: Start, timed_sandbox: Sandbox, clock: ManualClock
) -> None:
    """Scenario 5: six minutes are outside."""
    daemon = await near_expiry(timed_start, timed_sandbox, clock, 360)
    before = daemon.store.read_bytes()
    assert (await daemon.client.send()).status == 200
    await clock.wait_for_sleepers(2)
    assert timed_sandbox.authority.calls == 0
    assert daemon.store.read_bytes() == before


async def test_a_login_written_by_another_program_replaces_a_refresh(
    timed_start: Start, timed_sandbox: Sandbox
) -> None:
    """Scenario 6: the file has newer tokens of the same account."""
    daemon = await timed_start()
    timed_sandbox.revoke_access_tokens()
    newer = timed_sandbox.auth_document()
    write_login(daemon.store, newer)
    reply = await daemon.client.send()
    assert (reply.status, reply.recovery) == (200, "reload")
    assert timed_sandbox.authority.calls == 0
    assert read_login(daemon.store) == newer


async def test_a_refresh_never_uses_another_account(
    timed_start: Start, timed_sandbox: Sandbox, clock: ManualClock
) -> None:
    """Scenario 7: the token has expired, and the file now has another account."""
    daemon = await near_expiry(timed_start, timed_sandbox, clock, 3000)
    clock.seconds += 3001
    other = timed_sandbox.auth_document("other-account")
    write_login(daemon.store, other)
    reply = await daemon.client.send()
    assert (reply.status, reply.code) == (401, "account_changed")
    assert timed_sandbox.authority.calls == 0
    assert timed_sandbox.upstream.requests == 0
    assert read_login(daemon.store) == other


async def test_the_expiry_of_the_token_counts_and_not_the_age_of_the_file(
    start: Start, sandbox: Sandbox
) -> None:
    """Scenario 8: an hour is left, though the last refresh was nine days ago."""
    login = {**sandbox.auth_document(), "last_refresh": "2026-01-01T00:00:00Z"}
    daemon = await start(login=login)
    assert (await daemon.client.send()).status == 200
    assert sandbox.authority.calls == 0
    assert read_login(daemon.store) == login


async def test_an_expired_token_is_refreshed_before_anything_is_sent(
    timed_start: Start, timed_sandbox: Sandbox, clock: ManualClock
) -> None:
    """Scenario 9: it expired an hour ago."""
    daemon = await near_expiry(timed_start, timed_sandbox, clock, -3600)
    reply = await daemon.client.send()
    assert (reply.status, reply.recovery) == (200, None)
    assert timed_sandbox.authority.calls == 1
    assert timed_sandbox.upstream.statuses == {200: 1}
    stored = tokens_of(read_login(daemon.store))
    assert timed_sandbox.tokens.introspect(stored["access_token"]).state == "live"


@pytest.mark.parametrize("endpoint", ["well", "refusing"])
async def test_a_stale_login_is_replaced_by_the_file(
    timed_start: Start, timed_sandbox: Sandbox, clock: ManualClock, endpoint: str
) -> None:
    """Scenarios 10 and 11: an opaque token counts for eight days; the file has a newer
    one, so the old refresh token is not spent, whatever the authority would respond.
    """
    if endpoint == "refusing":
        fault = AuthorityFault("refuse", code="refresh_token_expired")
        timed_sandbox.authority.fault(fault)
    account = Account("acct-sandbox-1")
    grant = timed_sandbox.tokens.sign_in(account)
    old = opaque_login(
        grant.refresh_token,
        signed_in_at=clock.now(),
        account_id=account.account_id,
    )
    daemon = await timed_start(login=old)
    clock.seconds += NINE_DAYS
    newer = timed_sandbox.auth_document()
    write_login(daemon.store, newer)
    assert (await daemon.client.send()).status == 200
    assert timed_sandbox.authority.calls == 0
    assert timed_sandbox.upstream.statuses == {200: 1}
    assert read_login(daemon.store) == newer


async def test_a_rejected_login_serves_until_its_token_expires(
    timed_start: Start, timed_sandbox: Sandbox, clock: ManualClock
) -> None:
    """Scenario 12: rejected for good, inside the window. The old token is used until it
    expires; then, better than Codex, no expired token is sent, and the 401 names the
    remedy. The upstream accepted the login after the refusal, which may have been part of
    an incident, so the authority is asked once more before that.
    """
    timed_sandbox.tokens.access_lifetime_seconds = 3600
    login = timed_sandbox.auth_document()
    timed_sandbox.tokens.expire_refresh_tokens()
    clock.seconds += 3600 - 240
    daemon = await timed_start(login=login)
    assert (await daemon.client.send()).status == 200
    (failed,) = await daemon.wait_for(RefreshFailed)
    assert (failed.outcome, failed.reason) == ("refused", "expired")
    assert (await daemon.client.send()).status == 200
    assert timed_sandbox.authority.calls == 1
    clock.seconds += 241
    for _ in range(3):
        reply = await daemon.client.send()
        assert (reply.status, reply.code) == (401, "login_required")
        assert "has expired" in reply.message
        clock.seconds += 3600
    assert timed_sandbox.upstream.requests == 2
    assert timed_sandbox.authority.calls == 2
    assert read_login(daemon.store) == login


@pytest.mark.parametrize("status", [401, 400])
async def test_a_terminal_failure_is_remembered_until_the_file_changes(
    timed_start: Start, timed_sandbox: Sandbox, clock: ManualClock, status: int
) -> None:
    """Scenarios 13 to 15: every request gets the same failure, from one call; a new
    login in the file then needs none.
    """
    daemon = await timed_start(clock=clock.ticking)
    fault = AuthorityFault("refuse", code="refresh_token_reused", status=status)
    timed_sandbox.authority.fault(fault)
    timed_sandbox.revoke_access_tokens()
    for _ in range(2):
        reply = await daemon.client.send()
        assert (reply.status, reply.code) == (401, "login_required")
        assert "already used" in reply.message
    assert timed_sandbox.authority.calls == 1
    newer = timed_sandbox.auth_document()
    write_login(daemon.store, newer)
    assert (await daemon.client.send()).status == 200
    assert timed_sandbox.authority.calls == 1
    assert read_login(daemon.store) == newer


async def test_a_failing_authority_does_not_end_the_login(
    timed_start: Start, timed_sandbox: Sandbox, clock: ManualClock
) -> None:
    """Scenario 16: a 500 is transient. Better than Codex: the response has a Retry-
    After, and the authority is not called before that.
    """
    daemon = await timed_start()
    login = read_login(daemon.store)
    body = json.dumps({"error": "temporary-failure"})
    fault = AuthorityFault("answer", status=500, body=body, before_spending=True)
    timed_sandbox.authority.fault(fault, times=1)
    timed_sandbox.revoke_access_tokens()
    reply = await daemon.client.send()
    assert (reply.status, reply.code) == (503, "authority_unavailable")
    reply = await daemon.client.send()
    assert (reply.status, reply.code) == (503, "authority_unavailable")
    assert timed_sandbox.authority.calls == 1
    assert read_login(daemon.store) == login
    clock.seconds += int(reply.headers["Retry-After"])
    assert (await daemon.client.send()).status == 200
    assert timed_sandbox.authority.refreshes == 1


async def test_a_recovery_reloads_and_then_refreshes(
    timed_start: Start, timed_sandbox: Sandbox
) -> None:
    """Scenario 17: the newer login in the file is tried first; it is rejected too, so
    it is the one that is refreshed. Three sends with three different tokens.
    """
    daemon = await timed_start()
    newer = timed_sandbox.auth_document()
    write_login(daemon.store, newer)
    timed_sandbox.revoke_access_tokens()
    reply = await daemon.client.send()
    assert (reply.status, reply.recovery) == (200, "reload, refresh")
    assert len(set(bearers(timed_sandbox))) == 3
    assert (timed_sandbox.authority.calls, timed_sandbox.authority.reused) == (1, 0)
    family = tokens_of(newer)["refresh_token"].split("-")[2]
    stored = tokens_of(read_login(daemon.store))["refresh_token"]
    assert stored.split("-")[2] == family


async def test_a_recovery_stops_at_another_account(
    timed_start: Start, timed_sandbox: Sandbox
) -> None:
    """Scenario 18: a 401, and the file has another account."""
    daemon = await timed_start()
    timed_sandbox.revoke_access_tokens()
    other = timed_sandbox.auth_document("other-account")
    write_login(daemon.store, other)
    reply = await daemon.client.send()
    assert (reply.status, reply.code) == (401, "account_changed")
    assert "bearerd adopt" in reply.message
    assert timed_sandbox.upstream.requests == 1
    assert timed_sandbox.authority.calls == 0
    assert read_login(daemon.store) == other


async def test_an_api_key_is_not_a_login(start: Start, sandbox: Sandbox) -> None:
    """Scenario 19: there is nothing to recover with, so nothing is sent. The message
    has the reason and not the key, and the file is not changed.
    """
    daemon = await start(login={"OPENAI_API_KEY": "sk-made-up-for-this-test-only"})
    before = daemon.store.read_bytes()
    reply = await daemon.client.send()
    assert (reply.status, reply.code) == (401, "login_required")
    assert "no ChatGPT tokens" in reply.message
    assert "sk-made-up" not in reply.message
    assert daemon.store.read_bytes() == before
    assert (sandbox.upstream.requests, sandbox.authority.calls) == (0, 0)


# Not in Codex's suite: requests of closed pull requests, and of forks.


async def test_a_due_refresh_reads_the_file_first(
    timed_start: Start, timed_sandbox: Sandbox, clock: ManualClock
) -> None:
    """Newer tokens in the file are used before the current ones are spent."""
    daemon = await near_expiry(timed_start, timed_sandbox, clock, 1000)
    clock.seconds += 900
    newer = timed_sandbox.auth_document()
    write_login(daemon.store, newer)
    assert (await daemon.client.send()).status == 200
    await daemon.wait_for(CredentialLoaded, 2)
    assert timed_sandbox.authority.calls == 0
    assert read_login(daemon.store) == newer


async def test_a_late_response_does_not_overwrite_another_account(
    start: Start, sandbox: Sandbox
) -> None:
    """Another account signed in during the refresh: the file keeps it."""
    daemon = await start()
    sandbox.revoke_access_tokens()
    sandbox.authority.gate.close()
    async with daemon.client.asking() as response:
        await sandbox.authority.wait_for_waiting(1)
        other = sandbox.auth_document("other-account")
        write_login(daemon.store, other)
        sandbox.authority.gate.open()
        reply = await response
    assert (reply.status, reply.code) == (401, "account_changed")
    assert read_login(daemon.store) == other
    assert sandbox.upstream.requests == 1


async def test_another_member_of_the_workspace_is_another_account(
    timed_start: Start, timed_sandbox: Sandbox
) -> None:
    """A workspace has many members; no request is sent as another member."""
    daemon = await timed_start()
    timed_sandbox.revoke_access_tokens()
    other = timed_sandbox.auth_document()
    claims = {
        AUTH_CLAIM: {
            "chatgpt_account_id": "acct-sandbox-1",
            "chatgpt_user_id": "user-somebody-else",
        }
    }
    tokens_of(other)["id_token"] = bare_jwt(claims)
    write_login(daemon.store, other)
    reply = await daemon.client.send()
    assert (reply.status, reply.code) == (401, "account_changed")
    assert timed_sandbox.authority.calls == 0
    assert timed_sandbox.upstream.requests == 1


async def test_a_login_without_an_account_accepts_one_with_it(
    timed_start: Start, timed_sandbox: Sandbox, clock: ManualClock
) -> None:
    """An older file has no account; the same login, written anew, has one."""
    old = opaque_login("made-up-refresh-1", signed_in_at=clock.now(), account_id=None)
    daemon = await timed_start(login=old)
    newer = timed_sandbox.auth_document()
    write_login(daemon.store, newer)
    reply = await daemon.client.send()  # the upstream does not know the opaque token
    assert (reply.status, reply.recovery) == (200, "reload")
    assert timed_sandbox.authority.calls == 0


async def test_a_login_without_identity_claims_is_refreshed(
    timed_start: Start, timed_sandbox: Sandbox, clock: ManualClock
) -> None:
    """Claims protect from another account's login; their absence proves nothing."""
    grant = timed_sandbox.tokens.sign_in(Account("acct-sandbox-1"))
    old = opaque_login(grant.refresh_token, signed_in_at=clock.now(), account_id=None)
    daemon = await timed_start(login=old)
    reply = await daemon.client.send()
    assert (reply.status, reply.recovery) == (200, "refresh")
    assert timed_sandbox.authority.refreshes == 1


@pytest.mark.parametrize("account_id", ["acct-sandbox-1", None])
async def test_a_reused_token_is_no_failure_if_the_file_has_its_successor(
    start: Start, sandbox: Sandbox, account_id: str | None
) -> None:
    """Another program spent the token: its login is in the file when the authority's
    error arrives. Better than Codex: it is found within the same request.
    """
    grant = sandbox.tokens.sign_in(Account("acct-sandbox-1"))
    login = opaque_login(
        grant.refresh_token, signed_in_at=1_800_000_000, account_id=account_id
    )
    daemon = await start(login=login)
    sandbox.authority.fault(AuthorityFault("refuse", code="refresh_token_reused"))
    sandbox.authority.gate.close()
    async with daemon.client.asking() as response:
        await sandbox.authority.wait_for_waiting(1)
        winner = sandbox.auth_document()
        write_login(daemon.store, winner)
        sandbox.authority.gate.open()
        reply = await response
    assert (reply.status, reply.recovery) == (200, "refresh")
    assert sandbox.authority.calls == 1
    assert read_login(daemon.store) == winner


async def test_a_reused_token_without_a_successor_needs_a_sign_in(
    timed_start: Start, timed_sandbox: Sandbox, clock: ManualClock
) -> None:
    """The file is unchanged after a second: a person has to sign in."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        if seconds < 1:  # the others are the background loops
            slept.append(seconds)
        await clock.sleep_whole_seconds(seconds)

    daemon = await timed_start(clock=clock.with_sleep(sleep))
    before = daemon.store.read_bytes()
    timed_sandbox.tokens.rotate(tokens_of(read_login(daemon.store))["refresh_token"])
    timed_sandbox.revoke_access_tokens()
    reply = await daemon.client.send()
    assert (reply.status, reply.code) == (401, "login_required")
    authority = timed_sandbox.authority
    assert (authority.calls, authority.reused) == (1, 1)
    assert sum(slept) == pytest.approx(0.9)  # ten looks
    assert daemon.store.read_bytes() == before


async def test_two_owners_of_one_file_refresh_once(
    start: Start, sandbox: Sandbox
) -> None:
    """Two daemons, one store, an authority that takes 100 ms: both end with the same
    login.
    """
    one = await start()
    two = await start(login=None, folder=one.store.parent / "two", store=one.store)
    sandbox.authority.fault(AuthorityFault("delay", delay_seconds=0.1))
    sandbox.revoke_access_tokens()
    async with one.client.asking() as first, two.client.asking() as second:
        assert ((await first).status, (await second).status) == (200, 200)
    assert (sandbox.authority.calls, sandbox.authority.refreshes) == (1, 1)
    outcomes = {
        refreshed.outcome
        for daemon in (one, two)
        for refreshed in daemon.announced(CredentialRefreshed)
    }
    assert outcomes <= {"renewed", "adopted"}
    assert len(set(bearers(sandbox))) == 2


async def test_two_owners_of_one_dead_login_call_the_authority_once(
    start: Start, sandbox: Sandbox
) -> None:
    """The failure is recorded beside the file, so the second daemon need not call."""
    one = await start()
    two = await start(login=None, folder=one.store.parent / "two", store=one.store)
    fault = AuthorityFault("refuse", code="refresh_token_invalidated", status=400)
    sandbox.authority.fault(fault)
    sandbox.revoke_access_tokens()
    async with one.client.asking() as first, two.client.asking() as second:
        codes = ((await first).code, (await second).code)
    assert codes == ("login_required", "login_required")
    assert sandbox.authority.calls == 1


async def test_a_dead_login_never_uses_the_login_of_another_profile(
    start: Start, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A fork of Codex falls back to any other account. Here each request uses its own
    account or fails.
    """
    work = tmp_path / "profiles" / "work" / "auth.json"
    write_login(work, sandbox.auth_document("acct-work"))
    daemon = await start(profiles="work")
    assert len(daemon.announced(CredentialLoaded)) == 2
    sandbox.tokens.revoke(tokens_of(read_login(daemon.store))["refresh_token"])
    reply = await daemon.client.send()
    assert (reply.status, reply.code) == (401, "login_required")
    accounts = {
        value
        for record in sandbox.upstream.records
        for value in record.header(b"chatgpt-account-id")
    }
    assert accounts == {b"acct-sandbox-1"}
    _, ready = await daemon.admin("/readyz")
    assert '"work"' not in ready
