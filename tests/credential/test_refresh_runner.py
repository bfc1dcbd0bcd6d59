"""The refresh in progress: what each end of it records, emits and tells the caller."""

from __future__ import annotations

import asyncio

import pytest

from bearerd.credential.authority.errors import AuthorityFailure
from bearerd.credential.cached import CachedCredential
from bearerd.credential.conditions import RefreshProblem
from bearerd.credential.profile_facts import ProfileFacts
from bearerd.credential.refresh.limiter import RefreshLimiter
from bearerd.credential.refresh.refresher import Refresher
from bearerd.credential.refresh.request import RefreshRequest, RefreshResult
from bearerd.credential.refresh.token_bucket import TokenBucket
from bearerd.credential.refresh_runner import RefreshRunner
from bearerd.credential.store.account_pin import AccountPin
from bearerd.credential.store.file_store import FileStore
from bearerd.credential.store.journal import this_process
from bearerd.credential.store_loader import StoreLoader
from bearerd.credential.token import Credential
from bearerd.errors import (
    AccountChanged,
    AuthorityUnavailable,
    BearerdError,
    LoginRequired,
    RefreshThrottled,
    StoreError,
    StoreUnavailable,
)
from bearerd.events import (
    CredentialHeldInMemory,
    CredentialLoaded,
    CredentialRefreshed,
    RefreshFailed,
)
from tests.credential.stand_ins import (
    ENDPOINT,
    START,
    Home,
    credential_for,
    login,
    soon,
)

WAIT_SECONDS = 30.0
FIRST, SECOND = credential_for("first"), credential_for("second")


class ScriptedRefresher(Refresher):
    """A refresher with one result or error, which it gives when the gate is open."""

    def __init__(self, home: Home, store: FileStore) -> None:
        clock = home.clock.skipping
        super().__init__(
            store=store,
            authority=home.authority,
            limiter=RefreshLimiter(
                store=store,
                bucket=TokenBucket(5, 30.0),
                clock=clock,
                jitter=lambda: 0.0,
                endpoint=ENDPOINT,
            ),
            clock=clock,
            lock_timeout_seconds=1.0,
            on_lock_acquired=lambda _: None,
            presenter=this_process(),
        )
        self.result: RefreshResult | BaseException = RefreshResult(SECOND, "renewed")
        self.requests: list[RefreshRequest] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def run(self, request: RefreshRequest) -> RefreshResult:
        """Wait for the gate, and give the result."""
        self.requests.append(request)
        await self.gate.wait()
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result


class Bench:
    """A runner with the parts that it shares with others, and a cached credential."""

    def __init__(self, home: Home) -> None:
        self.home = home
        home.write(login("first"))
        clock, store = home.clock.skipping, home.store()
        self.refresher = ScriptedRefresher(home, store)
        self.cached = CachedCredential(
            window_seconds=300.0, clock=clock, jitter=lambda: 0.0
        )
        self.first = self.cached.set(FIRST)
        self.facts = ProfileFacts(self.cached, clock, lambda *_: None)
        pin = AccountPin(store)
        self.runner = RefreshRunner(
            profile="default",
            refresher=self.refresher,
            pin=pin,
            cached=self.cached,
            facts=self.facts,
            loader=StoreLoader(
                profile="default",
                store=store,
                pin=pin,
                refresher=self.refresher,
                cached=self.cached,
                facts=self.facts,
                clock=clock,
                observe=home.events.append,
            ),
            clock=clock,
            observe=home.events.append,
            wait_timeout_seconds=WAIT_SECONDS,
        )

    async def run(self, result: RefreshResult | BaseException) -> Credential:
        """Run one refresh that ends like this."""
        self.refresher.result = result
        return await soon(self.runner.wait(self.first, "refused"))


@pytest.fixture
async def bench(home: Home) -> Bench:
    """A runner, and what it shares."""
    return Bench(home)


# What each error of a refresh becomes.


