"""The owner of the credential: which one is sent, and what it costs at the authority."""

from __future__ import annotations

import asyncio
import json
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
from typing import Any

import pytest

from bearerd.clock import Clock
from bearerd.credential.authority.errors import AuthorityFailure
from bearerd.credential.authority.refresh_grant import Grant
from bearerd.credential.conditions import StateKind
from bearerd.credential.refresh.backoff import MAYBE_SPENT_SECONDS
from bearerd.credential.refresh.limits import REJECTIONS_ALLOWED
from bearerd.credential.refresh.token_bucket import TokenBucket
from bearerd.credential.source import CredentialSource
from bearerd.credential.store.file_store import FileStore
from bearerd.credential.store.state import StoreState
from bearerd.credential.token import Credential
from bearerd.errors import (
    AccountChanged,
    AuthorityUnavailable,
    BearerdError,
    LoginRequired,
    RefreshThrottled,
    StoreUnavailable,
)
from bearerd.events import (
    CredentialHeldInMemory,
    CredentialLoaded,
    CredentialRefreshed,
    CredentialSaved,
    LoginNeeded,
    LoginRestored,
    RefreshFailed,
)
from tests.credential.stand_ins import (
    HOUR,
    MARK,
    PATIENCE_SECONDS,
    START,
    Document,
    Home,
    access_token,
    full_disk,
    login,
    refresh_token_of,
    sleep_briefly,
    soon,
    wait_until,
)


async def error_of(awaitable: Awaitable[object]) -> BearerdError:
    """Return the error that *awaitable* raises."""
    with pytest.raises(BearerdError) as why:
        await soon(awaitable)
    assert MARK not in repr(why.value)
    return why.value


async def login_reason(awaitable: Awaitable[object]) -> str:
    """Return the reason why a login is required."""
    why = await error_of(awaitable)
    assert isinstance(why, LoginRequired), repr(why)
    return why.reason


async def refreshed(source: CredentialSource) -> Credential:
    """Refresh the cached credential, as after a 401, and return the new one."""
    cached = await source.current()
    return await soon(source.refresh(cached, "refused"))


def lost_response() -> AuthorityFailure:
    """Return the failure of a call whose connection died after the token was sent."""
    return AuthorityFailure("unclear", "ServerDisconnectedError", is_maybe_spent=True)


@pytest.fixture
def ready(home: Home) -> CredentialSource:
    """A source on a home with a login of a day."""
    home.write(login())
    return home.source()


# For a request.


async def test_the_stored_login_is_served_and_read_once(
    home: Home, ready: CredentialSource
) -> None:
    """Each request gets the same frozen value, and the authority is not called."""
    first = await ready.current()
    assert first.refresh_token == refresh_token_of("first")
    assert first.generation == 1
    for _ in range(5):
        assert await ready.current() is first
    assert home.authority.calls == []
    assert home.events_of(CredentialLoaded) == [
        CredentialLoaded("default", 1, "acct-1", START + 24 * HOUR)
    ]


async def test_a_login_that_appears_later_is_loaded(home: Home) -> None:
    """A missing login is announced once; so is the end of that."""
    source = home.source()
    for _ in range(3):
        assert await login_reason(source.current()) == "missing"
        await source.reload_if_changed()
    assert len(home.events_of(LoginNeeded)) == 1
    home.write(login())
    assert (await source.current()).refresh_token == refresh_token_of("first")
    assert home.events_of(LoginRestored) == [LoginRestored("default", 1)]


async def test_inside_the_window_the_cached_one_is_served(home: Home) -> None:
    """One refresh runs behind the callers, however many they are."""
    home.write(login(expires_at=START + 200))
    home.authority.gate.clear()
    source = home.source()
    old = await source.current()
    for _ in range(9):
        assert await source.current() is old
    await soon(home.authority.arrived.wait())
    home.authority.gate.set()
    await wait_until(lambda: home.events_of(CredentialRefreshed) != [])
    new = await source.current()
    assert new.generation == 2
    assert home.authority.calls == [refresh_token_of("first")]
    (event,) = home.events_of(CredentialRefreshed)
    assert (event.trigger, event.outcome) == ("expiring", "renewed")


async def test_past_its_end_all_callers_wait_for_the_next(home: Home) -> None:
    """One call for all of them; nothing that has expired is served."""
    home.write(login(expires_at=START - 1))
    source = home.source()
    found = await soon(asyncio.gather(*(source.current() for _ in range(20))))
    assert {credential.generation for credential in found} == {2}
    assert len(home.authority.calls) == 1
    assert home.events_of(CredentialRefreshed)[0].trigger == "expired"


async def test_past_its_end_with_the_authority_away_is_a_503_that_passes(
    home: Home,
) -> None:
    """The login is kept, and served again when the authority is back."""
    home.write(login(expires_at=START - 1))
    home.authority.script.append(AuthorityFailure("undelivered", "no_route"))
    source = home.source()
    why = await error_of(source.current())
    assert isinstance(why, AuthorityUnavailable)
    assert why.retry_after_seconds == 1
    assert (source.status().state, source.status().code) == (
        "blocked",
        "authority_unavailable",
    )
    home.clock.advance(1.0)
    assert (await source.current()).generation == 2
    assert source.status().state == "usable"


