"""Which credential of the store is cached; `test_store_problem` has what else it may be."""

from __future__ import annotations

import os

import pytest

from bearerd.credential.cached import CachedCredential
from bearerd.credential.conditions import RefreshProblem
from bearerd.credential.profile_facts import ProfileFacts
from bearerd.credential.store.account_pin import AccountPin
from bearerd.credential.store.file_store import FileStore
from bearerd.credential.store.state import StoreState
from bearerd.credential.store_loader import (
    LOAD_TRIES,
    TORN_TIMEOUT_SECONDS,
    StoreLoader,
)
from bearerd.credential.token import Credential
from bearerd.errors import AccountChanged, AuthorityUnavailable, LoginRequired
from bearerd.events import CredentialHeldInMemory, CredentialLoaded, CredentialSaved
from tests.credential.stand_ins import (
    Home,
    credential_for,
    login,
    refresh_token_of,
)

LAST_REFRESH = "2027-01-15T08:00:00Z"
FAILING = RefreshProblem(AuthorityUnavailable("502"))


class Bench:
    """A loader with the parts that it shares with others."""

    def __init__(self, home: Home, store: FileStore | None = None) -> None:
        self.home = home
        clock, self.store = home.clock.skipping, store or home.store()
        self.cached = CachedCredential(
            window_seconds=300.0, clock=clock, jitter=lambda: 0.0
        )
        self.facts = ProfileFacts(self.cached, clock, lambda *_: None)
        self.loader = StoreLoader(
            profile="default",
            store=self.store,
            pin=AccountPin(self.store),
            refresher=home.refresher(store=self.store),
            cached=self.cached,
            facts=self.facts,
            clock=clock,
            observe=home.events.append,
        )

    async def read(self, serial: str, last_refresh: str = LAST_REFRESH) -> str:
        """Write a login, load it; return the refresh token that is cached then."""
        self.home.write(login(serial, last_refresh=last_refresh))
        return (await self.loader.load_if_changed()).refresh_token


@pytest.fixture
def bench(home: Home) -> Bench:
    """A loader of a home without a login."""
    return Bench(home)


async def mark_spent(home: Home, *serials: str) -> None:
    """Note in the store's state that some process has spent these tokens."""
    spent = tuple(credential_for(serial).fingerprint for serial in serials)
    await home.store().write_state(StoreState(spent=spent))


@pytest.mark.parametrize(
    ("last_refresh", "spent", "cached"),
    [
        (LAST_REFRESH, (), "second"),
        ("2027-01-15T08:01:00Z", (), "second"),
        ("2026-01-15T08:00:00Z", (), "first"),
        (LAST_REFRESH, ("second",), "first"),
        ("2026-01-15T08:00:00Z", ("first",), "second"),
    ],
    ids=["other", "newer", "older", "spent", "older-than-a-spent-one"],
)
async def test_an_older_login_is_never_cached_over_a_newer_one(
    bench: Bench, last_refresh: str, spent: tuple[str, ...], cached: str
) -> None:
    """The newer one is then in memory only, which is emitted once."""
    await bench.read("first")
    await mark_spent(bench.home, *spent)
    assert await bench.read("second", last_refresh) == refresh_token_of(cached)
    await bench.loader.load()
    is_kept = cached == "first"
    assert bench.facts.is_unsaved is is_kept
    assert len(bench.home.events_of(CredentialHeldInMemory)) == is_kept
    assert len(bench.home.events_of(CredentialLoaded)) == 2 - is_kept
    await bench.loader.retry_save()
    assert bench.home.stored_refresh_token() == refresh_token_of(cached)
    assert len(bench.home.events_of(CredentialSaved)) == is_kept


async def test_a_check_caches_no_credential_and_handles_a_problem(
    bench: Bench,
) -> None:
    """Another account's file blocks; a file of ours is left to the next load."""
    await bench.read("first")
    bench.home.write(login("second"))
    assert await bench.loader.check() is None
    assert bench.cached.generation == 1
    bench.home.write(login("other", account="acct-2", user="user-2"))
    assert isinstance(await bench.loader.check(), AccountChanged)
    assert bench.facts.is_store_blocking


async def test_a_sign_out_at_the_second_read_drops_the_credential(
    bench: Bench,
) -> None:
    """And every later read raises."""
    await bench.read("first")
    bench.home.path.unlink()
    assert (await bench.loader.load()).refresh_token == refresh_token_of("first")
    for _ in range(2):
        with pytest.raises(LoginRequired):
            await bench.loader.load_if_changed()
        assert bench.cached.credential is None
    assert await bench.read("second") == refresh_token_of("second")
    assert bench.facts.store_problem is None


async def test_a_touched_file_requests_a_retry_of_a_failed_refresh(
    bench: Bench,
) -> None:
    """A read of an unchanged file does not, and neither does a healthy profile."""
    await bench.read("first")
    os.utime(bench.home.path)
    await bench.loader.load()
    requested = [bench.facts.is_retry_requested]
    bench.facts.record_refresh_problem(FAILING)
    await bench.loader.load()
    requested.append(bench.facts.is_retry_requested)
    os.utime(bench.home.path)
    await bench.loader.load()
    assert [*requested, bench.facts.is_retry_requested] == [False, False, True]


@pytest.mark.parametrize(
    ("seconds", "is_last", "is_marked"),
    [
        (TORN_TIMEOUT_SECONDS - 1, False, False),
        (TORN_TIMEOUT_SECONDS, False, True),
        (0.0, True, True),
    ],
)
async def test_a_file_that_stays_torn_is_written_over(
    bench: Bench, seconds: float, *, is_last: bool, is_marked: bool
) -> None:
    """After the timeout, or at the end; never at once, since a write may be under way."""
    await bench.read("first")
    bench.home.path.write_text("{")
    await bench.loader.load()
    bench.home.clock.advance(seconds)
    await bench.loader.retry_save(is_last=is_last)
    is_written = bench.home.path.read_text() != "{"
    assert is_written is is_marked


class RotatingStore(FileStore):
    """A store whose cached credential a refresh replaces during each of the first reads."""

    bench: Bench | None = None
    reads = 0

    async def load(self) -> Credential:
        """Read the file; meanwhile, a refresh caches another credential."""
        self.reads += 1
        found = await super().load()
        if self.bench is not None and self.reads < LOAD_TRIES:
            self.bench.cached.set(credential_for(f"refreshed-{self.reads}"))
        return found


async def test_a_result_that_a_refresh_has_overtaken_is_read_again(home: Home) -> None:
    """The number of reads is bounded."""
    store = RotatingStore(home.path, clock=home.clock.skipping)
    bench = store.bench = Bench(home, store)
    assert await bench.read("first") == refresh_token_of("first")
    assert store.reads == LOAD_TRIES
