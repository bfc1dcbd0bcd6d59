"""What an operator sees: metrics, status, log, and commands beside a running daemon.

All come from the same events, so the figures must agree with what clients got.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from bearerd.events import CredentialLoaded, RecoveryFinished
from bearerd.sandbox import AuthorityFault, Sandbox
from tests.support import (
    Canary,
    Client,
    Daemon,
    Launch,
    ManualClock,
    Start,
    read_login,
    run_in_process,
    tokens_of,
    write_login,
)

CONTRACT = {
    "bearerd_requests": {"client", "method", "status"},
    "bearerd_request_overhead_seconds": set(),
    "bearerd_streams_active": set(),
    "bearerd_recoveries": {"path", "outcome"},
    "bearerd_refreshes": {"profile", "trigger", "outcome"},
    "bearerd_refresh_waiters": set(),
    "bearerd_lock_wait_seconds": set(),
    "bearerd_credential_expires_at_seconds": {"profile"},
    "bearerd_login_required": {"profile"},
    "bearerd_profile_state": {"profile", "state"},
    "bearerd_profile_state_since_seconds": {"profile"},
    "bearerd_credential_unsaved": {"profile"},
    "bearerd_refused": {"code"},
    "bearerd_replay_abandoned": set(),
}
"""Family and labels; text adds `_total` to a counter."""

Samples = dict[str, dict[frozenset[tuple[str, str]], float]]


async def samples_of(daemon: Daemon) -> Samples:
    """Return all samples of /metrics: name, labels, value."""
    status, text = await daemon.admin("/metrics")
    assert status == 200
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = frozenset(sample.labels.items())
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


def labelled(**labels: str) -> frozenset[tuple[str, str]]:
    """Return labels in the form that `Samples` has."""
    return frozenset(labels.items())


async def status_of(daemon: Daemon) -> dict[str, Any]:
    """Return /api/status."""
    code, text = await daemon.admin("/api/status")
    assert code == 200
    document = json.loads(text)
    assert isinstance(document, dict)
    return document


async def test_the_metrics_show_a_recovery(start: Start, sandbox: Sandbox) -> None:
    """Every family of the contract, with its labels and the right counts."""
    daemon = await start()
    for _ in range(3):
        await daemon.client.get()
    sandbox.authority.gate.close()
    sandbox.revoke_access_tokens()
    pending = asyncio.create_task(daemon.client.many(4))
    await sandbox.authority.wait_for_waiting(1)
    async with asyncio.timeout(10):
        while (await samples_of(daemon))["bearerd_refresh_waiters"] != {labelled(): 4}:
            pass
    sandbox.authority.gate.open()
    assert {reply.status for reply in await pending} == {200}
    assert (await daemon.client.get("/nowhere")).status == 404
    await daemon.wait_for_finished(8)
    found = await samples_of(daemon)
    assert found["bearerd_requests_total"] == {
        labelled(client="agent", method="GET", status="200"): 3,
        labelled(client="agent", method="POST", status="200"): 4,
        labelled(client="agent", method="GET", status="404"): 1,
    }
    assert found["bearerd_recoveries_total"] == {
        labelled(path="refresh", outcome="recovered"): 4
    }
    assert found["bearerd_refreshes_total"] == {
        labelled(profile="default", trigger="refused", outcome="renewed"): 1
    }
    assert found["bearerd_refused_total"] == {labelled(code="not_found"): 1}
    assert found["bearerd_request_overhead_seconds_count"] == {labelled(): 7}
    assert found["bearerd_lock_wait_seconds_count"] == {labelled(): 1}
    assert found["bearerd_refresh_waiters"] == {labelled(): 0}
    assert found["bearerd_streams_active"] == {labelled(): 0}
    assert found["bearerd_login_required"] == {labelled(profile="default"): 0}
    (profile,) = (await status_of(daemon))["profiles"]
    assert found["bearerd_credential_expires_at_seconds"] == {
        labelled(profile="default"): profile["expires_at"]
    }


async def test_the_metrics_are_those_of_the_contract(
    start: Start, sandbox: Sandbox
) -> None:
    """The names of the contract and no others, with its labels."""
    daemon = await start()
    sandbox.revoke_access_tokens()
    await daemon.client.send()
    await daemon.client.get("/nowhere")
    _, text = await daemon.admin("/metrics")
    families = {
        family.name: set().union(*(sample.labels for sample in family.samples)) - {"le"}
        for family in text_string_to_metric_families(text)
    }
    assert families == CONTRACT


async def test_a_stream_is_counted_while_it_runs(
    start: Start, sandbox: Sandbox
) -> None:
    """In the metrics and in the status; when it is over it counts as a request."""
    daemon = await start()
    streams = sandbox.upstream.streams
    streams.gate.close()
    async with daemon.client.open() as response:
        assert (await samples_of(daemon))["bearerd_streams_active"] == {labelled(): 1}
        status = await status_of(daemon)
        assert (status["streams_active"], status["requests_in_flight"]) == (1, 1)
        assert "bearerd_requests_total" not in await samples_of(daemon)
        streams.gate.open()
        await response.read()
    await daemon.wait_for_finished(1)
    found = await samples_of(daemon)
    assert found["bearerd_streams_active"] == {labelled(): 0}
    assert sum(found["bearerd_requests_total"].values()) == 1


async def test_a_dead_login_is_shown(start: Start, sandbox: Sandbox) -> None:
    """In the metrics, in `/readyz`, and in the status with the message that clients
    get: all of them show the one state of the profile.
    """
    daemon = await start()
    usable_since = await state_since(daemon, "usable")
    sandbox.authority.fault(AuthorityFault("refuse"))
    sandbox.revoke_access_tokens()
    reply = await daemon.client.send()
    assert (reply.status, reply.code) == (401, "login_required")
    found = await samples_of(daemon)
    assert found["bearerd_login_required"] == {labelled(profile="default"): 1}
    assert found["bearerd_credential_unsaved"] == {labelled(profile="default"): 0}
    since = await state_since(daemon, "blocked")
    assert since > usable_since
    assert found["bearerd_refreshes_total"] == {
        labelled(profile="default", trigger="refused", outcome="refused"): 1
    }
    assert found["bearerd_refused_total"] == {labelled(code="login_required"): 1}
    (profile,) = (await status_of(daemon))["profiles"]
    assert (profile["state"], profile["code"]) == ("blocked", reply.code)
    assert (profile["reason"], profile["message"]) == ("revoked", reply.message)
    assert (profile["needs_person"], profile["needs_sign_in"]) == (True, True)
    assert (profile["since"], profile["retry_at"]) == (since, None)
    status, text = await daemon.admin("/readyz")
    assert (status, json.loads(text)["why"]) == (503, reply.code)


async def state_since(daemon: Daemon, expected: str) -> float:
    """Return since when the profile is in the *expected* state, by the metrics."""
    found = await samples_of(daemon)
    assert found["bearerd_profile_state"] == {
        labelled(profile="default", state=state): float(state == expected)
        for state in ("usable", "degraded", "blocked")
    }
    return found["bearerd_profile_state_since_seconds"][labelled(profile="default")]


async def test_the_status_shows_account_expiry_and_generation(
    start: Start, sandbox: Sandbox
) -> None:
    """Which account, until when, which generation, since when; and no token."""
    daemon = await start()
    before = await status_of(daemon)
    assert before["relay"] == [daemon.client.base_url.removeprefix("http://")]
    assert before["draining"] is False
    (profile,) = before["profiles"]
    assert (profile["profile"], profile["state"]) == ("default", "usable")
    assert (profile["code"], profile["message"]) == (None, None)
    assert before["started_at"] - 1 < profile["since"] < profile["refresh_at"]
    assert (profile["account_id"], profile["generation"]) == ("acct-sandbox-1", 1)
    assert profile["store"] == str(daemon.store)
    assert profile["last_refreshed_at"] is None
    assert before["started_at"] < profile["refresh_at"] < profile["expires_at"]
    sandbox.revoke_access_tokens()
    await daemon.client.send()
    (profile,) = (await status_of(daemon))["profiles"]
    assert profile["generation"] == 2
    assert profile["last_refreshed_at"] >= before["started_at"]


async def test_the_log_has_a_line_for_each_refresh_and_recovery(
    launch: Launch, sandbox: Sandbox, tmp_path: Path
) -> None:
    """JSON on stderr, at the default level, with every field of the contract."""
    write_login(tmp_path / "auth.json", sandbox.auth_document())
    daemon = await launch(log_level="info")
    sandbox.revoke_access_tokens()
    assert (await daemon.client.send()).recovery == "refresh"
    sandbox.authority.fault(AuthorityFault("refuse"))
    sandbox.revoke_access_tokens()
    assert (await daemon.client.send()).status == 401
    refreshed = await daemon.wait_for("credential.refreshed")
    assert without_times(refreshed) == {
        "level": "info",
        "profile": "default",
        "trigger": "refused",
        "outcome": "renewed",
        "generation": 2,
    }
    failed = await daemon.wait_for("refresh.failed")
    assert without_times(failed) == {
        "level": "warning",
        "profile": "default",
        "trigger": "refused",
        "outcome": "refused",
        "reason": "revoked",
        "generation": 2,
        "is_call": True,
        "is_repeated": False,
    }
    needed = await daemon.wait_for("login.needed")
    assert (needed["level"], needed["reason"]) == ("error", "revoked")
    assert "bearerd login" in needed["message"]
    lost = await daemon.wait_for("recovery.finished", outcome="login_required")
    assert without_times(lost)["level"] == "warning"
    recovered = await daemon.wait_for("recovery.finished", outcome="recovered")
    assert without_times(recovered) == {
        "level": "info",
        "profile": "default",
        "path": "refresh",
        "outcome": "recovered",
        "generation": 2,
    }
    events = [line["event"] for line in daemon.lines]
    assert events.count("recovery.finished") == 2
    assert events.count("credential.refreshed") == 1
    assert all("said" not in line for line in daemon.lines)  # every line is JSON


def without_times(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return a line of the log without its times, after a check of those."""
    assert line["timestamp"].endswith("+00:00")
    assert 0 <= line["duration_seconds"] < 20
    times = {"timestamp", "event", "duration_seconds", "expires_at"}
    return {name: value for name, value in line.items() if name not in times}


