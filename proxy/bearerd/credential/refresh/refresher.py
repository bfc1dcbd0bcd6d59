"""One refresh, from the lock to the store: the only place where a token is spent.

The order never changes: lock, finish what was left, read again, draw on the budget,
journal, refresh, journal, replace. What stands in the store under the lock decides; what
this process held before is only compared with it. So a caller that comes late finds the
work done, and one that takes over finds what its predecessor had come to.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

from bearerd.clock import Clock
from bearerd.credential.authority.errors import AuthorityFailure
from bearerd.credential.authority.refresh_grant import Authority
from bearerd.credential.refresh.backoff import Backoff
from bearerd.credential.refresh.limiter import RefreshLimiter
from bearerd.credential.refresh.token_bucket import TokenBucket
from bearerd.credential.refresh.transaction import RecoveryResult, RefreshTransaction
from bearerd.credential.store.account_pin import require_same_account
from bearerd.credential.store.journal import Presenter
from bearerd.credential.store.state import Account
from bearerd.credential.store.store import Store
from bearerd.credential.token import Credential
from bearerd.errors import LoginRequired, StoreError
from bearerd.events import RefreshOutcome

WINNER_WAIT_SECONDS = 0.1
WINNER_LOOKS = 10
"""After `refresh_token_reused` the winner's write may still be on its way: 1 s."""

LOCK_STEP_SECONDS = 1.0
"""How soon a wait for the lock notices that we close."""


@dataclass(frozen=True, slots=True)
class RefreshResult:
    """A credential that replaces the one refused. `unsaved` says why it is not stored.

    `outcome` is `renewed` when the authority gave it, `adopted` when the store had it.
    """

    credential: Credential
    outcome: RefreshOutcome
    unsaved: StoreError | None = None


@dataclass(frozen=True, slots=True)
class RefreshRequest:
    """What a refresh is asked for.

    `can_wait`: what is held is still good, so nothing is spent that could not be noted
    first. `skew_seconds` is how far our clock runs ahead of the authority's.
    """

    held: Credential | None
    account: Account
    can_wait: bool = False
    skew_seconds: float = 0.0


