"""What `login` and `logout` share: the authority, the store, and the previous login.

Loads what talks to the authority, so a command imports it when it is called.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from enum import Enum
from pathlib import Path
from typing import TypeAlias

from bearerd.builders import authority_client, file_store, tls_context
from bearerd.cli.program import print_stderr
from bearerd.clock import Clock
from bearerd.credential.authority.client import AuthorityClient
from bearerd.credential.authority.errors import CallFailed, RevocationFailed
from bearerd.credential.authority.revocation import revoke
from bearerd.credential.refresh.transaction import RefreshTransaction
from bearerd.credential.store.codex import codex_file, sharing
from bearerd.credential.store.install import install_login, prepare, remove_login
from bearerd.credential.store.journal import this_process
from bearerd.credential.token import Credential
from bearerd.settings import Settings
from bearerd.settings.profile import ProfileSettings

SignInFlow: TypeAlias = Callable[[AuthorityClient], Awaitable[Credential]]
"""By browser or by device code: lets a person sign in and returns the credential."""


class RevokePrevious(Enum):
    """Whether a new login revokes the one that it replaces in the store."""

    ALWAYS = "always"
    UNLESS_SHARED = "unless shared"  # with Codex, which would be signed out in mid-work


async def sign_in(
    settings: Settings,
    profile: ProfileSettings,
    flow: SignInFlow,
    revoke_previous: RevokePrevious,
) -> Credential:
    """Let a person sign in, store the login, and revoke the previous one.

    Raises:
        SignInFailed, CallFailed: the flow gave no login; the store is as it was.
        StoreError: the login cannot be stored. Where that is known beforehand, it is
            raised before the sign-in.
    """
    clock = Clock()
    store = file_store(profile, clock)
    await prepare(store)
    tls = tls_context(settings)
    async with authority_client(settings, profile, tls) as client:
        credential = await flow(client)
        installed = await install_login(
            store,
            credential,
            clock=clock,
            lock_timeout_seconds=profile.authority_timeout_seconds,
        )
        if installed.quarantine_path is not None:
            print_stderr(
                "warning: the new login cannot be stored now; it is kept in "
                f"{installed.quarantine_path}, and stored as soon as the store can be "
                "locked and written"
            )
        previous = installed.previous
        if previous is None or previous.fingerprint == credential.fingerprint:
            return credential
        is_shared = sharing(profile.store, previous, _codex_file()) != "none"
        if is_shared and revoke_previous is RevokePrevious.UNLESS_SHARED:
            print_stderr("the previous login was not revoked, because Codex has it too")
        else:
            await _revoke(client, previous)
        return credential


async def sign_out(settings: Settings, profile: ProfileSettings) -> bool:
    """Revoke the profile's login and remove it from the store.

    Return False if there was no login. If it cannot be revoked, warn on stderr.

    Raises:
        StoreError: it cannot be removed.
    """
    clock = Clock()
    store = file_store(profile, clock)
    transaction = RefreshTransaction(store=store, clock=clock, presenter=this_process())
    tls = tls_context(settings)
    async with authority_client(settings, profile, tls) as client:

        async def revoke_stored(stored: Credential) -> None:
            await _revoke(client, stored)

        return await remove_login(
            store,
            lock_timeout_seconds=profile.authority_timeout_seconds,
            recover=transaction.recover,
            revoke=revoke_stored,
        )


async def _revoke(client: AuthorityClient, login: Credential) -> None:
    """Revoke *login*, or warn that it stays valid: the command goes on either way."""
    try:
        await revoke(client, login)
    except (CallFailed, RevocationFailed) as failure:
        print_stderr(
            "warning: the previous login is not revoked and stays valid at the "
            f"authority: {failure.message}"
        )


def _codex_file() -> Path:
    return codex_file(os.environ.get("CODEX_HOME"), Path.home())
