"""The owner of the credential: who gets which one, and what it costs at the authority."""

from __future__ import annotations

import asyncio
import json
import types
from collections.abc import Awaitable, Coroutine, Generator
from typing import Any

import pytest

from bearerd.credential.authority.errors import AuthorityFailure
from bearerd.credential.authority.refresh_grant import Grant
from bearerd.credential.refresh.token_bucket import TokenBucket
from bearerd.credential.source import CredentialSource
from bearerd.credential.token import Credential
from bearerd.errors import (
    AccountChanged,
    AuthorityUnavailable,
    BearerdError,
    LoginRequired,
    RefreshThrottled,
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


async def refused(awaitable: Awaitable[object]) -> BearerdError:
    """Return why it was refused."""
    with pytest.raises(BearerdError) as why:
        await soon(awaitable)
    assert MARK not in repr(why.value)
    return why.value


async def needs_login(awaitable: Awaitable[object]) -> str:
    """Return the reason why a login is needed."""
    why = await refused(awaitable)
    assert isinstance(why, LoginRequired), repr(why)
    return why.reason


async def refreshed(source: CredentialSource) -> Credential:
    """Refresh what is held, as after a 401, and return what came of it."""
    held = await source.current()
    return await soon(source.refresh(held, "refused"))


@pytest.fixture
def ready(home: Home) -> CredentialSource:
    """A source on a home with a login of a day."""
    home.write(login())
    return home.source()


# To sign a request.


async def test_the_stores_login_is_served_and_read_once(
    home: Home, ready: CredentialSource
) -> None:
    """Every request gets the same frozen value, and the authority is not asked."""
    first = await ready.current()
    assert first.refresh_token == refresh_token_of("first")
    assert first.generation == 1
    for _ in range(5):
        assert await ready.current() is first
    assert home.authority.calls == []
    assert home.events_of(CredentialLoaded) == [
        CredentialLoaded("default", 1, "acct-1", START + 24 * HOUR)
    ]


async def test_a_login_that_appears_later_is_taken_up(home: Home) -> None:
    """What is missing is said once; then service begins, and that is said too."""
    source = home.source()
    for _ in range(3):
        assert await needs_login(source.current()) == "missing"
        await source.reload_if_changed()
    assert len(home.events_of(LoginNeeded)) == 1
    home.write(login())
    assert (await source.current()).refresh_token == refresh_token_of("first")
    assert home.events_of(LoginRestored) == [LoginRestored("default", 1)]


async def test_inside_the_window_the_old_one_is_served_meanwhile(home: Home) -> None:
    """One refresh runs behind the callers' backs, however many they are."""
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


async def test_past_its_end_everybody_waits_for_the_next(home: Home) -> None:
    """One call for all of them; nothing dead is served."""
    home.write(login(expires_at=START - 1))
    source = home.source()
    found = await soon(asyncio.gather(*(source.current() for _ in range(20))))
    assert {credential.generation for credential in found} == {2}
    assert len(home.authority.calls) == 1
    assert home.events_of(CredentialRefreshed)[0].trigger == "expired"


async def test_past_its_end_and_the_authority_away_is_said_and_passes(
    home: Home,
) -> None:
    """503 with the time to wait; the login is kept, and serves when it is back."""
    home.write(login(expires_at=START - 1))
    home.authority.script.append(AuthorityFailure("undelivered", "no_route"))
    source = home.source()
    why = await refused(source.current())
    assert isinstance(why, AuthorityUnavailable)
    assert why.retry_after_seconds == 1
    assert source.status().state == "expired"
    home.clock.advance(1.0)
    assert (await source.current()).generation == 2


async def test_without_a_refresh_token_it_serves_until_its_end(home: Home) -> None:
    """And then asks for a login without asking the authority."""
    document = login(expires_at=START + 1000)
    document["tokens"]["refresh_token"] = ""
    home.write(document)
    source = home.source()
    assert (await source.current()).generation == 1
    home.clock.advance(1000.0)
    assert await needs_login(source.current()) == "other"
    assert home.authority.calls == []


async def test_a_condemned_credential_is_not_sent_to_that_path_again(
    ready: CredentialSource,
) -> None:
    """It is refreshed first; elsewhere it is still served."""
    old = await ready.current("one")
    assert ready.record_rejection("one", old, blames_token=True, is_fresh=False)
    assert await ready.current("other") is old
    new = await ready.current("one")
    assert new.generation == 2
    assert await ready.current("other") is new


async def test_a_condemned_one_is_sent_all_the_same_if_no_refresh_is_to_be_had(
    home: Home, ready: CredentialSource
) -> None:
    """The upstream's own word is better than ours."""
    old = await ready.current("one")
    ready.record_rejection("one", old, blames_token=True, is_fresh=False)
    home.authority.script.append(AuthorityFailure("unclear", "http_500"))
    assert await ready.current("one") is old


# After a 401.


async def test_many_refusals_at_once_are_one_refresh(
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
    """It was about the credential before; the one held now is not refreshed."""
    old = await ready.current()
    new = await ready.refresh(old, "refused")
    assert ready.newer_than(old) is new
    assert await ready.refresh(old, "refused") is new
    assert await ready.reload(old) is new
    assert len(home.authority.calls) == 1
    newer = await ready.refresh(new, "refused")
    assert await ready.refresh(old, "refused") is newer
    assert len(home.authority.calls) == 2


async def test_a_flight_that_brings_what_was_just_refused_is_followed_by_another(
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
    """And by those who ask just after: one call, told once."""
    home.authority.script.append(failure)
    old = await ready.current()
    callers = (ready.refresh(old, "refused") for _ in range(50))
    found = await soon(asyncio.gather(*callers, return_exceptions=True))
    assert {type(error) for error in found} == {kind}
    assert type(await refused(ready.refresh(old, "refused"))) is kind
    assert len(home.authority.calls) == 1
    (event,) = home.events_of(RefreshFailed)
    assert (event.outcome, event.reason) == (failure.outcome, failure.reason)
    assert await ready.current() == old, "the access token may live on"


async def test_what_another_process_stored_is_adopted_without_a_call(
    home: Home, ready: CredentialSource
) -> None:
    """By a reload, and by a refresh that was not preceded by one."""
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


async def test_a_reload_finds_nothing_where_nothing_has_changed(
    home: Home, ready: CredentialSource
) -> None:
    """Nor where the file was only touched."""
    old = await ready.current()
    assert await ready.reload(old) is None
    home.write(login())
    assert await ready.reload(old) is None
    assert await ready.current() is old


async def test_a_stored_one_that_has_expired_is_refreshed_and_not_adopted(
    home: Home, ready: CredentialSource
) -> None:
    """The store's refresh token is spent, since ours may be an older one."""
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
    """The next refresh token must not be lost; the next refresh spends it."""
    home.authority.script.append(Grant(None, f"{MARK}-next", None))
    assert isinstance(await refused(refreshed(ready)), AuthorityUnavailable)
    assert home.stored_refresh_token() == f"{MARK}-next"
    home.clock.advance(60.0)
    await refreshed(ready)
    assert home.authority.calls == [refresh_token_of("first"), f"{MARK}-next"]


async def test_a_grant_for_another_account_is_not_taken(
    home: Home, ready: CredentialSource
) -> None:
    """Nothing of it is stored or served."""
    home.authority.account = "acct-2"
    old = await ready.current()
    assert isinstance(
        await refused(ready.refresh(old, "refused")), AuthorityUnavailable
    )
    assert home.events_of(RefreshFailed)[0].reason == "other_account"
    assert home.stored_refresh_token() == refresh_token_of("first")
    assert await ready.current() is old


# Whose login it is.


@pytest.mark.parametrize(
    "other",
    [
        login("x", account="acct-2", user="user-2"),
        login("x", account="acct-2"),
        login("x", user="user-2"),
        login("x", account=None, user=None),
    ],
    ids=["account-and-person", "account", "person-in-the-account", "no-account"],
)
async def test_somebody_elses_login_is_never_taken_up_silently(
    home: Home, ready: CredentialSource, other: Document
) -> None:
    """Refused wherever it is met, said once, and the authority is not called."""
    old = await ready.current()
    home.write(other)
    assert isinstance(await refused(ready.reload(old)), AccountChanged)
    assert isinstance(await refused(ready.refresh(old, "refused")), AccountChanged)
    assert isinstance(await refused(ready.current()), AccountChanged)
    await ready.reload_if_changed()
    assert home.authority.calls == []
    assert len(home.events_of(LoginNeeded)) == 1
    assert ready.status().state == "account_changed"
    assert ready.newer_than(old) is None


async def test_a_refresh_alone_finds_that_the_account_has_changed(
    home: Home, ready: CredentialSource
) -> None:
    """Nobody looked before: the look under the lock refuses it."""
    old = await ready.current()
    home.write(login("x", account="acct-2"))
    assert isinstance(await refused(ready.refresh(old, "refused")), AccountChanged)
    assert isinstance(await refused(ready.current()), AccountChanged)
    assert home.authority.calls == []


async def test_the_old_account_coming_back_restores_service(
    home: Home, ready: CredentialSource
) -> None:
    """No restart, no command."""
    old = await ready.current()
    home.write(login("x", account="acct-2"))
    await ready.reload_if_changed()
    assert ready.status().state == "account_changed"
    home.write(login("back"))
    assert (await ready.current()).refresh_token == refresh_token_of("back")
    assert len(home.events_of(LoginRestored)) == 1
    assert ready.newer_than(old) is not None


async def test_an_account_is_changed_on_purpose(
    home: Home, ready: CredentialSource
) -> None:
    """`adopt` pins the profile to it, for other processes and after a restart too."""
    await ready.current()
    home.write(login("x", account="acct-2", user="user-2"))
    await ready.reload_if_changed()
    adopted = await ready.adopt()
    assert adopted.account_id == "acct-2"
    assert await ready.current() is adopted
    assert (await home.source().current()).account_id == "acct-2"
    home.write(login("y"))
    assert isinstance(await refused(home.source().current()), AccountChanged)


async def test_the_pin_outlives_the_process(
    home: Home, ready: CredentialSource
) -> None:
    """A file that changed clock while nobody ran is noticed at the start."""
    await ready.current()
    home.write(login("x", account="acct-2"))
    later = home.source()
    assert isinstance(await refused(later.current()), AccountChanged)


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
    assert isinstance(await refused(source.current()), AccountChanged)


@pytest.mark.parametrize(
    ("other", "kind"),
    [
        (login("newer"), None),
        (login("x", account="acct-2", user="user-2"), AccountChanged),
        (login("x", user="user-2"), AccountChanged),
    ],
    ids=["same-account", "other-account", "other-person"],
)
async def test_a_login_during_the_call_wins_and_is_guarded(
    home: Home,
    ready: CredentialSource,
    other: Document,
    kind: type[BearerdError] | None,
) -> None:
    """The late response is dropped; whether the login is taken up is its own question."""
    old = await ready.current()
    home.authority.before_response = lambda: home.write(other)
    if kind is None:
        new = await ready.refresh(old, "refused")
        assert new.refresh_token == refresh_token_of("newer")
    else:
        assert type(await refused(ready.refresh(old, "refused"))) is kind
        assert type(await refused(ready.current())) is kind
    assert home.read() == other


async def test_a_logout_during_the_call_is_not_undone(
    home: Home, ready: CredentialSource
) -> None:
    """Nothing of the response stays behind on disk."""
    old = await ready.current()
    home.authority.before_response = home.path.unlink
    assert await needs_login(ready.refresh(old, "refused")) == "missing"
    assert not home.path.exists()
    for path in home.path.parent.iterdir():
        assert MARK.encode() not in path.read_bytes()
    await ready.reload_if_changed()
    assert await needs_login(ready.current()) == "missing"


# Refused for good.


@pytest.mark.parametrize("reason", ["expired", "reused", "revoked", "other"])
async def test_a_refusal_for_good_is_remembered_and_said_once(
    home: Home, ready: CredentialSource, reason: str
) -> None:
    """No second call, in this process or another, until the login changes."""
    home.authority.script.append(AuthorityFailure("refused", reason))
    old = await ready.current()
    for _ in range(3):
        assert await needs_login(ready.refresh(old, "refused")) == reason
    other = home.source()
    assert await needs_login(refreshed(other)) == reason
    later = home.source()
    assert await needs_login(refreshed(later)) == reason
    assert len(home.authority.calls) == 1
    needed = [event for event in home.events_of(LoginNeeded) if event.reason == reason]
    assert len(needed) == 3, "once for each of the three processes"
    home.write(login("new"))
    for source in (ready, other, later):
        await source.reload_if_changed()
        assert (await source.current()).refresh_token == refresh_token_of("new")
        assert source.status().state == "ready"
    assert (await refreshed(ready)).generation == 3
    assert len(home.authority.calls) == 2


async def test_two_processes_with_a_dead_token_ask_once(home: Home) -> None:
    """Both at the same moment: one asks, the other reads what came of it."""
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


async def test_service_goes_on_until_the_access_token_ends(
    home: Home, ready: CredentialSource
) -> None:
    """A refresh refused for good ends nothing by itself; nor is it tried in vain."""
    home.authority.script.append(AuthorityFailure("refused", "revoked"))
    old = await ready.current()
    await refused(ready.refresh(old, "refused"))
    assert await ready.current() is old
    assert ready.status().state == "ready"
    assert ready.status().reason == "revoked"
    home.clock.advance(24 * HOUR - 100)
    assert await ready.current() is old
    ready.refresh_if_due()
    home.clock.advance(100.0)
    assert await needs_login(ready.current()) == "revoked"
    assert ready.status().state == "login_required"
    assert len(home.authority.calls) == 1


@pytest.mark.parametrize("looks", [0, 1, 9])
async def test_after_a_reuse_the_winners_login_is_adopted(
    home: Home, looks: int
) -> None:
    """Somebody else spent the token; its write may still be on the way."""
    home.write(login())

    async def sleep(seconds: float) -> None:
        nonlocal looks
        looks -= 1
        if looks == 0:
            home.write(login("winner"))
        home.clock.advance(seconds)
        await asyncio.sleep(0)

    if looks == 0:
        home.authority.before_response = lambda: home.write(login("winner"))
    home.authority.script.append(AuthorityFailure("refused", "reused"))
    source = home.source(clock=home.clock.with_sleep(sleep))
    found = await refreshed(source)
    assert found.refresh_token == refresh_token_of("winner")
    assert home.events_of(CredentialRefreshed)[0].outcome == "adopted"
    assert home.events_of(LoginNeeded) == []
    assert len(home.authority.calls) == 1


@pytest.mark.parametrize(
    "other", [login("x", account="acct-2"), login("x", user="user-2")]
)
async def test_after_a_reuse_somebody_elses_login_is_no_winner(
    home: Home, ready: CredentialSource, other: Document
) -> None:
    """The same account and the same person, or it is another matter."""
    home.authority.before_response = lambda: home.write(other)
    home.authority.script.append(AuthorityFailure("refused", "reused"))
    old = await ready.current()
    assert isinstance(await refused(ready.refresh(old, "refused")), AccountChanged)
    assert isinstance(await refused(ready.current()), AccountChanged)
    assert ready.status().account_id == "acct-1"


# When the authority gives nothing.


async def test_what_may_be_spent_is_presented_once_more(
    home: Home, ready: CredentialSource
) -> None:
    """The response was lost: after the backoff the same token is tried, and not before."""
    home.authority.script.append(AuthorityFailure("unclear", "TimeoutError"))
    old = await ready.current()
    for _ in range(5):
        await refused(ready.refresh(old, "refused"))
    assert len(home.authority.calls) == 1
    home.clock.advance(1.0)
    assert (await ready.refresh(old, "refused")).generation == 2
    assert home.authority.calls == [refresh_token_of("first")] * 2


async def test_what_was_spent_indeed_ends_in_one_more_call(
    home: Home, ready: CredentialSource
) -> None:
    """The authority had rotated, and the response was lost: a person has to act."""
    lost = home.authority.rotated(refresh_token_of("first"))
    assert lost.refresh_token
    home.authority.script.append(AuthorityFailure("unclear", "ServerDisconnectedError"))
    old = await ready.current()
    await refused(ready.refresh(old, "refused"))
    home.clock.advance(1.0)
    for _ in range(3):
        assert await needs_login(ready.refresh(old, "refused")) == "reused"
    assert len(home.authority.calls) == 2


async def test_two_processes_share_one_budget(home: Home) -> None:
    """What is spent by one is spent for the other; time gives it back."""
    home.write(login())
    bucket = TokenBucket(burst=3, interval_seconds=30.0)
    one, two = home.source(bucket=bucket), home.source(bucket=bucket)
    for source in (one, two, one):
        await source.reload_if_changed()
        await refreshed(source)
    for source in (one, two):
        await source.reload_if_changed()
        why = await refused(refreshed(source))
        assert isinstance(why, RefreshThrottled)
        assert why.retry_after_seconds == 30
        assert (await source.current()).refresh_token == home.stored_refresh_token()
    assert len(home.authority.calls) == 3
    home.clock.advance(30.0)
    await refreshed(two)
    assert len(home.authority.calls) == 4


async def test_calls_that_never_arrived_cost_nothing(home: Home) -> None:
    """A network that is down does not use up the budget."""
    home.write(login())
    source = home.source(bucket=TokenBucket(burst=2, interval_seconds=1e9))
    for _ in range(9):
        home.authority.script.append(AuthorityFailure("undelivered", "no_route"))
    old = await source.current()
    for _ in range(9):
        why = await refused(source.refresh(old, "refused"))
        assert not isinstance(why, RefreshThrottled)
        home.clock.advance(60.0)
    assert (await source.refresh(old, "refused")).generation == 2


async def test_tokens_that_live_seconds_stay_within_the_budget(home: Home) -> None:
    """A minute of them: the burst, and one each interval."""
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


async def test_an_upstream_that_refuses_everything_stays_within_the_budget(
    home: Home, ready: CredentialSource
) -> None:
    """Each new token is refused as well: 100 clients, a burst of calls."""
    for _ in range(100):
        held = await ready.current()
        try:
            await ready.refresh(held, "refused")
        except RefreshThrottled:
            continue
    assert len(home.authority.calls) == 5


# When the store gives trouble.


async def test_what_cannot_be_saved_is_held_and_saved_later(
    home: Home, ready: CredentialSource
) -> None:
    """Said when it begins and when it is over; never a token spent twice."""
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


async def test_a_second_refresh_spends_what_lives_in_memory(
    home: Home, ready: CredentialSource
) -> None:
    """The store's token is spent already; the newest one is saved at last."""
    await ready.current()
    with full_disk():
        first = await refreshed(ready)
        second = await refreshed(ready)
    assert home.authority.calls == [refresh_token_of("first"), first.refresh_token]
    third = await refreshed(ready)
    assert home.authority.calls[2] == second.refresh_token
    assert home.stored_refresh_token() == third.refresh_token
    assert home.authority.reused == 0


async def test_what_lives_in_memory_and_is_refused_for_good_ends_in_one_call(
    home: Home, ready: CredentialSource
) -> None:
    """The store's older token is no winner over it; a person is told."""
    await ready.current()
    with full_disk():
        held = await refreshed(ready)
        home.authority.script.append(AuthorityFailure("refused", "revoked"))
        for _ in range(3):
            assert await needs_login(ready.refresh(held, "refused")) == "revoked"
    assert len(home.authority.calls) == 2


async def test_a_sign_out_while_unsaved_is_a_sign_out(
    home: Home, ready: CredentialSource
) -> None:
    """Saving later does not bring the login back, and is no crash."""
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
    assert await needs_login(ready.current()) == "missing"


async def test_a_new_login_while_unsaved_wins(
    home: Home, ready: CredentialSource
) -> None:
    """It is not overwritten, it is served, and nothing is said to be saved."""
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
    """The last chance before the login would be lost."""
    await ready.current()
    with full_disk():
        new = await refreshed(ready)
    await ready.close()
    assert home.stored_refresh_token() == new.refresh_token


async def test_a_restored_backup_of_a_spent_token_is_not_spent_again(
    home: Home, ready: CredentialSource
) -> None:
    """The newer one stays held, and takes the file's place at the next refresh."""
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


async def test_a_file_that_is_gone_for_a_moment_is_borne(
    home: Home, ready: CredentialSource
) -> None:
    """Once; who writes it anew has done so by the next look."""
    old = await ready.current()
    home.path.unlink()
    await ready.reload_if_changed()
    assert await ready.current() is old
    home.write(login("new"))
    await ready.reload_if_changed()
    assert (await ready.current()).refresh_token == refresh_token_of("new")
    home.path.unlink()
    await ready.reload_if_changed()
    assert (await ready.current()).generation == 2, "counted from one again"
    assert home.events_of(LoginNeeded) == []


async def test_a_file_that_stays_away_is_a_sign_out(
    home: Home, ready: CredentialSource
) -> None:
    """At the second look; nothing is signed any more, and nothing is kept in memory."""
    await ready.current()
    home.path.unlink()
    await ready.reload_if_changed()
    await ready.reload_if_changed()
    assert await needs_login(ready.current()) == "missing"
    assert len(home.events_of(LoginNeeded)) == 1
    status = ready.status()
    assert (status.state, status.reason, status.account_id) == (
        "login_required",
        "missing",
        None,
    )


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"OPENAI_API_KEY": "sk-made-up"}'], ids=repr
)
async def test_a_broken_file_keeps_what_is_held(
    home: Home, ready: CredentialSource, content: bytes
) -> None:
    """However often it is looked at; a good one is taken up."""
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


async def test_a_broken_file_at_the_start_is_said_and_mended(home: Home) -> None:
    """There is nothing to go on with."""
    home.path.write_bytes(b"{")
    source = home.source()
    for _ in range(3):
        assert await needs_login(source.current()) == "unreadable"
    assert len(home.events_of(LoginNeeded)) == 1
    home.path.write_text(json.dumps(login()))
    assert (await source.current()).generation == 1


async def test_a_place_without_room_for_the_lock_is_no_reason_to_sign_in(
    home: Home, ready: CredentialSource
) -> None:
    """503 and not 401: the login is good."""
    old = await ready.current()
    lock = home.path.with_name("auth.json.bearerd-lock")
    lock.unlink()
    lock.mkdir()
    why = await refused(ready.refresh(old, "refused"))
    assert isinstance(why, AuthorityUnavailable)
    assert str(lock) in why.message
    assert home.authority.calls == []
    assert await ready.current() is old


async def test_errors_that_are_met_often_do_not_grow(home: Home) -> None:
    """Agents retry for hours; each time the same error would hold their frames."""
    home.write(login())
    source = home.source()
    await source.current()
    home.write(login("x", account="acct-2"))
    await source.reload_if_changed()
    depths = []
    for _ in range(50):
        trace = (await refused(source.current())).__traceback__
        depths.append(0)
        while trace is not None:
            depths[-1] += 1
            trace = trace.tb_next
    assert depths[-1] <= depths[1] + 2


# Time.


@pytest.mark.parametrize("ahead", [-3 * HOUR, 3 * HOUR])
async def test_a_clock_that_is_far_off_neither_storms_nor_sleeps(
    home: Home, ahead: float
) -> None:
    """The authority's hour is an hour here, wherever our clock stands."""
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


async def test_an_opaque_token_that_was_given_is_renewed_in_time(
    home: Home, ready: CredentialSource
) -> None:
    """Eight days after it came, as one is that was loaded."""
    home.authority.script.append(Grant("opaque-made-up", f"{MARK}-next", None))
    await refreshed(ready)
    assert ready.status().expires_at == START + 8 * 24 * HOUR


# Leaving.


async def test_closing_waits_for_the_refresh_in_the_air(
    home: Home, ready: CredentialSource
) -> None:
    """Its callers have left; its response lands in the store."""
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

    Return whether it got to its end before.
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
    with pytest.raises(asyncio.CancelledError):
        work.throw(asyncio.CancelledError())
    return False


@pytest.mark.parametrize("is_torn", [False, True], ids=["whole-file", "torn-file"])
@pytest.mark.parametrize("ask", ["refresh", "reload", "current", "take_up", "adopt"])
async def test_who_is_cancelled_at_any_await_leaves_no_trace(
    home: Home, ask: str, is_torn: bool
) -> None:
    """At each in turn: the flight lands, the lock is free, the store holds what is
    held, and no token was spent twice.
    """
    turn, is_over, waited = 0, False, 0
    while not is_over:
        home.write(login(f"first-{turn}", expires_at=START - 1))
        source = home.source(bucket=TokenBucket(10_000, 1.0))
        await source.reload_if_changed()
        held = source._cached.credential
        assert held is not None
        if is_torn:
            home.path.write_bytes(b"{")
        works: dict[str, Coroutine[Any, Any, object]] = {
            "refresh": source.refresh(held, "refused"),
            "reload": source.reload(held),
            "current": source.current(),
            "take_up": source.reload_if_changed(),
            "adopt": source.adopt(),
        }
        work = works.pop(ask)
        for other in works.values():
            other.close()
        is_over = await soon(cancelled_at(turn, work))
        waited += not is_over
        await soon(source.close())
        assert source.waiters == 0
        async with home.store().lock(0):
            if is_torn:
                home.write(login(f"mended-{turn}"))
        await source.reload_if_changed()
        assert await soon(source.current()) == await home.store().load()
        turn += 1
    assert waited > 0 or not (is_torn or ask in {"refresh", "current"})
    assert home.authority.reused == 0