async def test_without_a_refresh_token_it_is_served_until_its_end(home: Home) -> None:
    """Then a login is required, and the authority is not called for that."""
    document = login(expires_at=START + 1000)
    document["tokens"]["refresh_token"] = ""
    home.write(document)
    source = home.source()
    assert (await source.current()).generation == 1
    home.clock.advance(1000.0)
    assert await login_reason(source.current()) == "no_refresh_token"
    assert home.authority.calls == []


# After a 401.


async def test_many_rejections_at_once_are_one_refresh(
    home: Home, ready: CredentialSource
) -> None:
    """All get the same new credential, which is in the store by then."""
    old = await ready.current()
    callers = (ready.refresh(old, "refused") for _ in range(200))
    found = await soon(asyncio.gather(*callers))
    assert len({id(credential) for credential in found}) == 1
    assert found[0].generation == 2
    assert home.authority.calls == [refresh_token_of("first")]
    assert home.stored_refresh_token() == found[0].refresh_token
    assert ready.waiters == 0


async def test_a_late_401_finds_the_work_done(
    home: Home, ready: CredentialSource
) -> None:
    """It was about the previous credential; the cached one is not refreshed."""
    old = await ready.current()
    new = await ready.refresh(old, "refused")
    assert ready.newer_than(old) is new
    assert await ready.refresh(old, "refused") is new
    assert await ready.reload(old) is new
    assert len(home.authority.calls) == 1
    newer = await ready.refresh(new, "refused")
    assert await ready.refresh(old, "refused") is newer
    assert len(home.authority.calls) == 2


async def test_a_refresh_that_brings_what_was_just_rejected_is_followed_by_another(
    home: Home,
) -> None:
    """It began before, and finds in the store what this caller cannot use."""
    home.write(login())
    source = home.source(clock=home.clock.clock)
    old = await source.current()
    async with home.store().lock(0):
        early = asyncio.create_task(source.refresh(old, "refused"))
        await wait_until(lambda: home.clock.sleepers == 1)  # for the lock
        home.write(login("second"))
        second = await source.reload(old)
        assert second is not None
        late = asyncio.create_task(source.refresh(second, "refused"))
        await wait_until(lambda: source.waiters == 2)
    home.clock.advance(0.02)
    assert await soon(early) == second
    assert (await soon(late)).generation == 3
    assert home.authority.calls == [refresh_token_of("second")]


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (AuthorityFailure("refused", "revoked"), LoginRequired),
        (AuthorityFailure("undelivered", "no_route"), AuthorityUnavailable),
        (AuthorityFailure("unclear", "http_500"), AuthorityUnavailable),
    ],
    ids=["refused", "undelivered", "unclear"],
)
async def test_a_failure_is_shared_by_all_who_wait(
    home: Home,
    ready: CredentialSource,
    failure: AuthorityFailure,
    kind: type[BearerdError],
) -> None:
    """And by those who ask just after: one call, and each failure is announced."""
    home.authority.script.append(failure)
    old = await ready.current()
    callers = (ready.refresh(old, "refused") for _ in range(50))
    found = await soon(asyncio.gather(*callers, return_exceptions=True))
    assert {type(error) for error in found} == {kind}
    assert type(await error_of(ready.refresh(old, "refused"))) is kind
    assert len(home.authority.calls) == 1
    events = home.events_of(RefreshFailed)
    assert {(event.outcome, event.reason) for event in events} == {
        (failure.outcome, failure.reason)
    }
    others = len(events) - 1
    assert [event.is_call for event in events] == [True] + [False] * others
    assert [event.is_repeated for event in events] == [False] + [True] * others
    assert await ready.current() == old, "the access token may live on"


async def test_what_another_process_stored_is_adopted_without_a_call(
    home: Home, ready: CredentialSource
) -> None:
    """By a reload, and by a refresh that no reload preceded."""
    old = await ready.current()
    home.write(login("second"))
    second = await ready.reload(old)
    assert second is not None
    assert second.refresh_token == refresh_token_of("second")
    home.write(login("third"))
    third = await ready.refresh(second, "refused")
    assert third.refresh_token == refresh_token_of("third")
    assert home.authority.calls == []
    assert home.events_of(CredentialRefreshed)[0].outcome == "adopted"


async def test_a_reload_finds_nothing_if_nothing_has_changed(
    home: Home, ready: CredentialSource
) -> None:
    """Or if the file was only written again as it was."""
    old = await ready.current()
    assert await ready.reload(old) is None
    home.write(login())
    assert await ready.reload(old) is None
    assert await ready.current() is old


