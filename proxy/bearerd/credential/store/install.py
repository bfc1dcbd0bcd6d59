"""A new login goes into its store, and an old one out of it.

Both happen under the store's lock, so no refresh is under way meanwhile: its response
would be written over the new login, or bring the old one back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bearerd.clock import Clock
from bearerd.credential.store import auth_json
from bearerd.credential.store.quarantine import Kept
from bearerd.credential.store.state import Account, StoreState
from bearerd.credential.store.store import Store
from bearerd.credential.token import Credential
from bearerd.errors import LoginRequired, StoreError, StoreUnavailable

PREPARE_TIMEOUT_SECONDS = 5.0
"""How long a sign-in waits for the lock before a person is asked: longer than a refresh
that goes well."""


@dataclass(frozen=True, slots=True)
class Installed:
    """What became of a new login.

    *previous* is the login that it replaced. *kept_at* is where it waits for the store,
    or None if it is in the store.
    """

    previous: Credential | None = None
    kept_at: Path | None = None


async def prepare(store: Store, *, timeout_seconds: float | None = None) -> None:
    """Make sure that a login can be stored, before a person is asked for one.

    Raises:
        StoreError, StoreUnavailable: it cannot be; the message names the lock's holder.
    """
    limit = PREPARE_TIMEOUT_SECONDS if timeout_seconds is None else timeout_seconds
    async with _locked(store, limit):
        pass


async def install_login(
    store: Store,
    credential: Credential,
    *,
    clock: Clock,
    lock_timeout_seconds: float,
) -> Installed:
    """Make *credential* the login of *store*.

    The whole document is new: what another login left in it, such as an API key, does
    not belong to this one. A sign-in chooses the account, so the profile is pinned to it
    from now on, and what was kept of the old login is forgotten.

    A login that cannot be stored is kept in quarantine; the next process that holds the
    lock stores it.

    Raises:
        StoreError: it could not even be kept.
    """
    try:
        async with _locked(store, lock_timeout_seconds):
            previous = await _stored(store)
            await replace_whole(store, credential, clock.now())
            return Installed(previous)
    except (StoreError, StoreUnavailable):
        kept = Kept(credential, presented="", since=clock.now())
        return Installed(kept_at=await store.quarantine.keep("new_login", kept))


async def replace_whole(store: Store, credential: Credential, now: float) -> None:
    """Put a new login into a store that is locked, and forget the old one's traces.

    Raises:
        StoreError: it could not be written.
    """
    await store.replace_login(auth_json.with_tokens({}, credential, now))
    await store.journal.clear()
    await store.quarantine.clear("new_login")
    await store.quarantine.clear("foreign")
    await store.write_state(StoreState(account=Account.of(credential)))


async def remove_login(
    store: Store,
    *,
    lock_timeout_seconds: float,
    recover: Callable[[], Awaitable[object]],
    revoke: Callable[[Credential], Awaitable[None]],
) -> bool:
    """Remove the login of *store*; return True if there was one.

    *recover* finishes what a process that died has left, so that the live token is
    revoked and not its predecessor. *revoke* gets the login, if it can be read, while no
    refresh can change it; it must not raise.

    Raises:
        StoreError: the login could not be removed.
    """
    async with _locked(store, lock_timeout_seconds):
        with suppress(LoginRequired, StoreError, StoreUnavailable):
            await recover()
        stored, is_there = None, True
        try:
            stored = await store.load()
        except LoginRequired as absence:
            is_there = absence.reason != "missing"
        kept = await store.quarantine.read("new_login")
        for credential in (stored, kept.credential if kept else None):
            if credential is not None:
                await revoke(credential)
        await store.journal.clear()
        await store.quarantine.clear("new_login")
        if is_there:
            await store.remove_login()
    return is_there or kept is not None


@asynccontextmanager
async def _locked(store: Store, timeout_seconds: float) -> AsyncIterator[None]:
    """Hold the lock of *store*, or name its holder.

    Raises:
        StoreError: another process holds it.
    """
    try:
        async with store.lock(timeout_seconds):
            yield
    except TimeoutError:
        raise StoreError(await lock_held_message(store)) from None


async def lock_held_message(store: Store) -> str:
    """Return which process holds the lock of *store*, since when, and the remedy."""
    holder = await store.lock_holder()
    if holder is None:
        return (
            f"{store.name}: another process holds the lock of this login; end it, or "
            "wait for it, and try again"
        )
    return (
        f"{store.name}: process {holder.pid} on {holder.host} holds the lock of this "
        f"login since {auth_json.utc_text(holder.since)}; end that process, or wait for it, "
        "and try again"
    )


async def _stored(store: Store) -> Credential | None:
    try:
        return await store.load()
    except LoginRequired:
        return None
