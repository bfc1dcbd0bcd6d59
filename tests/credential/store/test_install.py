"""A login is put into a store, and removed from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bearerd.clock import Clock
from bearerd.credential.store.file_store import FileStore
from bearerd.credential.store.install import install_login, prepare, remove_login
from bearerd.credential.store.state import Account, RefusedToken, StoreState
from bearerd.credential.token import Credential
from bearerd.errors import StoreError
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


async def install(path: Path, credential: Credential) -> Credential | None:
    """Keep *credential* at *path*."""
    return await install_login(path, credential, clock=Clock(), lock_timeout_seconds=0)


async def test_a_login_is_kept_as_codex_has_it(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """Complete, private, in a new folder. The profile is pinned to its account."""
    path = tmp_path / "new" / "auth.json"
    credential = login_of(sandbox)
    assert await install(path, credential) is None
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
    assert store.read_state() == StoreState(account=Account(CHOSEN, f"user-{CHOSEN}"))


async def test_a_new_login_replaces_the_account_and_clears_the_state(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """Refusals, budget and an API key belonged to the previous login."""
    path = tmp_path / "auth.json"
    before = sandbox.auth_document("acct-before") | {"OPENAI_API_KEY": "made-up"}
    write_login(path, before)
    store = FileStore(path, clock=Clock())
    old = await store.load()
    store.write_state(
        StoreState(Account("acct-before"), RefusedToken(old.fingerprint, "reused"))
    )
    assert await install(path, login_of(sandbox)) == old
    assert store.read_state() == StoreState(account=Account(CHOSEN, f"user-{CHOSEN}"))
    assert read_login(path)["OPENAI_API_KEY"] is None


async def test_a_broken_file_is_replaced(sandbox: Sandbox, tmp_path: Path) -> None:
    """A sign-in is the remedy for it."""
    path = tmp_path / "auth.json"
    path.write_text("{broken", encoding="utf-8")
    assert await install(path, login_of(sandbox)) is None
    assert (await FileStore(path, clock=Clock()).load()).account_id == CHOSEN


async def test_an_install_waits_for_a_refresh_under_way(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """If that keeps the lock for too long, nothing is written."""
    path = tmp_path / "auth.json"
    async with FileStore(path, clock=Clock()).lock(0):
        with pytest.raises(StoreError, match="has held this lock"):
            await install(path, login_of(sandbox))
    assert not path.exists()


async def test_a_store_without_a_folder_is_found_before_the_sign_in(
    tmp_path: Path,
) -> None:
    """A file is where the folder should be."""
    (tmp_path / "folder").write_text("in the way", encoding="utf-8")
    with pytest.raises(StoreError, match="cannot be written"):
        await prepare(tmp_path / "folder" / "auth.json", clock=Clock())


class Revoked:
    """Stands for the authority. Owns the list of logins to revoke."""

    def __init__(self) -> None:
        self.logins: list[Credential] = []

    async def __call__(self, login: Credential) -> None:
        self.logins.append(login)


async def remove(path: Path, revoke: Revoked) -> bool:
    """Remove the login at *path*."""
    return await remove_login(
        path, clock=Clock(), lock_timeout_seconds=0, revoke=revoke
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