class HeldState(FileStore):
    """A store whose state, which is read after the login, comes when `gate` is set."""

    def __init__(self, home: Home) -> None:
        super().__init__(home.path, clock=home.clock.skipping)
        self.gate, self.reached = asyncio.Event(), asyncio.Event()
        self.gate.set()

    async def read_state(self) -> StoreState:
        """Wait, and return the state."""
        self.reached.set()
        await self.gate.wait()
        return await super().read_state()


async def test_a_reload_finds_what_the_background_has_read_and_not_cached(
    home: Home,
) -> None:
    """Otherwise the request would be sent with it as if it were fresh, and its 401 would
    be the end.
    """
    home.write(login())
    store = HeldState(home)
    source = home.source(store=store)
    cached = await source.current()
    store.gate.clear()
    store.reached.clear()
    home.write(login("second"))
    looking = asyncio.create_task(source.reload_if_changed())
    await soon(store.reached.wait())
    store.reached.clear()
    reloading = asyncio.create_task(source.reload(cached))
    reading = asyncio.create_task(store.reached.wait())
    await soon(asyncio.wait({reloading, reading}, return_when=asyncio.FIRST_COMPLETED))
    store.gate.set()
    found = await soon(reloading)
    await soon(looking)
    await soon(reading)
    assert found is not None
    assert found.refresh_token == refresh_token_of("second")


async def test_a_stored_credential_that_has_expired_is_refreshed_and_not_adopted(
    home: Home, ready: CredentialSource
) -> None:
    """The refresh token in the store is presented: the cached one may be older."""
    old = await ready.current()
    home.write(login("second", expires_at=START - 1))
    new = await ready.refresh(old, "refused")
    assert home.authority.calls == [refresh_token_of("second")]
    assert new.generation == 2


async def test_a_grant_without_a_new_refresh_token_keeps_the_old(
    home: Home, ready: CredentialSource
) -> None:
    """RFC 6749 section 6; it is presented again the next time."""
    token = access_token("again", expires_at=START + HOUR)
    home.authority.script.append(Grant(token, None, None))
    new = await refreshed(ready)
    assert (new.access_token, new.refresh_token) == (token, refresh_token_of("first"))
    assert (await refreshed(ready)).generation == 3
    assert home.authority.calls == [refresh_token_of("first")] * 2


async def test_a_grant_without_an_access_token_is_kept_and_gives_no_credential(
    home: Home, ready: CredentialSource
) -> None:
    """The next refresh token must not be lost; after a pause it is presented."""
    home.authority.script.append(Grant(None, f"{MARK}-next", None))
    assert isinstance(await error_of(refreshed(ready)), AuthorityUnavailable)
    assert home.stored_refresh_token() == f"{MARK}-next"
    home.clock.advance(60.0)
    await refreshed(ready)
    assert home.authority.calls == [refresh_token_of("first"), f"{MARK}-next"]


# The account.


@pytest.mark.parametrize(
    "other",
    [
        login("x", account="acct-2", user="user-2"),
        login("x", account="acct-2"),
        login("x", user="user-2"),
        login("x", account=None, user=None),
    ],
    ids=["account-and-user", "account", "user-in-the-account", "no-account"],
)
async def test_another_accounts_login_is_never_adopted_silently(
    home: Home, ready: CredentialSource, other: Document
) -> None:
    """Refused wherever it is met, announced once, and the authority is not called."""
    old = await ready.current()
    home.write(other)
    assert isinstance(await error_of(ready.reload(old)), AccountChanged)
    assert isinstance(await error_of(ready.refresh(old, "refused")), AccountChanged)
    assert isinstance(await error_of(ready.current()), AccountChanged)
    await ready.reload_if_changed()
    assert home.authority.calls == []
    assert len(home.events_of(LoginNeeded)) == 1
    assert (ready.status().state, ready.status().code) == (
        "blocked",
        "account_changed",
    )
    assert ready.newer_than(old) is None


async def test_a_refresh_alone_finds_that_the_account_has_changed(
    home: Home, ready: CredentialSource
) -> None:
    """No reload preceded it: the read under the lock refuses the file."""
    old = await ready.current()
    home.write(login("x", account="acct-2"))
    assert isinstance(await error_of(ready.refresh(old, "refused")), AccountChanged)
    assert isinstance(await error_of(ready.current()), AccountChanged)
    assert home.authority.calls == []


async def test_the_old_account_coming_back_restores_service(
    home: Home, ready: CredentialSource
) -> None:
    """No restart, no command."""
    old = await ready.current()
    home.write(login("x", account="acct-2"))
    await ready.reload_if_changed()
    assert ready.status().code == "account_changed"
    home.write(login("back"))
    assert (await ready.current()).refresh_token == refresh_token_of("back")
    assert len(home.events_of(LoginRestored)) == 1
    assert ready.newer_than(old) is not None


