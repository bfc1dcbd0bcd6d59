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
from bearerd.credential.authority.refresh_grant import Authority, AuthorityFailure
from bearerd.credential.refresh.backoff import Backoff
from bearerd.credential.refresh.limiter import Allowance
from bearerd.credential.refresh.token_bucket import Budget
from bearerd.credential.refresh.transaction import Custody, Finished
from bearerd.credential.store.account_pin import guarded
from bearerd.credential.store.journal import Spender
from bearerd.credential.store.state import Owner
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
class Renewed:
    """A credential that replaces the one refused. `unsaved` says why it is not stored.

    `outcome` is `renewed` when the authority gave it, `adopted` when the store had it.
    """

    credential: Credential
    outcome: RefreshOutcome
    unsaved: StoreError | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What a refresh is asked for.

    `can_wait`: what is held is still good, so nothing is spent that could not be noted
    first. `skew_seconds` is how far our clock runs ahead of the authority's.
    """

    held: Credential | None
    owner: Owner
    can_wait: bool = False
    skew_seconds: float = 0.0


class Renewal:
    """Refreshes one profile's credential. *waited* is told how long the lock took."""

    def __init__(
        self,
        *,
        store: Store,
        authority: Authority,
        budget: Budget,
        backoff: Backoff,
        clock: Clock,
        lock_timeout_seconds: float,
        waited: Callable[[float], None],
        spender: Spender,
    ) -> None:
        self._store = store
        self._authority = authority
        self._clock = clock
        self._lock_timeout_seconds = lock_timeout_seconds
        self._waited = waited
        self._is_closing = False
        self._allowance = Allowance(
            store=store, budget=budget, backoff=backoff, clock=clock
        )
        self._custody = Custody(store=store, clock=clock, spender=spender)

    async def recover(self) -> Finished:
        """Finish what a process that died left in the journal, if the lock is free."""
        try:
            async with self._store.lock(0):
                return await self._custody.finish()
        except (TimeoutError, StoreError, LoginRequired):
            return Finished()  # its holder lives and will finish; or nothing is here

    async def run(self, asked: Asked) -> Renewed:
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
            stored = await self._load(asked.owner)
            if stored != asked.held:
                return Renewed(stored, "adopted")
            raise AuthorityFailure(
                "undelivered", "lock_held", retry_after_seconds=1
            ) from None

    @property
    def has_unsaved(self) -> bool:
        """Say whether the newest credential lives in memory only."""
        return self._custody.has_unsaved

    async def save_again(self) -> bool:
        """Try once more to store what lives in memory only; say whether it is stored."""
        with suppress(StoreError, TimeoutError):
            async with self._lock():
                return await self._custody.save_again()
        return False

    def is_superseded(self, stored: Credential) -> bool:
        """Say whether we ourselves have gone on from it: a store that is behind."""
        return self._custody.is_superseded(stored)

    def is_behind(self, stored: Credential, held: Credential) -> None:
        """Note that the store has an older login again; *held* is saved over it."""
        self._custody.is_behind(stored, held)

    def close(self) -> None:
        """Wait for nobody's lock any more; what has the lock goes on."""
        self._is_closing = True

    async def _under_lock(self, asked: Asked) -> Renewed:
        finished = await self._custody.finish()
        if finished.unsaved is not None and finished.unsaved != asked.held:
            unsaved = guarded(finished.unsaved, asked.owner, self._store.name)
            return Renewed(unsaved, "adopted", unsaved=finished.error)
        stored = await self._load(asked.owner)
        current = self._custody.newest(stored, asked.held)
        held = asked.held
        is_other = held is None or current.access_token != held.access_token
        now = self._clock.now() - asked.skew_seconds
        if is_other and not current.is_expired(now):
            return Renewed(current, "adopted")
        return await self._spend(stored, current, asked)

    async def _spend(
        self, stored: Credential, current: Credential, asked: Asked
    ) -> Renewed:
        """Refresh *current* over *stored*, which differ only while unsaved."""
        if not current.refresh_token:
            raise AuthorityFailure("refused", "other")
        if self._custody.is_spent(current):
            raise AuthorityFailure("refused", "reused")  # no need to ask
        self._allowance.draw(current)
        if not await self._custody.intend(stored, current) and asked.can_wait:
            self._allowance.give_back()
            raise AuthorityFailure("undelivered", "no_journal")
        try:
            grant = await self._authority.refresh(current.refresh_token)
            if grant.names_another_account(current):
                raise AuthorityFailure("unclear", "other_account")  # noqa: TRY301
        except AuthorityFailure as failure:
            return await self._failed(failure, stored, current, asked.owner)
        self._allowance.succeeded()
        renewed = grant.applied_to(current, self._clock.now())
        try:
            winner = await self._custody.keep(stored, current, renewed)
        except StoreError as error:
            return Renewed(renewed, "renewed", unsaved=error)
        if winner is not None:
            return Renewed(guarded(winner, asked.owner, self._store.name), "adopted")
        if grant.access_token is None:
            raise AuthorityFailure("unclear", "no_access_token")
        return Renewed(renewed, "renewed")

    async def _failed(
        self,
        failure: AuthorityFailure,
        stored: Credential,
        current: Credential,
        owner: Owner,
    ) -> Renewed:
        if failure.outcome != "unclear":
            await self._custody.settled(stored, current)  # unspent, or spent for good
        if failure.outcome != "refused":
            raise self._allowance.failed(current, failure)
        winner = await self._look_again(current, owner, failure.reason)
        if winner is not None:
            return Renewed(winner, "adopted")
        self._allowance.refused(current, failure.reason)
        raise failure

    async def _look_again(
        self, spent: Credential, owner: Owner, reason: str
    ) -> Credential | None:
        """Return what another writer has stored since, or None.

        Only a reuse proves that there is a winner; for it alone we wait.

        Raises:
            AccountChanged: it is somebody else's.
        """
        for remaining in reversed(range(WINNER_LOOKS if reason == "reused" else 1)):
            with suppress(LoginRequired):
                stored = await self._load(owner)
                # A store that is behind, as nothing could be saved, is no winner.
                if stored != spent and not self._custody.is_spent(stored):
                    return stored
            if remaining:
                await self._clock.sleep(WINNER_WAIT_SECONDS)
        return None

    async def _load(self, owner: Owner) -> Credential:
        return guarded(await self._store.load(), owner, self._store.name)

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