async def test_status_shows_the_running_daemon(
    start: Start, sandbox: Sandbox, tmp_path: Path
) -> None:
    """`--json --check`: 0 while all is well, 3 once a person has to sign in."""
    daemon = await start()
    settings = {
        "store": daemon.store,
        "admin_listen": daemon.admin_url.removeprefix("http://"),
        "issuer_url": sandbox.issuer_url,
    }
    done = await run_in_process(
        tmp_path, "status", "--json", "--check", settings=settings
    )
    told = json.loads(done.stdout)
    assert (done.code, done.stderr, told["running"]) == (0, "", True)
    assert (
        told["profiles"]
        == json.loads((await daemon.admin("/api/status"))[1])["profiles"]
    )
    sandbox.authority.fault(AuthorityFault("refuse"))
    sandbox.revoke_access_tokens()
    assert (await daemon.client.send()).status == 401
    done = await run_in_process(
        tmp_path, "status", "--json", "--check", settings=settings
    )
    (profile,) = json.loads(done.stdout)["profiles"]
    assert (done.code, profile["state"]) == (3, "blocked")
    assert (profile["code"], profile["needs_sign_in"]) == ("login_required", True)


async def test_token_and_daemon_share_one_refresh(
    launch: Launch, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A command beside the daemon waits for its lock, and prints what it stored."""
    store = tmp_path / "auth.json"
    sandbox.tokens.access_lifetime_seconds = -60
    write_login(store, sandbox.auth_document())
    sandbox.tokens.access_lifetime_seconds = 3600
    sandbox.authority.gate.close()
    daemon = await launch()
    await sandbox.authority.wait_for_waiting(1)
    settings = {"store": store, "issuer_url": sandbox.issuer_url}
    pending = asyncio.create_task(run_in_process(tmp_path, "token", settings=settings))
    asked = asyncio.create_task(daemon.client.send())
    async with asyncio.timeout(10):
        waiters = 0
        while not waiters:
            text = (await daemon.admin("/metrics"))[1]
            waiters = "\nbearerd_refresh_waiters 1.0\n" in text
    sandbox.authority.gate.open()
    done = await pending
    assert (await asked).status == 200
    assert done.code == 0
    assert done.stdout.strip() == tokens_of(read_login(store))["access_token"]
    assert (sandbox.authority.calls, sandbox.authority.reused) == (1, 0)
    done = await run_in_process(tmp_path, "token", "--json", settings=settings)
    assert json.loads(done.stdout)["account_id"] == "acct-sandbox-1"
    assert sandbox.authority.calls == 1


def add_login_of_work(folder: Path, sandbox: Sandbox) -> None:
    """Store a login of another account for the profile `work`."""
    work = folder / "profiles" / "work" / "auth.json"
    write_login(work, sandbox.auth_document("acct-work"))


async def test_a_key_is_bound_to_its_profile(
    start: Start, sandbox: Sandbox, canary: Canary, tmp_path: Path
) -> None:
    """It needs no path for that, and no path leads to another profile."""
    add_login_of_work(tmp_path, sandbox)
    two_profiles = await start(profiles="work")
    keys = two_profiles.settings.keys_file
    done = await run_in_process(
        keys.parent,
        *("key", "create", "worker", "--profile", "work"),
        settings={"store": two_profiles.store, "profiles": "work"},
    )
    worker = done.stdout.strip()
    canary.knows("the worker's key", worker)
    models = "/backend-api/codex/models"
    async with Client(two_profiles.client.base_url, worker, canary) as client:
        for path in (models, "/v1/models", f"/profiles/work{models}"):
            assert (await client.get(path)).status == 200
            record = sandbox.upstream.records[-1]
            assert record.header(b"chatgpt-account-id") == [b"acct-work"]
            assert record.raw_path == models
        refused = await client.get(f"/profiles/default{models}")
        assert (refused.status, refused.code) == (403, "target_forbidden")
        assert "work" in refused.message
    for path in (models, f"/profiles/default{models}"):
        assert (await two_profiles.client.get(path)).status == 200
        record = sandbox.upstream.records[-1]
        assert record.header(b"chatgpt-account-id") == [b"acct-sandbox-1"]
    for name in ("work", "nobody"):
        refused = await two_profiles.client.get(f"/profiles/{name}{models}")
        assert (refused.status, refused.code) == (403, "target_forbidden")
    assert sandbox.upstream.requests == 5


async def test_profiles_recover_independently(
    timed_start: Start, timed_sandbox: Sandbox, clock: ManualClock, tmp_path: Path
) -> None:
    """One refresh each, into its own file; a dead login stops its own profile only."""
    add_login_of_work(tmp_path, timed_sandbox)
    daemon = await timed_start(profiles="work", clock=clock.ticking)
    stores = {name: one.store for name, one in daemon.settings.profiles.items()}
    before = {name: read_login(path) for name, path in stores.items()}
    timed_sandbox.revoke_access_tokens()
    assert (await daemon.client.send()).recovery == "refresh"
    assert read_login(stores["default"]) != before["default"]
    assert read_login(stores["work"]) == before["work"]
    (recovery,) = daemon.announced(RecoveryFinished)
    assert recovery.profile == "default"
    loaded = {event.profile for event in daemon.announced(CredentialLoaded)}
    assert loaded == {"default", "work"}
    stores["work"].unlink()
    for _ in range(2):  # a file that is missing at one look may be in mid-write
        clock.advance(1)
        await clock.wait_for_sleepers(4)
    states = {
        one["profile"]: (one["state"], one["code"])
        for one in (await status_of(daemon))["profiles"]
    }
    assert states == {
        "default": ("usable", None),
        "work": ("blocked", "login_required"),
    }
    assert (await daemon.admin("/readyz"))[0] == 200
    assert (await daemon.client.send()).status == 200
    found = await samples_of(daemon)
    assert found["bearerd_login_required"] == {
        labelled(profile="default"): 0,
        labelled(profile="work"): 1,
    }