async def test_adopting_pins_the_profile_to_another_account(
    home: Home, ready: CredentialSource
) -> None:
    """For other processes too, and after a restart. The time of its file does not
    matter: it may be older than the login before.
    """
    await ready.current()
    home.write(
        login(
            "x",
            account="acct-2",
            user="user-2",
            last_refresh="2026-01-01T00:00:00Z",
        )
    )
    await ready.reload_if_changed()
    adopted = await ready.adopt()
    assert adopted.account_id == "acct-2"
    assert await ready.current() is adopted
    assert (await home.source().current()).account_id == "acct-2"
    home.write(login("y"))
    assert isinstance(await error_of(home.source().current()), AccountChanged)


async def test_the_pin_outlives_the_process(
    home: Home, ready: CredentialSource
) -> None:
    """A file that was exchanged while no process ran is noticed at the start."""
    await ready.current()
    home.write(login("x", account="acct-2"))
    later = home.source()
    assert isinstance(await error_of(later.current()), AccountChanged)


async def test_a_login_without_an_account_may_gain_one(home: Home) -> None:
    """From then on the profile is pinned to it."""
    home.write(login(account=None, user=None))
    source = home.source()
    first = await source.current()
    assert first.account_id is None
    home.write(login("second"))
    assert (await source.reload(first)) is not None
    assert (await source.current()).account_id == "acct-1"
    home.write(login("third", account="acct-2"))
    await source.reload_if_changed()
    assert isinstance(await error_of(source.current()), AccountChanged)


@pytest.mark.parametrize(
    ("other", "kind"),
    [
        (login("newer"), None),
        (login("x", account="acct-2", user="user-2"), AccountChanged),
        (login("x", user="user-2"), AccountChanged),
    ],
    ids=["same-account", "other-account", "other-user"],
)
async def test_a_login_stored_during_the_call_is_adopted_if_its_account_is_the_same(
    home: Home,
    ready: CredentialSource,
    other: Document,
    kind: type[BearerdError] | None,
) -> None:
    """A login of another account is refused and not changed."""
    old = await ready.current()
    home.authority.before_response = lambda: home.write(other)
    if kind is None:
        new = await ready.refresh(old, "refused")
        assert new.refresh_token == refresh_token_of("newer")
    else:
        assert type(await error_of(ready.refresh(old, "refused"))) is kind
        assert type(await error_of(ready.current())) is kind
    assert home.read() == other


async def test_a_sign_out_during_the_call_is_not_undone(
    home: Home, ready: CredentialSource
) -> None:
    """Nothing of the response stays behind on disk."""
    old = await ready.current()
    home.authority.before_response = home.path.unlink
    assert await login_reason(ready.refresh(old, "refused")) == "missing"
    assert not home.path.exists()
    for path in home.path.parent.iterdir():
        assert MARK.encode() not in path.read_bytes()
    await ready.reload_if_changed()
    assert await login_reason(ready.current()) == "missing"


async def test_a_file_that_returns_after_a_sign_out_is_known_to_be_spent(
    home: Home, ready: CredentialSource
) -> None:
    """Its refresh token was presented while the file was gone, and its presenter has
    died: the next process presents it to nobody.
    """
    old, content = await ready.current(), home.read()
    home.authority.before_response = home.path.unlink
    assert await login_reason(ready.refresh(old, "refused")) == "missing"
    home.write(content)
    later = home.source()
    await later.start()
    assert await login_reason(refreshed(later)) == "reused"
    assert len(home.authority.calls) == 1
    assert home.authority.reused == 0


# Refused permanently.


@pytest.mark.parametrize("reason", ["expired", "reused", "revoked", "other"])
async def test_a_permanent_refusal_is_recorded_and_announced_once(
    home: Home, ready: CredentialSource, reason: str
) -> None:
    """No second call, in this process or another, until the login changes."""
    home.authority.script.append(AuthorityFailure("refused", reason))
    old = await ready.current()
    for _ in range(3):
        assert await login_reason(ready.refresh(old, "refused")) == reason
    other = home.source()
    assert await login_reason(refreshed(other)) == reason
    later = home.source()
    assert await login_reason(refreshed(later)) == reason
    assert len(home.authority.calls) == 1
    needed = [event for event in home.events_of(LoginNeeded) if event.reason == reason]
    assert len(needed) == 3, "once for each of the three processes"
    home.write(login("new"))
    for source in (ready, other, later):
        await source.reload_if_changed()
        assert (await source.current()).refresh_token == refresh_token_of("new")
        assert source.status().state == "usable"
    assert (await refreshed(ready)).generation == 3
    assert len(home.authority.calls) == 2


async def test_two_processes_with_a_dead_token_ask_once(home: Home) -> None:
    """Both at the same moment: one calls the authority, the other reads the result."""
    home.write(login())
    home.authority.script.append(AuthorityFailure("refused", "reused"))
    sources = [
        home.source(clock=home.clock.with_sleep(sleep_briefly)) for _ in range(2)
    ]
    old = [await source.current() for source in sources]
    pairs = zip(sources, old, strict=True)
    asking = [asyncio.create_task(s.refresh(one, "refused")) for s, one in pairs]
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert [getattr(error, "reason", error) for error in found] == ["reused"] * 2
    assert len(home.authority.calls) == 1