class Refresher:
    """Refreshes one profile's credential. *waited* is told how long the lock took."""

    def __init__(
        self,
        *,
        store: Store,
        authority: Authority,
        bucket: TokenBucket,
        backoff: Backoff,
        clock: Clock,
        lock_timeout_seconds: float,
        waited: Callable[[float], None],
        presenter: Presenter,
    ) -> None:
        self._store = store
        self._authority = authority
        self._clock = clock
        self._lock_timeout_seconds = lock_timeout_seconds
        self._waited = waited
        self._is_closing = False
        self._limiter = RefreshLimiter(
            store=store, bucket=bucket, backoff=backoff, clock=clock
        )
        self._transaction = RefreshTransaction(
            store=store, clock=clock, presenter=presenter
        )

    async def recover(self) -> RecoveryResult:
        """Finish what a process that died left in the journal, if the lock is free."""
        try:
            async with self._store.lock(0):
                return await self._transaction.recover()
        except (TimeoutError, StoreError, LoginRequired):
            return (
                RecoveryResult()
            )  # its holder lives and will finish; or nothing is here

    async def run(self, asked: RefreshRequest) -> RefreshResult:
        """Return a credential other than the one held, from the store or the authority.

        Raises:
            AuthorityFailure: no new credential; its outcome says why.
            LoginRequired, AccountChanged: the store holds nothing, or another account.
            StoreError: there is no place for the lock.
        """
        try:
            async with self._lock(is_patient=False):
                return await self._under_lock(asked)
        except TimeoutError:
            # The holder may have done the work without letting go yet.
            stored = await self._load(asked.account)
            if stored != asked.held:
                return RefreshResult(stored, "adopted")
            raise AuthorityFailure(
                "undelivered", "lock_held", retry_after_seconds=1
            ) from None

    @property
    def has_unsaved(self) -> bool:
        """Say whether the newest credential lives in memory only."""
        return self._transaction.has_unsaved

    async def retry_save(self) -> bool:
        """Try once more to store what lives in memory only; say whether it is stored."""
        with suppress(StoreError, TimeoutError):
            async with self._lock():
                return await self._transaction.retry_save()
        return False

    def is_superseded(self, stored: Credential) -> bool:
        """Say whether we ourselves have gone on from it: a store that is behind."""
        return self._transaction.is_superseded(stored)

    def keep_over_stale(self, stored: Credential, held: Credential) -> None:
        """Note that the store has an older login again; *held* is saved over it."""
        self._transaction.keep_over_stale(stored, held)

    def close(self) -> None:
        """Wait for nobody's lock any more; what has the lock goes on."""
        self._is_closing = True

    async def _under_lock(self, asked: RefreshRequest) -> RefreshResult:
        finished = await self._transaction.recover()
        if finished.unsaved is not None and finished.unsaved != asked.held:
            unsaved = require_same_account(
                finished.unsaved, asked.account, self._store.name
            )
            return RefreshResult(unsaved, "adopted", unsaved=finished.error)
        stored = await self._load(asked.account)
        current = self._transaction.current_over(stored, asked.held)
        held = asked.held
        is_other = held is None or current.access_token != held.access_token
        now = self._clock.now() - asked.skew_seconds
        if is_other and not current.is_expired(now):
            return RefreshResult(current, "adopted")
        return await self._spend(stored, current, asked)

    async def _spend(
        self, stored: Credential, current: Credential, asked: RefreshRequest
    ) -> RefreshResult:
        """Refresh *current* over *stored*, which differ only while unsaved."""
        if not current.refresh_token:
            raise AuthorityFailure("refused", "other")
        if self._transaction.is_spent(current):
            raise AuthorityFailure("refused", "reused")  # no need to ask
        self._limiter.acquire(current)
        if not await self._transaction.begin(stored, current) and asked.can_wait:
            self._limiter.refund()
            raise AuthorityFailure("undelivered", "no_journal")
        try:
            grant = await self._authority.refresh(current.refresh_token)
            if grant.names_another_account(current):
                raise AuthorityFailure("unclear", "other_account")  # noqa: TRY301
        except AuthorityFailure as failure:
            return await self._failed(failure, stored, current, asked.account)
        self._limiter.record_success()
        renewed = grant.applied_to(current, self._clock.now())
        try:
            winner = await self._transaction.commit(stored, current, renewed)
        except StoreError as error:
            return RefreshResult(renewed, "renewed", unsaved=error)
        if winner is not None:
            return RefreshResult(
                require_same_account(winner, asked.account, self._store.name), "adopted"
            )
        if grant.access_token is None:
            raise AuthorityFailure("unclear", "no_access_token")
        return RefreshResult(renewed, "renewed")

    async def _failed(
        self,
        failure: AuthorityFailure,
        stored: Credential,
        current: Credential,
        account: Account,
    ) -> RefreshResult:
        if failure.outcome != "unclear":
            await self._transaction.abort(stored, current)  # unspent, or spent for good
        if failure.outcome != "refused":
            raise self._limiter.record_failure(current, failure)
        winner = await self._look_again(current, account, failure.reason)
        if winner is not None:
            return RefreshResult(winner, "adopted")
        self._limiter.record_refusal(current, failure.reason)
        raise failure

    async def _look_again(
        self, spent: Credential, account: Account, reason: str
    ) -> Credential | None:
        """Return what another writer has stored since, or None.

        Only a reuse proves that there is a winner; for it alone we wait.

        Raises:
            AccountChanged: it is somebody else's.
        """
        for remaining in reversed(range(WINNER_LOOKS if reason == "reused" else 1)):
            with suppress(LoginRequired):
                stored = await self._load(account)
                # A store that is behind, as nothing could be saved, is no winner.
                if stored != spent and not self._transaction.is_spent(stored):
                    return stored
            if remaining:
                await self._clock.sleep(WINNER_WAIT_SECONDS)
        return None

    async def _load(self, account: Account) -> Credential:
        return require_same_account(await self._store.load(), account, self._store.name)

    @asynccontextmanager
    async def _lock(self, *, is_patient: bool = True) -> AsyncIterator[None]:
        """Hold the store's lock. Who *is_patient* waits for it while we close, too."""
        began = self._clock.monotonic()
        remaining = self._lock_timeout_seconds
        async with AsyncExitStack() as held:
            while True:
                step = max(0.0, min(LOCK_STEP_SECONDS, remaining))
                try:
                    await held.enter_async_context(self._store.lock(step))
                    break
                except TimeoutError:
                    waited = self._clock.monotonic() - began
                    remaining = self._lock_timeout_seconds - waited
                    if remaining <= 0 or (self._is_closing and not is_patient):
                        raise
            self._waited(self._clock.monotonic() - began)
            yield
