"""The login in a store: whose it is, how long it lasts, and who else has it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from bearerd.clock import Clock
from bearerd.credential.authority.errors import REASONS
from bearerd.credential.store import auth_json
from bearerd.credential.store.codex import sharing
from bearerd.credential.store.file_store import FileStore
from bearerd.credential.store.state import Account, StoreState
from bearerd.credential.token import Credential
from bearerd.doctor.codex import FIRST_WITH_LOCKS, Version
from bearerd.doctor.finding import Finding, failed, ok, sign_in_wanted, warning
from bearerd.errors import LoginRequired


async def check_login(
    path: Path, clock: Clock, codex: Path, version: Version | None
) -> list[Finding]:
    """Look at the credential in the store, at the notes beside it, and at Codex's.

    *version* is that of the Codex installed here, if there is one.
    """
    store = FileStore(path, clock=clock)
    try:
        credential = await store.load()
    except LoginRequired as absence:
        return [
            sign_in_wanted("login", absence.message, "bearerd login"),
            *_sharing(path, None, codex, version),
        ]
    return [
        *_credential(credential, clock.now()),
        *_last_refresh(path),
        *_check_state(credential, await store.read_state()),
        *_sharing(path, credential, codex, version),
    ]


def _credential(credential: Credential, now: float) -> Iterator[Finding]:
    """Say whose it is and how long it lasts."""
    if credential.account_id is None:
        yield warning(
            "login",
            "it names no account, so another one would not be noticed",
            "sign in with `bearerd login`",
        )
    else:
        yield ok("login", f"account {credential.account_id}")
    is_expired = credential.is_expired(now)
    if not credential.refresh_token and is_expired:
        yield sign_in_wanted(
            "login",
            "the access token has expired, and there is no refresh token",
            "bearerd login",
        )
    elif not credential.refresh_token:
        yield warning(
            "login",
            "there is no refresh token, so it ends with the access token",
            "sign in with `bearerd login`",
        )
    if credential.expires_at is None:
        yield ok("login", "the access token does not say how long it lasts")
    elif not is_expired:
        yield ok("login", f"the access token is good until {_moment(credential)}")
    elif credential.refresh_token:
        yield ok("login", "the access token has expired; the next request refreshes it")


def _last_refresh(path: Path) -> Iterator[Finding]:
    try:
        document = auth_json.decode(path.read_bytes())
    except (OSError, auth_json.InvalidDocument):
        return  # replaced or removed at this moment
    moment = document.get("last_refresh")
    if isinstance(moment, str):
        yield ok("login", f"last refreshed at {moment}")
    else:
        yield warning(
            "login",
            "the file does not say when it was refreshed last, so Codex would not take it",
            "sign in with `bearerd login`",
        )


def _check_state(credential: Credential, state: StoreState) -> Iterator[Finding]:
    """Say what the notes hold against this login."""
    account = state.account
    if account is not None and not account.accepts(Account.of(credential)):
        yield sign_in_wanted(
            "owner",
            f"the file holds account {credential.account_id or 'unknown'}, but the "
            f"profile belongs to {account.account_id}",
            "`bearerd adopt` to go on with the new account, or `bearerd login` to "
            "sign in to the old one",
        )
    elif account is not None and account.account_id is not None:
        yield ok("owner", f"the profile belongs to {account.account_id}")
    refused = state.refused
    if refused is not None and refused.fingerprint == credential.fingerprint:
        reason = REASONS.get(refused.reason, REASONS["other"])
        yield sign_in_wanted("login", reason, "bearerd login")


def _sharing(
    path: Path, credential: Credential | None, codex: Path, version: Version | None
) -> Iterator[Finding]:
    """Say whether Codex has this login too, and whether it can share it."""
    match sharing(path, credential, codex):
        case "same_file" if version is not None and version < FIRST_WITH_LOCKS:
            yield failed(
                "sharing",
                f"the store is Codex's own file, {codex}, and the Codex installed here, "
                f"{'.'.join(map(str, version))}, takes no lock; it may sign bearerd out",
                "update Codex to 0.169 or later, or give bearerd its own login: unset "
                "`store` and run `bearerd login`",
            )
        case "same_file":
            yield warning(
                "sharing",
                f"the store is Codex's own file, {codex}; Codex before 0.169 takes no "
                "lock, and may sign bearerd out",
                "keep Codex up to date, or give bearerd its own login: unset `store` "
                "and run `bearerd login`",
            )
        case "copy":
            yield failed(
                "sharing",
                f"{codex} holds a copy of this login; whoever refreshes first signs "
                "the other out",
                "give bearerd its own login with `bearerd login`",
            )
        case _:
            yield ok("sharing", f"{codex} holds no copy of it")


def _moment(credential: Credential) -> str:
    moment = datetime.fromtimestamp(credential.expires_at or 0, UTC)
    return moment.strftime("%Y-%m-%d %H:%M UTC")