async def test_a_login_that_is_refused_permanently_is_served_until_its_token_expires(
    home: Home, ready: CredentialSource
) -> None:
    """It is degraded, then blocked; no further refresh is tried."""
    home.authority.script.append(AuthorityFailure("refused", "revoked"))
    old = await ready.current()
    await error_of(ready.refresh(old, "refused"))
    assert await ready.current() is old
    status = ready.status()
    assert (status.state, status.code, status.reason) == (
        "degraded",
        "login_required",
        "revoked",
    )
    home.clock.advance(24 * HOUR - 100)
    assert await ready.current() is old
    ready.refresh_if_due()
    home.clock.advance(100.0)
    assert await login_reason(ready.current()) == "revoked"
    assert (ready.status().state, ready.status().code) == (
        "blocked",
        "login_required",
    )
    assert len(home.authority.calls) == 1


async def test_an_acceptance_is_not_used_up_by_a_try_within_the_pause(
    ready: CredentialSource, home: Home
) -> None:
    """The authority is called again after the pause, without another acceptance."""
    home.authority.script.append(AuthorityFailure("refused", "revoked"))
    old = await ready.current()
    await error_of(ready.refresh(old, "refused"))
    ready.record_acceptance(old)
    for _ in range(2):
        assert await login_reason(ready.refresh(old, "refused")) == "revoked"
    assert len(home.authority.calls) == 1
    home.clock.advance(60.0)
    assert await soon(ready.refresh(old, "refused")) != old
    assert len(home.authority.calls) == 2


async def test_reading_the_state_changes_nothing(
    home: Home, ready: CredentialSource
) -> None:
    """Neither the state, nor its `since`, nor what is announced."""
    await ready.current()
    before = ready.state
    home.clock.advance(25 * HOUR)
    assert ready.status().state == "usable"
    assert ready.state is before
    ready.assess()
    assert (ready.state.code, ready.state.since) == ("expired", START + 25 * HOUR)


async def test_a_rejection_and_an_acceptance_change_the_state_at_once(
    ready: CredentialSource,
) -> None:
    """An acceptance that is no news leaves the very value."""
    credential = await ready.current()
    ready.record_rejection(credential)
    assert ready.state.code == "upstream_rejects"
    ready.record_acceptance(credential)
    state = ready.state
    assert state.kind is StateKind.USABLE
    ready.record_acceptance(credential)
    assert ready.state is state


async def test_a_rejected_token_is_refreshed_without_a_request_once_that_can_work(
    home: Home, ready: CredentialSource
) -> None:
    """Readiness has taken the daemon out of service, so perhaps no request arrives."""
    home.authority.script.append(AuthorityFailure("rejected", "http_401"))
    old = await ready.current()
    ready.record_rejection(old)
    ready.refresh_if_due()
    assert home.authority.calls == [], "the next request starts it"
    await error_of(ready.refresh(old, "refused"))
    state = ready.status()
    assert (state.state, state.code) == ("blocked", "authority_unavailable")
    assert state.retry_at is not None
    ready.refresh_if_due()
    await soon(ready.wait_idle())
    assert len(home.authority.calls) == 1, "not before the pause is over"
    home.clock.advance(state.retry_at - START)
    ready.refresh_if_due()
    await soon(ready.wait_idle())
    assert len(home.authority.calls) == 2
    assert ready.status().state == "usable"
    assert await ready.current() != old


@pytest.mark.parametrize("reads", [0, 1, 9])
async def test_after_a_reuse_the_login_of_the_other_program_is_adopted(
    home: Home, reads: int
) -> None:
    """It presented the token first, and may still be writing its successor."""
    home.write(login())

    async def sleep(seconds: float) -> None:
        nonlocal reads
        reads -= 1
        if reads == 0:
            home.write(login("newer"))
        home.clock.advance(seconds)
        await asyncio.sleep(0)

    if reads == 0:
        home.authority.before_response = lambda: home.write(login("newer"))
    home.authority.script.append(AuthorityFailure("refused", "reused"))
    source = home.source(clock=home.clock.with_sleep(sleep))
    found = await refreshed(source)
    assert found.refresh_token == refresh_token_of("newer")
    assert home.events_of(CredentialRefreshed)[0].outcome == "adopted"
    assert home.events_of(LoginNeeded) == []
    assert len(home.authority.calls) == 1


@pytest.mark.parametrize(
    "other", [login("x", account="acct-2"), login("x", user="user-2")]
)
async def test_after_a_reuse_another_accounts_login_is_not_adopted(
    home: Home, ready: CredentialSource, other: Document
) -> None:
    """The account and the user must be the same."""
    home.authority.before_response = lambda: home.write(other)
    home.authority.script.append(AuthorityFailure("refused", "reused"))
    old = await ready.current()
    assert isinstance(await error_of(ready.refresh(old, "refused")), AccountChanged)
    assert isinstance(await error_of(ready.current()), AccountChanged)
    assert ready.status().account_id == "acct-1"


