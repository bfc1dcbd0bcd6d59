"""Which of two credentials of one login is the newer: the decision as a table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bearerd.credential.refresh.lineage import CLOCK_TOLERANCE_SECONDS, Lineage
from bearerd.credential.store.state import SPENT_LIMIT, StoreState
from bearerd.credential.token import Credential
from tests.credential.stand_ins import HOUR, START, credential_for

NOW = START + HOUR


def at(serial: str, refreshed_at: float | None, **fields: str | None) -> Credential:
    """Return a credential of that last refresh."""
    return replace(credential_for(serial), refreshed_at=refreshed_at, **fields)  # type: ignore[arg-type]


CACHED = at("cached", START)


@pytest.mark.parametrize(
    ("stored", "spent", "replaced", "is_refused", "is_newer"),
    [
        # a: what was seen to be replaced itself.
        (at("x", None), {"x"}, ("cached",), False, False),
        (at("x", START - 60), {"x"}, ("cached",), False, False),
        (at("x", START - 60), set(), ("cached",), False, False),
        # b: spent tokens.
        (at("x", None), {"x"}, (), False, True),
        (at("x", START + 60), {"x"}, (), False, True),
        (at("x", START + 60), {"x"}, (), True, True),
        (at("x", START - 60), {"cached"}, (), False, False),
        (at("x", START - 60), {"cached"}, ("x",), False, False),
        (at("x", START - 60), {"cached", "x"}, (), False, True),
        (at("x", None), {"cached", "x"}, (), False, False),
        # c: a login that is of no use yields.
        (at("x", START - 60), set(), (), True, False),
        (at("x", START - 60), set(), ("x",), True, False),
        # d: what was seen to be replaced.
        (at("x", None), set(), ("x",), False, True),
        (at("x", START + 60), set(), ("x",), False, True),
        # e: the times.
        (at("x", START - 60), set(), (), False, True),
        (at("x", START + 60), set(), (), False, False),
        (at("x", START), set(), (), False, False),
        (at("x", START - CLOCK_TOLERANCE_SECONDS), set(), (), False, False),
        (at("x", None), set(), (), False, False),
    ],
)
def test_the_first_rule_that_can_tell_decides(
    stored: Credential,
    spent: set[str],
    replaced: tuple[str, ...],
    is_refused: bool,
    is_newer: bool,
) -> None:
    """What is held is kept over *stored*, or yields to it."""
    lineage = Lineage()
    for serial in replaced:
        after = stored if serial == "cached" else CACHED
        lineage.record_replacement(credential_for(serial), after)
    lineage.sync(
        StoreState(spent=tuple(credential_for(name).fingerprint for name in spent))
    )
    found = lineage.is_newer(CACHED, stored, now=NOW, is_refused=is_refused)
    assert found is is_newer


def test_what_this_process_spent_counts_as_what_others_spent() -> None:
    """Before the state is read again."""
    lineage = Lineage()
    lineage.record_spent(credential_for("x").fingerprint)
    assert lineage.is_newer(CACHED, at("x", START + 60), now=NOW)
    assert lineage.is_spent_locally(credential_for("x"))
    assert lineage.is_spent_locally(credential_for("x").fingerprint)
    assert not lineage.is_spent_locally(None)


def test_what_others_spent_was_not_spent_here() -> None:
    """The journal may contain the successor of a process that died."""
    lineage = Lineage()
    lineage.sync(StoreState(spent=(credential_for("x").fingerprint,)))
    assert lineage.is_spent(credential_for("x"))
    assert not lineage.is_spent_locally(credential_for("x"))


@pytest.mark.parametrize(
    "other",
    [at("x", START - HOUR, account_id="acct-2"), at("x", START - HOUR, user_id="u-2")],
    ids=["account", "user"],
)
def test_another_accounts_login_is_never_older(other: Credential) -> None:
    """The pin decides whether it may be used, and an adopted one stays."""
    lineage = Lineage()
    lineage.record_spent(other.fingerprint)
    lineage.record_replacement(other, CACHED)
    assert not lineage.is_newer(CACHED, other, now=NOW)


def test_a_login_without_a_refresh_token_yields_to_any_other() -> None:
    """It serves until its end, and cannot be kept valid."""
    tokenless = at("cached", START, refresh_token="")
    lineage = Lineage()
    assert not lineage.is_newer(tokenless, at("x", START - HOUR), now=NOW)
    lineage.record_replacement(tokenless, CACHED)
    assert not lineage.is_newer(CACHED, at("x", None, refresh_token=""), now=NOW)


def test_a_time_that_is_still_to_come_decides_nothing() -> None:
    """A clock that was ahead stamped what is held; a new sign-in must not be undone."""
    ahead = at("cached", NOW + 1)
    assert not Lineage().is_newer(ahead, at("x", START), now=NOW)


def test_the_time_of_the_base_decides_where_it_is_given() -> None:
    """A sign-in during a call is older than the response, and no older login."""
    successor, sign_in = at("successor", START + 30), at("x", START + 10)
    lineage = Lineage()
    assert lineage.is_newer(successor, sign_in, now=NOW)
    assert not lineage.is_newer(successor, sign_in, now=NOW, refreshed_at=START)
    assert lineage.is_newer(
        successor, at("backup", START - 60), now=NOW, refreshed_at=START
    )


def test_a_restored_login_does_not_count_as_replaced() -> None:
    """Else the next refresh of it would be undone."""
    lineage = Lineage()
    one, two = at("one", None), at("two", None)
    lineage.record_replacement(one, two)
    lineage.record_replacement(two, one)
    assert lineage.is_newer(one, two, now=NOW)
    assert not lineage.is_newer(two, one, now=NOW)


def test_a_new_access_token_for_the_same_refresh_token_is_not_a_replacement() -> None:
    """An authority that does not rotate leaves the login as it was."""
    lineage = Lineage()
    same = replace(CACHED, access_token="other")
    lineage.record_replacement(CACHED, same)
    assert not lineage.is_newer(same, CACHED, now=NOW)


def test_the_memory_is_bounded() -> None:
    """A file that is replaced for years fills no memory."""
    lineage = Lineage()
    for number in range(3 * SPENT_LIMIT):
        lineage.record_spent(str(number))
        lineage.record_replacement(
            credential_for(str(number)), credential_for(str(number + 1))
        )
    assert len(lineage._spent) == len(lineage._replaced) == SPENT_LIMIT
