"""A login is put into a store, and removed from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bearerd.clock import Clock
from bearerd.credential.store.codex_home import codex_file, sharing
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
    """Whole, private, in a folder that was not there; and the profile is the account's."""
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


async def test_signing_in_changes_the_owner_and_forgets_the_rest(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """Refusals, budget and an API key belonged to the login that was there."""
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


async def test_a_broken_file_is_no_obstacle(sandbox: Sandbox, tmp_path: Path) -> None:
    """To sign in is the remedy for it."""
    path = tmp_path / "auth.json"
    path.write_text("{broken", encoding="utf-8")
    assert await install(path, login_of(sandbox)) is None
    assert (await FileStore(path, clock=Clock()).load()).account_id == CHOSEN


async def test_a_refresh_under_way_is_waited_for(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """And nothing is written if it does not let go."""
    path = tmp_path / "auth.json"
    async with FileStore(path, clock=Clock()).lock(0):
        with pytest.raises(StoreError, match="has held this lock"):
            await install(path, login_of(sandbox))
    assert not path.exists()


async def test_a_place_that_is_none_is_found_before_anybody_signs_in(
    tmp_path: Path,
) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "folder").write_text("in the way", encoding="utf-8")
    with pytest.raises(StoreError, match="cannot be written"):
        await prepare(tmp_path / "folder" / "auth.json", clock=Clock())


class Revoked:
    """Stands for the authority: takes what is to be revoked."""

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
    """Once: a second time there is nothing there."""
    path = tmp_path / "auth.json"
    credential = login_of(sandbox)
    await install(path, credential)
    revoked = Revoked()
    assert await remove(path, revoked)
    assert not path.exists()
    assert revoked.logins == [credential]
    assert not await remove(path, revoked)
    assert len(revoked.logins) == 1


async def test_what_cannot_be_read_is_removed_all_the_same(tmp_path: Path) -> None:
    """There is nothing to revoke in it."""
    path = tmp_path / "auth.json"
    path.write_text("{broken", encoding="utf-8")
    revoked = Revoked()
    assert await remove(path, revoked)
    assert not path.exists()
    assert revoked.logins == []


# Codex's own login.


async def test_a_copy_of_codex_login_is_known_by_its_refresh_token(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """The same file is another thing, and so is another login."""
    codex = tmp_path / "codex" / "auth.json"
    mine = tmp_path / "auth.json"
    document = sandbox.auth_document()
    write_login(codex, document)
    write_login(mine, document)
    held = await FileStore(mine, clock=Clock()).load()
    assert sharing(mine, held, codex) == "copy"
    assert sharing(codex, held, codex) == "same_file"
    assert sharing(mine, login_of(sandbox), codex) == "none"
    assert sharing(mine, None, codex) == "none"
    codex.write_text(json.dumps({"OPENAI_API_KEY": "made-up"}), encoding="utf-8")
    assert sharing(mine, held, codex) == "none"


@pytest.mark.parametrize(
    ("variable", "path"),
    [
        (None, "/me/.codex/auth.json"),
        ("", "/me/.codex/auth.json"),
        ("/c", "/c/auth.json"),
    ],
)
def test_codex_home_is_where_its_variable_says(variable: str | None, path: str) -> None:
    """An empty variable counts as none."""
    assert codex_file(variable, Path("/me")) == Path(path)