# When the authority gives nothing.


async def test_a_token_that_may_be_spent_is_presented_once_more_after_a_pause(
    home: Home, ready: CredentialSource
) -> None:
    """The response was lost; the first call may still be at work at the authority."""
    home.authority.script.append(lost_response())
    old = await ready.current()
    for _ in range(5):
        await error_of(ready.refresh(old, "refused"))
    home.clock.advance(MAYBE_SPENT_SECONDS - 0.1)
    await error_of(ready.refresh(old, "refused"))
    assert len(home.authority.calls) == 1
    home.clock.advance(0.1)
    assert (await ready.refresh(old, "refused")).generation == 2
    assert home.authority.calls == [refresh_token_of("first")] * 2


async def test_a_token_that_was_spent_indeed_costs_one_more_call(
    home: Home, ready: CredentialSource
) -> None:
    """The authority had rotated it, and the response was lost: a person must act."""
    lost = home.authority.rotated(refresh_token_of("first"))
    assert lost.refresh_token
    home.authority.script.append(lost_response())
    old = await ready.current()
    await error_of(ready.refresh(old, "refused"))
    home.clock.advance(MAYBE_SPENT_SECONDS)
    for _ in range(3):
        assert await login_reason(ready.refresh(old, "refused")) == "reused"
    assert len(home.authority.calls) == 2


async def test_two_processes_share_one_budget(home: Home) -> None:
    """A call by one counts for the other; time gives calls back. A client is told to try
    again soon: that costs the authority nothing.
    """
    home.write(login())
    bucket = TokenBucket(burst=3, interval_seconds=30.0)
    one, two = home.source(bucket=bucket), home.source(bucket=bucket)
    for source in (one, two, one):
        await source.reload_if_changed()
        source.record_acceptance(await refreshed(source))
    for source in (one, two):
        await source.reload_if_changed()
        why = await error_of(refreshed(source))
        assert isinstance(why, RefreshThrottled)
        assert why.retry_after_seconds == 5
        assert (await source.current()).refresh_token == home.stored_refresh_token()
    assert len(home.authority.calls) == 3
    home.clock.advance(30.0)
    await refreshed(two)
    assert len(home.authority.calls) == 4


async def test_calls_that_never_arrived_cost_nothing(home: Home) -> None:
    """A network that is down uses up no budget."""
    home.write(login())
    source = home.source(bucket=TokenBucket(burst=2, interval_seconds=1e9))
    for _ in range(9):
        home.authority.script.append(AuthorityFailure("undelivered", "no_route"))
    old = await source.current()
    for _ in range(9):
        why = await error_of(source.refresh(old, "refused"))
        assert not isinstance(why, RefreshThrottled)
        home.clock.advance(60.0)
    assert (await source.refresh(old, "refused")).generation == 2


async def test_tokens_that_live_for_seconds_stay_within_the_budget(home: Home) -> None:
    """A minute of them: the burst, and one call each interval."""
    home.write(login(expires_at=START + 1))
    home.authority.lifetime_seconds = 1.0
    source = home.source(bucket=TokenBucket(burst=5, interval_seconds=30.0))
    for _ in range(240):
        home.clock.advance(0.25)
        try:
            await source.current()
        except AuthorityUnavailable:
            continue
    assert len(home.authority.calls) <= 5 + 2
    assert home.authority.reused == 0


async def test_an_upstream_that_rejects_everything_costs_few_calls(
    home: Home, ready: CredentialSource
) -> None:
    """Each new token is rejected as well: after three the interval grows."""
    for _ in range(100):
        cached = await ready.current()
        try:
            await ready.refresh(cached, "refused")
        except RefreshThrottled:
            continue
    assert len(home.authority.calls) == REJECTIONS_ALLOWED


# When the store is in trouble.


async def test_a_credential_that_cannot_be_saved_stays_in_memory_and_is_saved_later(
    home: Home, ready: CredentialSource
) -> None:
    """Announced when it begins and when it is over."""
    await ready.current()
    with full_disk():
        new = await refreshed(ready)
        assert await ready.current() is new
        await ready.retry_save()
        assert ready.status().in_memory_only
    assert home.stored_refresh_token() == refresh_token_of("first")
    assert home.events_of(CredentialSaved) == []
    await ready.retry_save()
    await ready.retry_save()
    assert home.stored_refresh_token() == new.refresh_token
    assert not ready.status().in_memory_only
    assert len(home.events_of(CredentialHeldInMemory)) == 1
    assert home.events_of(CredentialSaved) == [CredentialSaved("default")]
    await ready.reload_if_changed()
    assert await ready.current() is new


async def test_a_second_refresh_presents_the_token_in_memory(
    home: Home, ready: CredentialSource
) -> None:
    """The stored one is spent already; the newest one is saved in the end."""
    await ready.current()
    with full_disk():
        first = await refreshed(ready)
        second = await refreshed(ready)
    assert home.authority.calls == [refresh_token_of("first"), first.refresh_token]
    third = await refreshed(ready)
    assert home.authority.calls[2] == second.refresh_token
    assert home.stored_refresh_token() == third.refresh_token
    assert home.authority.reused == 0


