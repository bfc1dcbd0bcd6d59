"""The checks of the login in a store."""

from __future__ import annotations

from pathlib import Path

import pytest

from bearerd.clock import Clock
from bearerd.credential.store.file_store import FileStore
from bearerd.credential.store.state import Account, RefusedToken, StoreState
from bearerd.credential.token import fingerprint
from bearerd.doctor.codex import Version
from bearerd.doctor.findings import Finding, exit_code
from bearerd.doctor.login import check_login
from bearerd.errors import ExitCode
from tests.doctor.conftest import delete, messages, verdicts
from tests.support import read_login, tokens_of, write_login

ELEVEN_DAYS_SECONDS = 11 * 24 * 3600
"""The sandbox's access tokens expire after ten."""


async def findings_at(
    store: Path,
    codex: Path,
    *,
    version: Version | None = None,
    seconds_later: float = 0,
) -> list[Finding]:
    """Return what the check finds at *store*, after some time."""
    now = Clock().now() + seconds_later
    return await check_login(store, Clock(now=lambda: now), codex, version)


async def test_a_valid_login_is_ok(store: Path, codex: Path) -> None:
    """With its account and its expiry."""
    findings = await findings_at(store, codex)
    assert {finding.verdict for finding in findings} == {"ok"}
    assert "account acct-sandbox-1" in messages(findings, "login")
    assert any("valid until" in message for message in messages(findings, "login"))


async def test_a_missing_login_needs_a_sign_in(store: Path, codex: Path) -> None:
    """Nothing else is wrong."""
    delete(store)
    assert exit_code(await findings_at(store, codex)) == ExitCode.SIGN_IN_NEEDED


@pytest.mark.parametrize(
    ("tokens", "seconds_later", "code"),
    [
        ({"refresh_token": ""}, 0, ExitCode.OK),
        ({"refresh_token": ""}, ELEVEN_DAYS_SECONDS, ExitCode.SIGN_IN_NEEDED),
        ({}, ELEVEN_DAYS_SECONDS, ExitCode.OK),
    ],
    ids=["no refresh token", "expired as well", "expired and refreshable"],
)
async def test_an_expired_login_needs_a_sign_in_if_it_cannot_be_refreshed(
    store: Path,
    codex: Path,
    tokens: dict[str, str],
    seconds_later: float,
    code: ExitCode,
) -> None:
    """Without a refresh token, a valid login is a warning."""
    document = read_login(store)
    document["tokens"] |= tokens
    write_login(store, document)
    findings = await findings_at(store, codex, seconds_later=seconds_later)
    assert exit_code(findings) == code


async def test_a_login_of_another_account_needs_a_decision(
    store: Path, codex: Path
) -> None:
    """The profile is pinned to its account."""
    state = StoreState(account=Account("acct-else"))
    await FileStore(store, clock=Clock()).write_state(state)
    findings = await findings_at(store, codex)
    (finding,) = [one for one in findings if one.topic == "owner"]
    assert finding.needs_sign_in
    assert "bearerd adopt" in finding.remedy


async def test_a_refused_refresh_token_needs_a_sign_in(
    store: Path, codex: Path
) -> None:
    """The authority has refused this very token, for the reason in the message."""
    refresh_token = tokens_of(read_login(store))["refresh_token"]
    refused = RefusedToken(
        fingerprint(refresh_token), "revoked", "https://a.test", "app", 1.0
    )
    await FileStore(store, clock=Clock()).write_state(StoreState(refused=refused))
    findings = await findings_at(store, codex)
    assert any("revoked" in message for message in messages(findings, "login"))
    assert exit_code(findings) == ExitCode.SIGN_IN_NEEDED


async def test_a_copy_in_codex_own_file_is_a_failure(store: Path, codex: Path) -> None:
    """Two files with one refresh token sign each other out."""
    write_login(codex, read_login(store))
    findings = await findings_at(store, codex)
    assert verdicts(findings, "sharing") == ["failed"]
    assert exit_code(findings) == ExitCode.FAILED


@pytest.mark.parametrize(
    ("version", "verdict"),
    [((0, 168, 9), "failed"), ((0, 169, 0), "warning"), (None, "warning")],
)
async def test_codex_own_file_can_be_shared_with_a_codex_that_locks_it(
    store: Path, version: Version | None, verdict: str
) -> None:
    """An older Codex takes no lock, so no lock of bearerd's keeps the two apart."""
    findings = await findings_at(store, store, version=version)
    assert verdicts(findings, "sharing") == [verdict]