@pytest.mark.parametrize(
    ("raised", "expected", "is_final", "retry_at"),
    [
        (
            AuthorityFailure("unclear", "http_502", retry_after_seconds=9.0),
            AuthorityUnavailable,
            False,
            START + 9,
        ),
        (
            AuthorityFailure("undelivered", "no_route"),
            AuthorityUnavailable,
            False,
            None,
        ),
        (AuthorityFailure("refused", "revoked"), LoginRequired, True, None),
        (
            AuthorityFailure("throttled", "budget", retry_after_seconds=30.0),
            RefreshThrottled,
            False,
            START + 30,
        ),
        (StoreUnavailable("the lock is held"), StoreUnavailable, False, None),
        (AccountChanged("a foreign grant"), AccountChanged, True, None),
        (RuntimeError("a defect"), AuthorityUnavailable, False, None),
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_an_error_is_recorded_emitted_and_raised(
    bench: Bench,
    raised: Exception,
    expected: type[BearerdError],
    retry_at: float | None,
    *,
    is_final: bool,
) -> None:
    """The cached credential stays, and the same error again is marked as repeated."""
    for _ in range(2):
        with pytest.raises(expected):
            await bench.run(raised)
    problem = bench.facts.refresh_problem
    assert problem is not None
    assert type(problem.error) is expected
    assert (problem.is_final, problem.retry_at) == (is_final, retry_at)
    failed = bench.home.events_of(RefreshFailed)
    assert [event.is_repeated for event in failed] == [False, True]
    assert bench.runner.last_failure == (failed[0].outcome, failed[0].reason)
    assert bench.cached.credential == bench.first


async def test_a_store_without_a_login_is_a_problem_of_the_store(bench: Bench) -> None:
    """It is tolerated once, as a read is; the second one is a sign-out."""
    for cached in (bench.first, None):
        with pytest.raises(LoginRequired):
            await bench.run(LoginRequired("no file", reason="missing"))
        assert bench.cached.credential == cached
    assert bench.facts.refresh_problem is None
    assert bench.facts.is_store_blocking


# Publication.


@pytest.mark.parametrize(
    ("result", "loaded", "held"),
    [
        (RefreshResult(SECOND, "renewed"), 0, 0),
        (RefreshResult(SECOND, "adopted"), 1, 0),
        (RefreshResult(SECOND, "renewed", unsaved=StoreError("a full disk")), 0, 1),
        (RefreshResult(SECOND, "adopted", unsaved=StoreError("a full disk")), 1, 1),
    ],
    ids=["renewed", "adopted", "renewed-unsaved", "adopted-unsaved"],
)
async def test_a_result_is_cached_and_ends_the_problem(
    bench: Bench, result: RefreshResult, loaded: int, held: int
) -> None:
    """It is the next generation, and one event tells it."""
    bench.facts.record_refresh_problem(RefreshProblem(AuthorityUnavailable("502")))
    found = await bench.run(result)
    assert (found, found.generation) == (bench.cached.credential, 2)
    assert bench.facts.refresh_problem is None
    assert bench.facts.is_unsaved is bool(held)
    assert len(bench.home.events_of(CredentialLoaded)) == loaded
    assert len(bench.home.events_of(CredentialHeldInMemory)) == held
    (event,) = bench.home.events_of(CredentialRefreshed)
    assert (event.outcome, event.trigger) == (result.outcome, "refused")
    renewed_at = START if result.outcome == "renewed" else None
    assert bench.runner.last_refreshed_at == renewed_at


# Callers.


async def test_a_request_says_what_started_it(bench: Bench) -> None:
    """A requested retry is used up by the first refresh."""
    bench.facts.request_retry()
    for _ in range(2):
        with pytest.raises(AuthorityUnavailable):
            await bench.run(AuthorityFailure("unclear", "http_502"))
    forced = [request.is_forced for request in bench.refresher.requests]
    assert forced == [True, False]
    assert all(request.is_rejected for request in bench.refresher.requests)
    assert not any(request.can_wait for request in bench.refresher.requests)


async def test_a_caller_whose_credential_was_the_result_starts_another(
    bench: Bench,
) -> None:
    """The one that it joined had started before the rejection."""
    rejected = bench.cached.set(SECOND)
    bench.refresher.result = RefreshResult(SECOND, "renewed")
    await soon(bench.runner.wait(rejected, "refused"))
    assert len(bench.refresher.requests) == 2


async def test_a_cancelled_caller_leaves_the_refresh_running(bench: Bench) -> None:
    """Its result is cached for the next one."""
    bench.refresher.gate.clear()
    waiting = asyncio.create_task(bench.run(RefreshResult(SECOND, "renewed")))
    while not bench.refresher.requests:  # noqa: ASYNC110 - it has no event
        await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert bench.runner.is_refreshing
    bench.refresher.gate.set()
    await soon(bench.runner.wait_idle())
    assert bench.cached.credential == SECOND