async def test_a_token_in_memory_that_is_refused_permanently_costs_one_call(
    home: Home, ready: CredentialSource
) -> None:
    """The older token in the store does not replace it."""
    await ready.current()
    with full_disk():
        cached = await refreshed(ready)
        home.authority.script.append(AuthorityFailure("refused", "revoked"))
        for _ in range(3):
            assert await login_reason(ready.refresh(cached, "refused")) == "revoked"
    assert len(home.authority.calls) == 2


async def test_a_sign_out_while_unsaved_is_a_sign_out(
    home: Home, ready: CredentialSource
) -> None:
    """Saving later does not bring the login back."""
    await ready.current()
    with full_disk():
        await refreshed(ready)
    home.path.unlink()
    await ready.retry_save()
    await ready.close()
    assert not home.path.exists()
    assert home.events_of(CredentialSaved) == []
    for _ in range(2):
        await ready.reload_if_changed()
    assert await login_reason(ready.current()) == "missing"


async def test_a_new_login_replaces_an_unsaved_credential(
    home: Home, ready: CredentialSource
) -> None:
    """It is not written over, it is served, and nothing is announced as saved."""
    await ready.current()
    with full_disk():
        await refreshed(ready)
    home.write(login("new"))
    await ready.retry_save()
    await ready.reload_if_changed()
    assert home.stored_refresh_token() == refresh_token_of("new")
    assert (await ready.current()).refresh_token == refresh_token_of("new")
    assert not ready.status().in_memory_only
    assert home.events_of(CredentialSaved) == []


async def test_closing_saves_what_it_can(home: Home, ready: CredentialSource) -> None:
    """It is the last chance before the login would be lost."""
    await ready.current()
    with full_disk():
        new = await refreshed(ready)
    await ready.close()
    assert home.stored_refresh_token() == new.refresh_token


async def test_a_restored_backup_of_a_spent_token_is_not_presented(
    home: Home, ready: CredentialSource
) -> None:
    """The newer one stays cached, and replaces the file at the next refresh."""
    backup = home.read()
    new = await refreshed(ready)
    home.write(backup)
    await ready.reload_if_changed()
    assert await ready.current() is new
    assert await ready.reload(new) is None
    newer = await ready.refresh(new, "refused")
    assert home.authority.calls == [refresh_token_of("first"), new.refresh_token]
    assert home.authority.reused == 0
    assert home.stored_refresh_token() == newer.refresh_token


async def test_a_file_that_is_missing_in_one_read_changes_nothing(
    home: Home, ready: CredentialSource
) -> None:
    """A program that replaces it has done so by the next read."""
    old = await ready.current()
    home.path.unlink()
    await ready.reload_if_changed()
    assert await ready.current() is old
    home.write(login("new"))
    await ready.reload_if_changed()
    assert (await ready.current()).refresh_token == refresh_token_of("new")
    home.path.unlink()
    await ready.reload_if_changed()
    assert (await ready.current()).generation == 2, "the reads are counted again"
    assert home.events_of(LoginNeeded) == []


async def test_a_file_that_stays_away_is_a_sign_out(
    home: Home, ready: CredentialSource
) -> None:
    """At the second read: nothing is served any more, and nothing stays in memory."""
    await ready.current()
    home.path.unlink()
    await ready.reload_if_changed()
    await ready.reload_if_changed()
    assert await login_reason(ready.current()) == "missing"
    assert len(home.events_of(LoginNeeded)) == 1
    status = ready.status()
    assert (status.state, status.code, status.reason, status.account_id) == (
        "blocked",
        "login_required",
        "missing",
        None,
    )


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"[" * 100_000], ids=len)
async def test_a_torn_file_changes_nothing_however_often_it_is_looked_at(
    home: Home, ready: CredentialSource, content: bytes
) -> None:
    """The cached credential is served; a complete file is loaded."""
    old = await ready.current()
    home.path.write_bytes(content)
    for _ in range(3):
        await ready.reload_if_changed()
        assert await ready.current() is old
        assert await ready.reload(old) is None
    assert home.events_of(LoginNeeded) == []
    home.write(login("new"))
    await ready.reload_if_changed()
    assert (await ready.current()).refresh_token == refresh_token_of("new")


async def test_a_torn_file_at_the_start_requires_a_login_until_it_is_whole(
    home: Home,
) -> None:
    """There is no credential in memory to serve."""
    home.path.write_bytes(b"{")
    source = home.source()
    for _ in range(3):
        assert await login_reason(source.current()) == "unreadable"
    assert len(home.events_of(LoginNeeded)) == 1
    home.path.write_text(json.dumps(login()))
    assert (await source.current()).generation == 1


