"""One refresh, from the lock to the store: the only place where a token is presented.

The order never changes:

    lock, recover, read the store, ask the limiter, begin, present, commit

What the store holds under the lock decides; what this process held before is only
compared with it. So a caller that comes late finds the work done, and a process that
takes over finds what its predecessor has left.

How long a caller waits and how long a call may take are two times. A caller's patience
is the source's affair; a refresh that has begun goes on, under the lock, until the
authority's response is stored or the connection is dead.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from bearerd.clock import Clock
from bearerd.credential.authority.errors import AuthorityFailure
from bearerd.credential.authority.refresh_grant import Authority, Grant
from bearerd.credential.refresh.backoff import MAYBE_SPENT_SECONDS
from bearerd.credential.refresh.crash_recovery import RecoveryResult
from bearerd.credential.refresh.limiter import RefreshLimiter
from bearerd.credential.refresh.lock_wait import LockWait
from bearerd.credential.refresh.request import RefreshRequest, RefreshResult
from bearerd.credential.refresh.transaction import RefreshAttempt, RefreshTransaction
from bearerd.credential.store.account_pin import require_same_account
from bearerd.credential.store.install import lock_held_message
from bearerd.credential.store.journal import Presenter
from bearerd.credential.store.state import Account, StoreState
from bearerd.credential.store.store import Store
from bearerd.credential.token import Credential
from bearerd.errors import (
    AccountChanged,
    LoginRequired,
    StoreError,
    StoreUnavailable,
)

WINNER_WAIT_SECONDS = 0.1
WINNER_READS = 10
"""After `refresh_token_reused` another program has a newer login, and may still be
writing it. The store is read for one second."""


class Refresher:
    """Refreshes the credential of one profile.

    *waited* is called with the seconds that each wait for the lock took.
    """

    def __init__(
        self,
        *,
        store: Store,
        authority: Authority,
        limiter: RefreshLimiter,
        clock: Clock,
        lock_timeout_seconds: float,
        waited: Callable[[float], None],
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
            waited=waited,
        )
        self._transaction = RefreshTransaction(
            store=store, clock=clock, presenter=presenter
        )

    async def recover(self) -> RecoveryResult:
        """Finish what a process that died has left open, if the lock is free.

        If it is not, its holder is alive and finishes its own work.
        """
        try:
            async with self._store.lock(0):
                return await self._transaction.recover()
        except (TimeoutError, StoreError, StoreUnavailable, LoginRequired):
            return RecoveryResult()

    async def run(self, request: RefreshRequest) -> RefreshResult:
        """Return a credential other than the one held, from the store or the authority.

        Raises:
            AuthorityFailure: there is no new credential; its outcome is the reason.
            LoginRequired, AccountChanged: the store holds nothing, or another account.
            StoreUnavailable: the store cannot be read or locked; the message names the
                process that holds the lock.
        """
        try:
            async with self._lock.hold(gives_up_on_close=True):
                return await self._run_locked(request)
        except TimeoutError:
            # The holder may have stored a new credential without releasing the lock yet.
            stored = require_same_account(
                await self._load(request), request.account, self._store.name
            )
            newest = self._newest(stored, request)
            if newest == stored and stored != request.held:
                return RefreshResult(stored, "adopted")
            raise StoreUnavailable(
                await lock_held_message(self._store), retry_after_seconds=1
            ) from None

    @property
    def has_unsaved(self) -> bool:
        """True while the newest credential lives in memory only."""
        return self._transaction.has_unsaved

    async def retry_save(self) -> bool:
        """Try again to store what lives in memory only; return True if it is stored."""
        with suppress(StoreError, StoreUnavailable, TimeoutError):
            async with self._lock.hold(gives_up_on_close=False):
                return await self._transaction.retry_save()
        return False

    async def adopt(self) -> Credential:
        """Return the login that a person chose; see `RefreshTransaction.adopt`."""
        async with self._lock.hold(gives_up_on_close=False):
            return await self._transaction.adopt()

    def sync(self, state: StoreState) -> None:
        """Take over what other processes know of spent tokens."""
        self._transaction.sync(state)

    def note_accepted(self) -> None:
        """Note that the upstream has accepted the credential held."""
        self._limiter.note_accepted()

    def supersedes(
        self, held: Credential, stored: Credential, *, is_refused: bool
    ) -> bool:
        """Return True if *held* is kept over *stored*: see `RefreshTransaction`."""
        return self._transaction.supersedes(held, stored, is_refused=is_refused)

    def note_displaced(self, before: Credential, after: Credential) -> None:
        """Note that another writer has replaced *before* in the store by *after*."""
        self._transaction.note_displaced(before, after)

    def keep_over_stale(self, stored: Credential, held: Credential) -> None:
        """Record that the store is behind at *stored*; *held* is saved over it."""
        self._transaction.keep_over_stale(stored, held)

    def close(self) -> None:
        """Stop waiting for the lock. A refresh that holds the lock goes on."""
        self._lock.close()

    async def _run_locked(self, request: RefreshRequest) -> RefreshResult:
        recovered = await self._transaction.recover(request.held)
        state = await self._store.read_state()
        self._transaction.sync(state)
        # Another process, or a sign-in, may have pinned another account meanwhile.
        account = state.account or request.account
        request = replace(request, account=account)
        if recovered.unsaved is not None and recovered.unsaved != request.held:
            unsaved = require_same_account(recovered.unsaved, account, self._store.name)
            return RefreshResult(unsaved, "adopted", unsaved=recovered.error)
        stored = require_same_account(
            await self._load(request), account, self._store.name
        )
        self._transaction.settle(stored)
        newest = self._newest(stored, request)
        if self._is_usable(newest, request):
            return RefreshResult(newest, "adopted")
        await self._wait_for_lost_call(recovered.presented_at)
        return await self._present(RefreshAttempt(stored, newest), request)

    async def _wait_for_lost_call(self, presented_at: float | None) -> None:
        """Let the call of a process that died come to its end at the authority.

        To present its token meanwhile would be a reuse even where one is tolerated after
        the first call has ended.
        """
        if presented_at is not None:
            past = max(0.0, self._clock.now() - presented_at)
            await self._clock.sleep(max(0.0, MAYBE_SPENT_SECONDS - past))

    def _newest(self, stored: Credential, request: RefreshRequest) -> Credential:
        return self._transaction.newest(
            stored, request.held, is_refused=request.is_refused
        )

    def _is_usable(self, newest: Credential, request: RefreshRequest) -> bool:
        """Return True if *newest* can replace the credential held without a call."""
        held = request.held
        if held is not None and newest.access_token == held.access_token:
            return False
        return not newest.is_expired(self._clock.now() - request.skew_seconds)

    async def _present(
        self, attempt: RefreshAttempt, request: RefreshRequest
    ) -> RefreshResult:
        """Present a refresh token at the authority, and store its successor."""
        presented = attempt.presented
        if not presented.refresh_token:
            raise AuthorityFailure("refused", "no_refresh_token", is_call=False)
        # What the authority would answer to a spent token is known, and to ask may end the
        # login's family. The quarantine alone may tell: its writer may have died since.
        kept = await self._store.quarantine.read("foreign")
        if kept is not None and kept.presented == attempt.stored.fingerprint:
            raise foreign_grant(kept.credential, presented)
        if self._transaction.is_spent(presented):
            raise AuthorityFailure("refused", "reused", is_call=False)
        await self._limiter.acquire(presented, is_forced=request.is_forced)
        if not await self._transaction.begin(attempt) and request.can_wait:
            await self._limiter.refund()
            raise AuthorityFailure("undelivered", "no_journal", is_call=False)
        try:
            grant = await self._authority.refresh(presented.refresh_token)
        except AuthorityFailure as failure:
            return await self._end_without_grant(failure, attempt, request)
        if grant.names_another_account(presented):
            return await self._quarantine(attempt, grant, request)
        return await self._commit(attempt, grant, request)

    async def _commit(
        self, attempt: RefreshAttempt, grant: Grant, request: RefreshRequest
    ) -> RefreshResult:
        """Store what the authority issued; a login stored meanwhile wins over it."""
        successor = grant.applied_to(attempt.presented, self._clock.now())
        unsaved: StoreError | None = None
        winner: Credential | None = None
        try:
            winner = await self._transaction.commit(attempt, successor)
        except StoreError as error:
            unsaved = error
        await self._limiter.record_success(
            attempt.presented,
            is_rotated=successor.fingerprint != attempt.presented.fingerprint,
            was_rejected=request.is_rejected,
        )
        if winner is not None:
            account = request.account or Account.of(attempt.presented)
            adopted = require_same_account(winner, account, self._store.name)
            return RefreshResult(adopted, "adopted")
        if grant.access_token is None:
            failure = AuthorityFailure("unclear", "no_access_token")
            raise await self._limiter.record_failure(successor, failure)
        return RefreshResult(successor, "renewed", unsaved, grant.issued_at)

    async def _quarantine(
        self, attempt: RefreshAttempt, grant: Grant, request: RefreshRequest
    ) -> RefreshResult:
        """Keep a grant for another account.

        Raises:
            AccountChanged: always; the presented token is spent.
        """
        foreign = grant.applied_to(attempt.presented, self._clock.now())
        with suppress(StoreError):  # then the journal keeps it
            await self._transaction.quarantine(attempt, foreign)
        await self._limiter.record_success(
            attempt.presented, is_rotated=True, was_rejected=request.is_rejected
        )
        raise foreign_grant(foreign, attempt.presented)

    async def _end_without_grant(
        self,
        failure: AuthorityFailure,
        attempt: RefreshAttempt,
        request: RefreshRequest,
    ) -> RefreshResult:
        """Close the transaction after *failure*; return what another writer stored.

        Raises:
            AuthorityFailure: *failure*, with the time to wait.
        """
        if failure.outcome != "unclear":  # unspent, or refused for good
            await self._transaction.abort(attempt)
        if failure.outcome != "refused":
            raise await self._limiter.record_failure(attempt.presented, failure)
        winner = await self._find_winner(attempt.presented, request, failure.reason)
        if winner is not None:
            return RefreshResult(winner, "adopted")
        await self._limiter.record_refusal(attempt.presented, failure.reason)
        raise failure

    async def _find_winner(
        self, presented: Credential, request: RefreshRequest, reason: str
    ) -> Credential | None:
        """Return the credential that another writer has stored since, or None.

        Only a reuse proves that there is such a writer; only then is it waited for.

        Raises:
            AccountChanged: the store holds another account.
        """
        for remaining in reversed(range(WINNER_READS if reason == "reused" else 1)):
            with suppress(LoginRequired, StoreUnavailable):
                stored = require_same_account(
                    await self._store.load(), request.account, self._store.name
                )
                # A store that is behind, because nothing could be saved, is no winner.
                if stored != presented and not self._transaction.is_spent(stored):
                    return stored
            if remaining:
                await self._clock.sleep(WINNER_WAIT_SECONDS)
        return None

    async def _load(self, request: RefreshRequest) -> Credential:
        """Return what the store holds; in front of a torn file, what is held."""
        try:
            return await self._store.load()
        except LoginRequired as absence:
            if absence.reason != "unreadable" or request.held is None:
                raise
            return request.held


def foreign_grant(granted: Credential, presented: Credential) -> AccountChanged:
    """Return the error for a grant that is kept, because it is for another account."""
    return AccountChanged(
        f"the authority issued a login for account {granted.account_id}, but this "
        f"profile belongs to {presented.account_id}; the new login is kept and not used: "
        "take it up with `bearerd adopt`, or sign in to the old account with `bearerd "
        "login`"
    )
