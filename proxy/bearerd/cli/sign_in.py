"""What `login` and `logout` share: the authority, the store, and how one parts from a
login that was there.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bearerd.builders import LOCK_GRACE_SECONDS, authority_session, tls_context
from bearerd.cli.program import complain
from bearerd.clock import Clock
from bearerd.credential.authority.client import SignInAuthority
from bearerd.credential.authority.pkce import SignInFailed
from bearerd.credential.store.codex_home import codex_file, sharing
from bearerd.credential.store.install import install_login, prepare, remove_login
from bearerd.credential.token import Credential
from bearerd.settings import Settings
from bearerd.settings.profile import ProfileSettings

Ask = Callable[[SignInAuthority], Awaitable[Credential]]


@dataclass(frozen=True, slots=True)
class Parting:
    """Whether a login is signed out that Codex has too."""

    is_forced: bool

    def wants_revocation(self, store: Path, login: Credential, codex: Path) -> bool:
        """Say whether *login*, which was in *store*, is to be signed out."""
        return self.is_forced or sharing(store, login, codex) == "none"


async def sign_in(
    settings: Settings, profile: ProfileSettings, ask: Ask, parting: Parting
) -> Credential:
    """Let a person sign in by *ask*, keep the login, and sign the old one out."""
    await prepare(profile.store, clock=Clock())
    async with _authority(settings, profile) as authority:
        credential = await ask(authority)
        previous = await install_login(
            profile.store,
            credential,
            clock=Clock(),
            lock_timeout_seconds=_lock_timeout_seconds(profile),
        )
        is_other = (
            previous is not None and previous.fingerprint != credential.fingerprint
        )
        if previous is not None and is_other:
            if parting.wants_revocation(profile.store, previous, _codex()):
                await _revoke(authority, previous)
            else:
                complain("Codex had the previous login too, so it was not signed out")
        return credential


async def sign_out(settings: Settings, profile: ProfileSettings) -> bool:
    """Sign the profile's login out and remove it; say whether there was one."""
    async with _authority(settings, profile) as authority:

        async def revoke(stored: Credential) -> None:
            await _revoke(authority, stored)

        return await remove_login(
            profile.store,
            clock=Clock(),
            lock_timeout_seconds=_lock_timeout_seconds(profile),
            revoke=revoke,
        )


@asynccontextmanager
async def _authority(
    settings: Settings, profile: ProfileSettings
) -> AsyncIterator[SignInAuthority]:
    async with authority_session(tls_context(settings)) as session:
        yield SignInAuthority(
            session,
            issuer_url=profile.issuer_url,
            token_url=profile.token_url,
            client_id=profile.client_id,
        )


async def _revoke(authority: SignInAuthority, login: Credential) -> None:
    """Sign *login* out; that it cannot be done keeps nobody from going on."""
    try:
        await authority.revoke(login)
    except SignInFailed as failure:
        complain(
            f"warning: the login that was here is not signed out: {failure.message}"
        )


def _codex() -> Path:
    return codex_file(os.environ.get("CODEX_HOME"), Path.home())


def _lock_timeout_seconds(profile: ProfileSettings) -> float:
    """Return how long a refresh under way may take to let go."""
    return profile.authority_timeout_seconds + LOCK_GRACE_SECONDS