async def test_a_lock_that_cannot_be_made_is_no_reason_to_sign_in(
    home: Home, ready: CredentialSource
) -> None:
    """503 and not 401: the login is good."""
    old = await ready.current()
    lock = home.path.with_name("auth.json.bearerd-lock")
    lock.unlink()
    lock.mkdir()
    why = await error_of(ready.refresh(old, "refused"))
    assert isinstance(why, StoreUnavailable)
    assert str(lock) in why.message
    assert home.authority.calls == []
    assert await ready.current() is old


async def test_an_error_that_many_get_does_not_grow(home: Home) -> None:
    """Agents retry for hours, and the same error would hold the frames of each try."""
    home.write(login())
    source = home.source()
    await source.current()
    home.write(login("x", account="acct-2"))
    await source.reload_if_changed()
    depths = []
    for _ in range(50):
        trace = (await error_of(source.current())).__traceback__
        depths.append(0)
        while trace is not None:
            depths[-1] += 1
            trace = trace.tb_next
    assert depths[-1] <= depths[1] + 2


# Time.


@pytest.mark.parametrize("ahead", [-3 * HOUR, 3 * HOUR])
async def test_a_wrong_clock_causes_neither_many_refreshes_nor_none(
    home: Home, ahead: float
) -> None:
    """An hour at the authority is an hour here, with any local clock."""
    home.authority.ahead_seconds = ahead
    home.authority.lifetime_seconds = HOUR
    home.write(login(expires_at=START - 1))
    source = home.source()
    new = await source.current()
    for _ in range(5):
        assert await source.current() is new
    assert source.status().expires_at == pytest.approx(START + HOUR, abs=1)
    home.clock.advance(HOUR - 200)
    await source.current()
    await source.close()
    assert (await source.current()).generation == 3
    assert len(home.authority.calls) == 2


async def test_an_opaque_token_from_the_authority_ends_after_eight_days(
    home: Home, ready: CredentialSource
) -> None:
    """As one does that was loaded."""
    home.authority.script.append(Grant("opaque-made-up", f"{MARK}-next", None))
    await refreshed(ready)
    assert ready.status().expires_at == START + 8 * 24 * HOUR


# Callers that leave.


async def test_closing_waits_for_the_refresh_under_way(
    home: Home, ready: CredentialSource
) -> None:
    """Its callers were cancelled; its response is stored."""
    old = await ready.current()
    home.authority.gate.clear()
    caller = asyncio.create_task(ready.refresh(old, "refused"))
    await soon(home.authority.arrived.wait())
    caller.cancel()
    closing = asyncio.create_task(ready.close())
    await wait_until(lambda: ready.waiters == 0)
    assert not closing.done()
    home.authority.gate.set()
    await soon(closing)
    assert home.stored_refresh_token() != refresh_token_of("first")


@types.coroutine
def cancelled_at(
    turn: int, work: Coroutine[Any, Any, object]
) -> Generator[Any, None, bool]:
    """Run *work*, and cancel it where it waits for the turn-th time.

    Return True if it came to its end before. A write that has begun is waited for after
    the cancellation too.
    """
    for _ in range(turn):
        try:
            waits_for = work.send(None)
        except (StopIteration, BearerdError):
            return True
        yield waits_for
    try:
        work.send(None)
    except (StopIteration, BearerdError):
        return True
    try:
        waits_for = work.throw(asyncio.CancelledError())
        while True:
            yield waits_for
            waits_for = work.send(None)
    except asyncio.CancelledError:
        return False


@pytest.mark.parametrize("is_torn", [False, True], ids=["whole-file", "torn-file"])
@pytest.mark.parametrize(
    "method", ["refresh", "reload", "current", "reload_if_changed", "adopt"]
)
async def test_a_caller_that_is_cancelled_at_any_await_leaves_no_trace(
    home: Home, method: str, is_torn: bool
) -> None:
    """At each in turn: the refresh ends and is stored, the lock is free, the store holds
    the cached credential, and no token was presented twice.
    """
    turn, is_over, waited = 0, False, 0
    while not is_over:
        home.write(login(f"first-{turn}", expires_at=START - 1))
        source = home.source(bucket=TokenBucket(10_000, 1.0))
        await source.reload_if_changed()
        cached = source._cached.credential
        assert cached is not None
        if is_torn:
            home.path.write_bytes(b"{")
        works: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
            "refresh": partial(source.refresh, cached, "asked"),
            "reload": partial(source.reload, cached),
            "current": source.current,
            "reload_if_changed": source.reload_if_changed,
            "adopt": source.adopt,
        }
        is_over = await soon(cancelled_at(turn, works[method]()))
        waited += not is_over
        await soon(source.close())
        assert source.waiters == 0
        # A lock that its caller left as it got it is released by the loop's next turns.
        async with home.store(Clock()).lock(PATIENCE_SECONDS):
            if is_torn:
                home.write(login(f"mended-{turn}"))
        await source.reload_if_changed()
        assert await soon(source.current()) == await home.store().load()
        turn += 1
    assert waited > 0
    assert home.authority.reused == 0
