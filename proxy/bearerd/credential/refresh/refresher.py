"""One refresh, from the lock to the store. No other module presents a refresh token.

The order of the steps is fixed:

    lock, recover, read the store, acquire from the limiter, begin, present, commit

The store, read under the lock, decides; the cached credential is only compared with it.
So a late caller adopts the result of an earlier refresh, and the next process recovers
from the refresh that another one did not complete.

The timeout of a caller and the time limit of a call are independent. The caller's
timeout belongs to the source. A refresh that has started continues, under the lock,
until the authority's response is stored or the connection is closed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from bearerd.clock import Clock
from bearerd.credential.authority.errors import (
    NO_ACCESS_TOKEN,
    NO_JOURNAL,
    NO_REFRESH_TOKEN,
    AuthorityFailure,
)
from bearerd.credential.authority.refresh_grant import Authority, Grant
from bearerd.credential.refresh.backoff import MAYBE_SPENT_SECONDS
from bearerd.credential.refresh.crash_recovery import CrashRecoveryResult
from bearerd.credential.refresh.limiter import RefreshLimiter
from bearerd.credential.refresh.lock_wait import LockWait
from bearerd.credential.refresh.request import RefreshRequest, RefreshResult
from bearerd.credential.refresh.transaction import RefreshAttempt, RefreshTransaction
from bearerd.credential.store.account_pin import require_same_account
from bearerd.credential.store.install import lock_held_message
from bearerd.credential.store.journal_entry import Presenter
from bearerd.credential.store.state import Account, StoreState
from bearerd.credential.store.store import Store
from bearerd.credential.token import Credential
from bearerd.errors import (
    AccountChanged,
    LoginRequired,
    StoreError,
    StoreUnavailable,
)

NEWER_READ_INTERVAL_SECONDS = 0.1
NEWER_READ_TRIES = 10
"""After `refresh_token_reused`, another program has a newer login and may still be
writing it. The store is read for one second."""


class Refresher:
    """Refreshes the credential of one profile.

    *on_lock_acquired* is called with the duration of each wait for the lock in seconds.
    """

    def __init__(
        self,
        *,
        store: Store,
        authority: Authority,
        limiter: RefreshLimiter,
        clock: Clock,
        lock_timeout_seconds: float,
        on_lock_acquired: Callable[[float], None],
        presenter: Presenter,
    ) -> None:
        self._store = store
        self._authority = authority
        self._limiter = limiter
        self._clock = clock
        self._lock = LockWait(
            store=store,
            clock=clock,
            timeout_seconds=lock_timeout_seconds,
            on_lock_acquired=on_lock_acquired,
        )
        self._transaction = RefreshTransaction(
            store=store, clock=clock, presenter=presenter
        )

    async def recover(self) -> CrashRecoveryResult:
        """Recover from an interrupted refresh, if the lock is free.

        If it is not free, its holder is alive and completes its own refresh.
        """
        try:
            async with self._store.lock(0):
                return await self._transaction.recover()
        except (TimeoutError, StoreError, StoreUnavailable, LoginRequired):
            return CrashRecoveryResult()

    async def run(self, request: RefreshRequest) -> RefreshResult:
        """Return a credential other than the cached one, from the store or the authority.

        Raises:
            AuthorityFailure: the authority issued no credential, or was not called.
            LoginRequired, AccountChanged: the store holds no login, or another account.
            StoreUnavailable: the store cannot be read or locked; the message names the
                process that holds the lock.
        """
        try:
            async with self._lock.hold(stops_on_close=True):
                return await self._run_locked(request)
        except TimeoutError:
            # The holder may have stored a new credential and still hold the lock.
            stored = require_same_account(
                await self._load(request), request.account, self._store.name
            )
            newest = self._newest(stored, request)
            if newest == stored and stored != request.cached:
                return RefreshResult(stored, "adopted")
            raise StoreUnavailable(
                await lock_held_message(self._store), retry_after_seconds=1
            ) from None

    @property
    def has_unsaved(self) -> bool:
        """True while a credential is in memory only."""
        return self._transaction.has_unsaved

    async def retry_save(self) -> bool:
        """Try again to store what is in memory only; return True if it is stored."""
        with suppress(StoreError, StoreUnavailable, TimeoutError):
            async with self._lock.hold(stops_on_close=False):
                return await self._transaction.retry_save()
        return False

    async def adopt(self) -> Credential:
        """Return the login to adopt, stored. See `RefreshTransaction.adopt`."""
        async with self._lock.hold(stops_on_close=False):
            return await self._transaction.adopt()

    def sync(self, state: StoreState) -> None:
        """Copy the spent tokens of all processes from the store's state."""
        self._transaction.sync(state)

    @property
    def is_accepted(self) -> bool:
        """True if the upstream has accepted a credential since the last call."""
        return self._limiter.is_accepted

    def record_acceptance(self) -> None:
        """Record that the upstream has accepted the cached credential."""
        self._limiter.record_acceptance()

    def supersedes(
        self, cached: Credential, stored: Credential, *, is_refused: bool
    ) -> bool:
        """Return True if *cached* is newer than *stored*. See `RefreshTransaction`."""
        return self._transaction.supersedes(cached, stored, is_refused=is_refused)

    def record_replacement(self, before: Credential, after: Credential) -> None:
        """Record that another writer has replaced *before* in the store by *after*."""
        self._transaction.record_replacement(before, after)

    def record_stale_store(self, stored: Credential, cached: Credential) -> None:
        """Record that the store holds *stored*, which *cached* has to replace."""
        self._transaction.record_stale_store(stored, cached)

    def close(self) -> None:
        """Stop waiting for the lock. A refresh that holds the lock continues."""
        self._lock.close()

    async def _run_locked(self, request: RefreshRequest) -> RefreshResult:
        recovered = await self._transaction.recover(request.cached)
        state = await self._store.read_state()
        self._transaction.sync(state)
        # Another process may have pinned another account since, for example a sign-in.
        account = state.account or request.account
        request = replace(request, account=account)
        if recovered.unsaved is not None and recovered.unsaved != request.cached:
            unsaved = require_same_account(recovered.unsaved, account, self._store.name)
            return RefreshResult(unsaved, "adopted", unsaved=recovered.error)
        stored = require_same_account(
            await self._load(request), account, self._store.name
        )
        self._transaction.compare_with_stored(stored)
        newest = self._newest(stored, request)
        if self._is_usable(newest, request):
            return RefreshResult(newest, "adopted")
        attempt = RefreshAttempt(stored, newest)
        return await self._present(attempt, request, recovered.presented_at)

    async def _wait_for_lost_call(self, presented_at: float | None) -> None:
        """Wait until the authority has processed the call of a process that died.

        An authority that tolerates one reuse may not tolerate it during the first call.
        """
        if presented_at is not None:
            elapsed = max(0.0, self._clock.now() - presented_at)
            await self._clock.sleep(max(0.0, MAYBE_SPENT_SECONDS - elapsed))

    def _newest(self, stored: Credential, request: RefreshRequest) -> Credential:
        return self._transaction.newest(
            stored, request.cached, is_refused=request.is_refused
        )

    def _is_usable(self, newest: Credential, request: RefreshRequest) -> bool:
        """Return True if *newest* can replace the cached credential without a call."""
        cached = request.cached
        if cached is not None and newest.access_token == cached.access_token:
            return False
        return not newest.is_expired(self._clock.now() - request.skew_seconds)

    async def _present(
        self,
        attempt: RefreshAttempt,
        request: RefreshRequest,
        presented_at: float | None,
    ) -> RefreshResult:
        """Present a refresh token to the authority and store its successor.

        *presented_at* is when a process that died has presented it, or None.
        """
        presented = attempt.presented
        if not presented.refresh_token:
            raise AuthorityFailure("refused", NO_REFRESH_TOKEN, is_call=False)
        # The response to a spent token is known, and the call could revoke the whole token
        # family. If its presenter died, only the quarantine shows that it is spent.
        foreign = await self._store.quarantine.read("foreign")
        if foreign is not None and foreign.presented == attempt.stored.fingerprint:
            raise foreign_grant_error(foreign.credential, presented)
        if self._transaction.is_spent(presented):
            raise AuthorityFailure("refused", "reused", is_call=False)
        await self._limiter.acquire(presented, is_forced=request.is_forced)
        await self._wait_for_lost_call(presented_at)
        if not await self._transaction.begin(attempt) and request.can_wait:
            await self._limiter.refund()
            raise AuthorityFailure("undelivered", NO_JOURNAL, is_call=False)
        try:
            grant = await self._authority.refresh(presented.refresh_token)
        except AuthorityFailure as failure:
            return await self._handle_failure(failure, attempt, request)
        if grant.names_another_account(presented):
            return await self._quarantine(attempt, grant, request)
        return await self._commit(attempt, grant, request)

    async def _commit(
        self, attempt: RefreshAttempt, grant: Grant, request: RefreshRequest
    ) -> RefreshResult:
        """Store what the authority issued, unless the store holds a newer login."""
        successor = grant.applied_to(attempt.presented, self._clock.now())
        unsaved: StoreError | None = None
        conflicting: Credential | None = None
        try:
            conflicting = await self._transaction.commit(attempt, successor)
        except StoreError as error:
            unsaved = error
        finally:
            # Also after a sign-out: the file may come back, and its token is spent.
            await self._limiter.record_success(
                attempt.presented,
                is_rotated=successor.fingerprint != attempt.presented.fingerprint,
                was_rejected=request.is_rejected,
            )
        if conflicting is not None:
            account = request.account or Account.from_credential(attempt.presented)
            adopted = require_same_account(conflicting, account, self._store.name)
            return RefreshResult(adopted, "adopted")
        if grant.access_token is None:
            failure = AuthorityFailure("unclear", NO_ACCESS_TOKEN)
            raise await self._limiter.record_failure(successor, failure)
        return RefreshResult(successor, "renewed", unsaved, grant.issued_at)

    async def _quarantine(
        self, attempt: RefreshAttempt, grant: Grant, request: RefreshRequest
    ) -> RefreshResult:
        """Quarantine a grant for another account.

        Raises:
            AccountChanged: always; the presented token is spent.
        """
        foreign = grant.applied_to(attempt.presented, self._clock.now())
        with suppress(StoreError):  # the journal, or memory, still holds it
            await self._transaction.quarantine(attempt, foreign)
        await self._limiter.record_success(
            attempt.presented, is_rotated=True, was_rejected=request.is_rejected
        )
        raise foreign_grant_error(foreign, attempt.presented)

    async def _handle_failure(
        self,
        failure: AuthorityFailure,
        attempt: RefreshAttempt,
        request: RefreshRequest,
    ) -> RefreshResult:
        """End the transaction after *failure*; adopt a newer login if there is one.

        Raises:
            AuthorityFailure: *failure*, with the pause that follows it.
        """
        if failure.outcome != "unclear":  # the token is unspent, or refused permanently
            await self._transaction.abort(attempt)
        if failure.outcome != "refused":
            raise await self._limiter.record_failure(attempt.presented, failure)
        newer = await self._find_newer(attempt.presented, request, failure.reason)
        if newer is not None:
            return RefreshResult(newer, "adopted")
        await self._limiter.record_refusal(attempt.presented, failure.reason)
        raise failure

    async def _find_newer(
        self, presented: Credential, request: RefreshRequest, reason: str
    ) -> Credential | None:
        """Return the credential that another writer has stored since, or None.

        Only `reused` proves that another writer exists, so only then the store is read
        several times.

        Raises:
            AccountChanged: the store holds another account.
        """
        tries = NEWER_READ_TRIES if reason == "reused" else 1
        for remaining in reversed(range(tries)):
            with suppress(LoginRequired, StoreUnavailable):
                stored = require_same_account(
                    await self._store.load(), request.account, self._store.name
                )
                # While *presented* is unsaved, the store holds its spent predecessor.
                if stored != presented and not self._transaction.is_spent(stored):
                    return stored
            if remaining:
                await self._clock.sleep(NEWER_READ_INTERVAL_SECONDS)
        return None

    async def _load(self, request: RefreshRequest) -> Credential:
        """Return the stored credential; the cached one if the file is torn."""
        try:
            return await self._store.load()
        except LoginRequired as error:
            if error.reason != "unreadable" or request.cached is None:
                raise
            return request.cached


def foreign_grant_error(granted: Credential, presented: Credential) -> AccountChanged:
    """Return the error for a quarantined grant, which is for another account."""
    return AccountChanged(
        f"the authority issued a login for account {granted.account_id}, but this "
        f"profile belongs to {presented.account_id}; the new login is quarantined and "
        "not used: install it with `bearerd adopt`, or sign in to the old account with "
        "`bearerd login`"
    )
