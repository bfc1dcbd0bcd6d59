"""Sign-in and sign-out of a store: install a new login, remove the old one.

Both hold the store's lock, so no refresh runs at the same time. The response of a
refresh could otherwise replace the new login, or restore the removed one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bearerd.clock import Clock
from bearerd.credential.store import auth_json
from bearerd.credential.store.quarantine import QuarantinedCredential
from bearerd.credential.store.state import Account, StoreState
from bearerd.credential.store.store import Store
from bearerd.credential.token import Credential
from bearerd.errors import LoginRequired, StoreError, StoreUnavailable

PREPARE_TIMEOUT_SECONDS = 5.0
"""How long a sign-in waits for the lock before the browser opens: longer than a
successful refresh."""


@dataclass(frozen=True, slots=True)
class InstallResult:
    """The result of `install_login`.

    *previous* is the login that was replaced. *quarantine_path* is None if the new login
    is stored; otherwise it is the file in which the new login waits for the store.
    """

    previous: Credential | None = None
    quarantine_path: Path | None = None


async def prepare(store: Store, *, timeout_seconds: float | None = None) -> None:
    """Check that a login can be stored, before a sign-in starts.

    Raises:
        StoreError, StoreUnavailable: it cannot; the message names the lock's holder.
    """
    if timeout_seconds is None:
        timeout_seconds = PREPARE_TIMEOUT_SECONDS
    async with _locked(store, timeout_seconds):
        pass


async def install_login(
    store: Store,
    credential: Credential,
    *,
    clock: Clock,
    lock_timeout_seconds: float,
) -> InstallResult:
    """Make *credential* the login of *store*.

    The whole document is replaced: a field of the old login, such as an API key, does
    not belong to the new one. A sign-in chooses the account, so the profile is pinned to
    it, and the journal and the quarantine of the old login are cleared.

    A login that cannot be stored is quarantined, and the next holder of the lock stores
    it.

    Raises:
        StoreError: it can neither be stored nor quarantined.
    """
    try:
        async with _locked(store, lock_timeout_seconds):
            previous = await _load_or_none(store)
            await install_locked(store, credential, clock.now())
            return InstallResult(previous)
    except (StoreError, StoreUnavailable):
        quarantined = QuarantinedCredential(credential, presented="", since=clock.now())
        return InstallResult(
            quarantine_path=await store.quarantine.write("new_login", quarantined)
        )


async def install_locked(store: Store, credential: Credential, now: float) -> None:
    """Replace the login of a locked store, and clear the records of the old one.

    Raises:
        StoreError: it could not be written.
    """
    await store.replace_login(auth_json.with_tokens({}, credential, now))
    await store.journal.clear()
    await store.quarantine.clear("new_login")
    await store.quarantine.clear("foreign")
    await store.write_state(StoreState(account=Account.from_credential(credential)))


async def remove_login(
    store: Store,
    *,
    lock_timeout_seconds: float,
    recover: Callable[[], Awaitable[object]],
    revoke: Callable[[Credential], Awaitable[None]],
) -> bool:
    """Remove the login of *store*; return True if there was one.

    *recover* completes an interrupted refresh first, so that the current token is revoked
    and not its predecessor. *revoke* is called with the login, if it can be read, while
    the lock is held; it must not raise.

    Raises:
        StoreError: the login could not be removed.
    """
    async with _locked(store, lock_timeout_seconds):
        with suppress(LoginRequired, StoreError, StoreUnavailable):
            await recover()
        stored, exists = None, True
        try:
            stored = await store.load()
        except LoginRequired as error:
            exists = error.reason != "missing"
        quarantined = await store.quarantine.read("new_login")
        for credential in (stored, quarantined.credential if quarantined else None):
            if credential is not None:
                await revoke(credential)
        await store.journal.clear()
        await store.quarantine.clear("new_login")
        if exists:
            await store.remove_login()
    return exists or quarantined is not None


@asynccontextmanager
async def _locked(store: Store, timeout_seconds: float) -> AsyncIterator[None]:
    """Hold the lock of *store*.

    Raises:
        StoreError: another process holds it; the message names that process.
    """
    try:
        async with store.lock(timeout_seconds):
            yield
    except TimeoutError:
        raise StoreError(await lock_held_message(store)) from None


async def lock_held_message(store: Store) -> str:
    """Return the message for a held lock: the process, since when, and the remedy."""
    holder = await store.lock_holder()
    if holder is None:
        return (
            f"{store.name}: another process holds the lock of this login; end it, or "
            "wait for it, and try again"
        )
    return (
        f"{store.name}: process {holder.pid} on {holder.host} has held the lock of this "
        f"login since {auth_json.utc_text(holder.since)}; end that process, or wait for "
        "it, and try again"
    )


async def _load_or_none(store: Store) -> Credential | None:
    try:
        return await store.load()
    except LoginRequired:
        return None
