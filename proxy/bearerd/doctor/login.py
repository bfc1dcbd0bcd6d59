"""Checks the login in a store: its account, its expiry, and whether Codex has it too."""

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
from bearerd.doctor.findings import Finding, failed, ok, sign_in_needed, warning
from bearerd.errors import LoginRequired, StoreUnavailable


async def check_login(
    path: Path, clock: Clock, codex: Path, version: Version | None
) -> list[Finding]:
    """Check the credential in the store, the state beside it, and Codex's own file.

    *codex* is the path of Codex's file, and *version* that of the installed Codex, if any.
    """
    store = FileStore(path, clock=clock)
    try:
        credential = await store.load()
    except LoginRequired as absence:
        return [
            sign_in_needed("login", absence.message, "bearerd login"),
            *_check_sharing(path, None, codex, version),
        ]
    except StoreUnavailable as trouble:
        problem, _, remedy = trouble.message.rpartition("; ")
        return [failed("login", problem, remedy)]
    return [
        *_check_credential(credential, clock.now()),
        *_check_last_refresh(path),
        *_check_state(credential, await store.read_state()),
        *_check_sharing(path, credential, codex, version),
    ]


def _check_credential(credential: Credential, now: float) -> Iterator[Finding]:
    """Check the account and the expiry."""
    if credential.account_id is None:
        yield warning(
            "login",
            "it names no account, so a change of the account would not be noticed",
            "sign in with `bearerd login`",
        )
    else:
        yield ok("login", f"account {credential.account_id}")
    is_expired = credential.is_expired(now)
    if not credential.refresh_token and is_expired:
        yield sign_in_needed(
            "login",
            "the access token has expired, and there is no refresh token",
            "bearerd login",
        )
    elif not credential.refresh_token:
        yield warning(
            "login",
            "there is no refresh token, so the login ends with the access token",
            "sign in with `bearerd login`",
        )
    if credential.expires_at is None:
        yield ok("login", "the access token has no expiry")
    elif not is_expired:
        yield ok("login", f"the access token is valid until {_expiry_text(credential)}")
    elif credential.refresh_token:
        yield ok("login", "the access token has expired; the next request refreshes it")


def _check_last_refresh(path: Path) -> Iterator[Finding]:
    try:
        document = auth_json.decode(path.read_bytes())
    except (OSError, auth_json.InvalidDocument):
        return  # replaced or removed meanwhile
    last_refresh = document.get("last_refresh")
    if isinstance(last_refresh, str):
        yield ok("login", f"last refreshed at {last_refresh}")
    else:
        yield warning(
            "login",
            "the file has no time of the last refresh, so Codex would not accept it",
            "sign in with `bearerd login`",
        )


def _check_state(credential: Credential, state: StoreState) -> Iterator[Finding]:
    """Check the pinned account, and whether the authority has refused this login."""
    account = state.account
    if account is not None and not account.accepts(Account.from_credential(credential)):
        yield sign_in_needed(
            "owner",
            f"the file has account {credential.account_id or 'unknown'}, but the profile "
            f"belongs to {account.account_id}",
            "`bearerd adopt` to confirm the new account, or `bearerd login` to sign in "
            "to the old one",
        )
    elif account is not None and account.account_id is not None:
        yield ok("owner", f"the profile belongs to {account.account_id}")
    refused = state.refused
    if refused is not None and refused.fingerprint == credential.fingerprint:
        reason = REASONS.get(refused.reason, REASONS["other"])
        yield sign_in_needed("login", reason, "bearerd login")


def _check_sharing(
    path: Path, credential: Credential | None, codex: Path, version: Version | None
) -> Iterator[Finding]:
    """Check whether Codex has this login too, and whether it can be shared safely."""
    match sharing(path, credential, codex):
        case "same_file" if version is not None and version < FIRST_WITH_LOCKS:
            yield failed(
                "sharing",
                f"the store is Codex's own file, {codex}, and the Codex installed here, "
                f"{'.'.join(map(str, version))}, takes no lock, so it may sign bearerd out",
                "update Codex to 0.169 or later, or give bearerd its own login: unset "
                "`store` and run `bearerd login`",
            )
        case "same_file":
            yield warning(
                "sharing",
                f"the store is Codex's own file, {codex}; Codex before 0.169 takes no "
                "lock, so it may sign bearerd out",
                "keep Codex up to date, or give bearerd its own login: unset `store` "
                "and run `bearerd login`",
            )
        case "copy":
            yield failed(
                "sharing",
                f"{codex} has a copy of this login; the program that refreshes first "
                "signs the other out",
                "give bearerd its own login with `bearerd login`",
            )
        case _:
            yield ok("sharing", f"{codex} has no copy of it")


def _expiry_text(credential: Credential) -> str:
    moment = datetime.fromtimestamp(credential.expires_at or 0, UTC)
    return moment.strftime("%Y-%m-%d %H:%M UTC")
