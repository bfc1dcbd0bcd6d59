"""The account of a profile: learned once, completed, recorded, and never bypassed."""

from __future__ import annotations

import pytest

from bearerd.credential.store.account_pin import AccountPin, require_same_account
from bearerd.credential.store.state import Account, BucketLevel, StoreState
from bearerd.credential.token import Credential
from bearerd.errors import AccountChanged, StoreUnavailable
from tests.credential.stand_ins import START, Home, credential_for, full_disk, login

NAMELESS = credential_for("nameless", account=None, user=None)
FIRST = credential_for("first")
FOREIGN = credential_for("foreign", account="acct-2", user="user-2")


def pin_of(home: Home) -> AccountPin:
    """Return the pin as another process has it."""
    return AccountPin(home.store())


async def recorded(home: Home) -> Account | None:
    """Return the account in the state beside the file."""
    return (await home.store().read_state()).account


async def is_refused(pin: AccountPin, stored: Credential) -> bool:
    """Return True if *stored* is another account's for this pin."""
    try:
        await pin.check_or_pin(stored)
    except AccountChanged:
        return True
    return False


async def test_the_first_login_decides_for_all_processes(home: Home) -> None:
    """Whether they run now or start later."""
    one, two = pin_of(home), pin_of(home)
    await one.check_or_pin(FIRST)
    assert await recorded(home) == Account("acct-1", "user-1")
    for pin in (one, two, pin_of(home)):
        assert await is_refused(pin, FOREIGN)
        assert not await is_refused(pin, credential_for("second"))


@pytest.mark.parametrize(
    "other",
    [
        FOREIGN,
        credential_for("x", account="acct-2"),
        credential_for("x", user="user-2"),
        NAMELESS,
        credential_for("x", account=None),
    ],
    ids=["account-and-user", "account", "user", "no-names", "user-alone"],
)
async def test_another_login_is_refused_however_often(
    home: Home, other: Credential
) -> None:
    """The message names both accounts and both remedies; the pin stays."""
    pin = pin_of(home)
    await pin.check_or_pin(FIRST)
    for _ in range(2):
        with pytest.raises(AccountChanged) as why:
            await pin.check_or_pin(other)
        for words in (
            "acct-1",
            "`bearerd adopt`",
            "`bearerd login`",
            home.store().name,
        ):
            assert words in why.value.message
    assert await recorded(home) == Account("acct-1", "user-1")


@pytest.mark.parametrize(
    ("first", "then", "expected"),
    [
        (NAMELESS, FIRST, Account("acct-1", "user-1")),
        (
            credential_for(account="acct-1", user=None),
            FIRST,
            Account("acct-1", "user-1"),
        ),
        (
            credential_for(account=None, user="user-1"),
            FIRST,
            Account("acct-1", "user-1"),
        ),
        (FIRST, credential_for("second", user=None), Account("acct-1", "user-1")),
    ],
    ids=["no-names", "no-user", "no-id", "less"],
)
async def test_a_pin_is_completed_by_the_first_login_that_names_more(
    home: Home, first: Credential, then: Credential, expected: Account
) -> None:
    """From then on another account, or another user in it, is refused."""
    pin = pin_of(home)
    await pin.check_or_pin(first)
    await pin.check_or_pin(then)
    assert pin.account == await recorded(home) == expected
    for other in (FOREIGN, credential_for("x", user="user-2")):
        assert await is_refused(pin, other)
        assert await is_refused(pin_of(home), other)


async def test_a_successor_names_the_account_of_a_nameless_login(home: Home) -> None:
    """Its lineage is known."""
    pin = pin_of(home)
    await pin.check_or_pin(NAMELESS)
    await pin.learn(FIRST)
    assert await recorded(home) == Account("acct-1", "user-1")


async def test_what_could_not_be_recorded_yet_holds_all_the_same(home: Home) -> None:
    """The lock is held by another process just then: a file of another account must not
    complete the nameless pin that is on disk.
    """
    pin = pin_of(home)
    await pin.check_or_pin(NAMELESS)
    async with home.store().lock(0):
        await pin.learn(FIRST)
        assert await recorded(home) == Account(None, None)
        assert await is_refused(pin, FOREIGN)
        assert not await is_refused(pin, credential_for("second"))
    await pin.record()
    assert await recorded(home) == Account("acct-1", "user-1")


async def test_a_pin_that_cannot_be_written_holds_in_memory(home: Home) -> None:
    """And is written when there is room."""
    pin = pin_of(home)
    with full_disk():
        await pin.check_or_pin(FIRST)
        assert await is_refused(pin, FOREIGN)
    assert await recorded(home) is None
    await pin.record()
    assert await recorded(home) == Account("acct-1", "user-1")


async def test_a_concurrent_sign_in_is_not_overwritten(home: Home) -> None:
    """It chose another account, before this process could record the first."""
    pin = pin_of(home)
    async with home.store().lock(0):
        await pin.check_or_pin(FIRST)
    level = BucketLevel(1.0, START)
    await home.store().write_state(
        StoreState(account=Account("acct-2", "user-2"), level=level)
    )
    await pin.record()
    state = await home.store().read_state()
    assert (state.account, state.level) == (Account("acct-2", "user-2"), level)
    assert pin.account == Account("acct-2", "user-2")
    assert await is_refused(pin, FIRST)
    assert not await is_refused(pin, FOREIGN)


async def test_without_the_recorded_account_nothing_is_learned(home: Home) -> None:
    """A state that cannot be read may name another account than the file."""
    await pin_of(home).check_or_pin(FIRST)
    state = home.path.with_name("auth.json.bearerd-state")
    state.rename(state.with_name("away"))
    state.mkdir()
    fresh = pin_of(home)
    with pytest.raises(StoreUnavailable):
        await fresh.check_or_pin(FOREIGN)
    assert fresh.account is None
    state.rmdir()
    state.with_name("away").rename(state)
    assert await is_refused(fresh, FOREIGN)


async def test_adopting_pins_to_what_the_store_holds(home: Home) -> None:
    """For other processes too; the rest of the state stays."""
    pin = pin_of(home)
    await pin.check_or_pin(FIRST)
    state = await home.store().read_state()
    await home.store().write_state(
        StoreState(account=state.account, spent=("aaaaaaaaaaaaaaaa",))
    )
    home.write(login("x", account="acct-2", user="user-2"))
    assert (await pin.adopt()).account_id == "acct-2"
    state = await home.store().read_state()
    assert state.account == pin.account == Account("acct-2", "user-2")
    assert state.spent == ("aaaaaaaaaaaaaaaa",)
    for one in (pin, pin_of(home)):
        assert await is_refused(one, FIRST)


def test_without_a_pin_any_account_is_the_same() -> None:
    """A store that was never used."""
    assert require_same_account(FOREIGN, None, "auth.json") is FOREIGN
