"""A login is put into a store, and removed from it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bearerd.clock import Clock
from bearerd.credential.refresh.transaction import RefreshTransaction
from bearerd.credential.store.file_store import FileStore
from bearerd.credential.store.install import (
    InstallResult,
    install_login,
    prepare,
    remove_login,
)
from bearerd.credential.store.journal import this_process
from bearerd.credential.store.state import Account, RefusedToken, StoreState
from bearerd.credential.token import Credential
from bearerd.errors import StoreError, StoreUnavailable
from bearerd.sandbox import Account as SandboxAccount
from bearerd.sandbox import Sandbox
from tests.support import read_login, write_login

CHOSEN = "acct-chosen"


@pytest.fixture
async def sandbox() -> Sandbox:
    """A sandbox that gives logins. It does not listen."""
    return Sandbox()


def login_of(sandbox: Sandbox, account: str = CHOSEN) -> Credential:
    """Return a new login."""
    grant = sandbox.tokens.sign_in(SandboxAccount(account))
    return Credential(
        access_token=grant.access_token,
        refresh_token=grant.refresh_token,
        id_token=grant.id_token,
        account_id=account,
        user_id=f"user-{account}",
    )


def store_at(path: Path) -> FileStore:
    """Return the store of *path*, with a rescue file beside its folder."""
    rescue = path.parent.parent / "rescue.json"
    return FileStore(path, clock=Clock(), rescue=rescue)


async def install(path: Path, credential: Credential) -> InstallResult:
    """Install *credential* at *path*."""
    return await install_login(
        store_at(path), credential, clock=Clock(), lock_timeout_seconds=0
    )


async def test_a_login_is_kept_as_codex_has_it(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """Complete, private, in a new folder. The profile is pinned to its account."""
    path = tmp_path / "new" / "auth.json"
    credential = login_of(sandbox)
    assert await install(path, credential) == InstallResult()
    document = read_login(path)
    assert set(document) == {"auth_mode", "OPENAI_API_KEY", "tokens", "last_refresh"}
    assert document["auth_mode"] == "chatgpt"
    assert document["tokens"] == {
        "id_token": credential.id_token,
        "access_token": credential.access_token,
        "refresh_token": credential.refresh_token,
        "account_id": CHOSEN,
    }
    assert path.stat().st_mode & 0o777 == 0o600
    store = FileStore(path, clock=Clock())
    assert await store.load() == credential
    assert await store.read_state() == StoreState(
        account=Account(CHOSEN, f"user-{CHOSEN}")
    )


async def test_a_new_login_replaces_the_account_and_clears_the_state(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """Refusals, budget and an API key belonged to the previous login."""
    path = tmp_path / "auth.json"
    before = sandbox.auth_document("acct-before") | {"OPENAI_API_KEY": "made-up"}
    write_login(path, before)
    store = FileStore(path, clock=Clock())
    old = await store.load()
    refused = RefusedToken(old.fingerprint, "reused", "https://a.test", "app", 1.0)
    await store.write_state(StoreState(Account("acct-before"), refused))
    assert await install(path, login_of(sandbox)) == InstallResult(previous=old)
    assert await store.read_state() == StoreState(
        account=Account(CHOSEN, f"user-{CHOSEN}")
    )
    assert read_login(path)["OPENAI_API_KEY"] is None


async def test_a_broken_file_is_replaced(sandbox: Sandbox, tmp_path: Path) -> None:
    """A sign-in is the remedy for it."""
    path = tmp_path / "auth.json"
    path.write_text("{broken", encoding="utf-8")
    assert await install(path, login_of(sandbox)) == InstallResult()
    assert (await FileStore(path, clock=Clock()).load()).account_id == CHOSEN


async def test_a_login_that_cannot_be_stored_is_quarantined_and_stored_later(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """The lock is held for too long: the person has not signed in for nothing."""
    path = tmp_path / "data" / "auth.json"
    credential = login_of(sandbox)
    async with store_at(path).lock(0):
        installed = await install(path, credential)
        assert installed.quarantine_path is not None
        assert installed.quarantine_path.stat().st_mode & 0o777 == 0o600
        assert not path.exists()
    store = store_at(path)
    transaction = RefreshTransaction(
        store=store, clock=Clock(), presenter=this_process()
    )
    async with store.lock(0):
        await transaction.recover()
    assert await store.load() == credential
    assert not installed.quarantine_path.exists()


async def test_the_holder_of_the_lock_is_named_before_the_sign_in(
    tmp_path: Path,
) -> None:
    """A sign-in does not start if its login could not be stored."""
    path = tmp_path / "data" / "auth.json"
    async with store_at(path).lock(0):
        with pytest.raises(StoreError, match=f"process {os.getpid()} on "):
            await prepare(store_at(path), timeout_seconds=0)
    await prepare(store_at(path), timeout_seconds=0)


async def test_a_store_without_a_folder_is_found_before_the_sign_in(
    tmp_path: Path,
) -> None:
    """A file is where the folder should be."""
    (tmp_path / "folder").write_text("in the way", encoding="utf-8")
    with pytest.raises(StoreUnavailable, match="its folder is a file"):
        await prepare(store_at(tmp_path / "folder" / "auth.json"))


class Revoked:
    """Stands for the authority. Owns the list of logins to revoke."""

    def __init__(self) -> None:
        self.logins: list[Credential] = []

    async def __call__(self, login: Credential) -> None:
        self.logins.append(login)


async def remove(path: Path, revoke: Revoked) -> bool:
    """Remove the login at *path*."""
    store = store_at(path)
    transaction = RefreshTransaction(
        store=store, clock=Clock(), presenter=this_process()
    )
    return await remove_login(
        store, lock_timeout_seconds=0, recover=transaction.recover, revoke=revoke
    )


async def test_a_login_is_revoked_and_removed(sandbox: Sandbox, tmp_path: Path) -> None:
    """A second time there is nothing to remove."""
    path = tmp_path / "auth.json"
    credential = login_of(sandbox)
    await install(path, credential)
    revoked = Revoked()
    assert await remove(path, revoked)
    assert not path.exists()
    assert revoked.logins == [credential]
    assert not await remove(path, revoked)
    assert len(revoked.logins) == 1


async def test_an_unreadable_login_is_removed_too(tmp_path: Path) -> None:
    """It has nothing to revoke."""
    path = tmp_path / "auth.json"
    path.write_text("{broken", encoding="utf-8")
    revoked = Revoked()
    assert await remove(path, revoked)
    assert not path.exists()
    assert revoked.logins == []
