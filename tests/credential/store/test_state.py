"""The notes beside a credential: there and back, garbage, and who owns what."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bearerd.credential.refresh.token_bucket import TokenBucket
from bearerd.credential.store.state import (
    Account,
    BucketLevel,
    RefusedToken,
    StoreState,
)
from tests.credential.stand_ins import MARK, held

FULL = StoreState(
    account=Account("acct-1", "user-1"),
    refused=RefusedToken("0123456789abcdef", "reused"),
    level=BucketLevel(2.5, 1_800_000_000.25),
)


@pytest.mark.parametrize(
    "state",
    [
        StoreState(),
        FULL,
        StoreState(account=Account("acct-1")),
        StoreState(account=Account(None, None)),
        StoreState(refused=RefusedToken("0123456789abcdef", "expired")),
        StoreState(level=BucketLevel(0.0, 0.0)),
    ],
)
def test_notes_come_back_as_they_were_written(state: StoreState) -> None:
    """Every part may be absent."""
    assert StoreState.from_json(state.to_json()) == state


def test_the_notes_are_a_json_object_with_a_version_and_no_secret() -> None:
    """Only a fingerprint of the token that was refused is there."""
    refused = RefusedToken(held().fingerprint, "reused")
    content = StoreState(account=Account.of(held()), refused=refused).to_json()
    assert json.loads(content)["version"] == 1
    assert MARK.encode() not in content


def test_notes_of_a_later_version_keep_what_is_understood() -> None:
    """A part with a field more is not ours; the others are."""
    document = json.loads(FULL.to_json())
    document |= {"version": 2, "news": [1]}
    document["level"]["colour"] = "blue"
    state = StoreState.from_json(json.dumps(document).encode())
    assert state == StoreState(account=FULL.account, refused=FULL.refused)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"7",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"owner": 1, "refused": [], "level": "full"}',
        b'{"owner": {"account": "x"}, "refused": {}, "level": {"calls": 1}}',
    ],
    ids=[
        "empty",
        "torn",
        "null",
        "list",
        "number",
        "not-utf-8",
        "nested-without-end",
        "other-types",
        "other-fields",
    ],
)
def test_notes_that_make_no_sense_are_empty(content: bytes) -> None:
    """They cost a refill of the budget or one refused call, never a start."""
    assert StoreState.from_json(content) == StoreState()


@pytest.mark.parametrize(
    "part",
    [
        {"owner": {"account_id": 7, "user_id": None}},
        {"owner": {"account_id": ["acct-1"], "user_id": None}},
        {"refused": {"fingerprint": 7, "reason": "reused"}},
        {"refused": {"fingerprint": "0123456789abcdef", "reason": None}},
        {"level": {"calls": "many", "at": 0}},
        {"level": {"calls": 1, "at": None}},
        {"level": {"calls": True, "at": 0}},
        {"level": {"calls": float("nan"), "at": 0}},
        {"level": {"calls": 1, "at": float("inf")}},
        {"level": {"calls": -1e300, "at": 0}},
    ],
    ids=repr,
)
def test_a_part_with_values_of_another_kind_is_absent(part: dict[str, object]) -> None:
    """Whoever wrote it, it must not stop every later refresh of this profile."""
    assert StoreState.from_json(json.dumps(part).encode()) == StoreState()


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.integers(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["calls", "at", "account_id", "user_id", "reason", "x"]
                ),
                inner,
                max_size=3,
            )
        ),
        max_leaves=8,
    ),
    st.sampled_from(["owner", "refused", "level"]),
)
def test_whatever_the_notes_hold_can_be_worked_with(value: object, part: str) -> None:
    """Any JSON at all in any part leaves notes that budget and guard can use."""
    state = StoreState.from_json(json.dumps({part: value}).encode())
    if state.level is not None:
        level, wait_seconds = TokenBucket(5, 30.0).acquire(state.level, 1_800_000_000.0)
        assert 0.0 <= level.calls <= 5.0
        assert 0.0 <= wait_seconds <= 30.0
    if state.account is not None:
        assert isinstance(state.account.accepts(Account("acct-1", "user-1")), bool)
    assert StoreState.from_json(state.to_json()) == state


@pytest.mark.parametrize(
    ("account", "other", "accepted"),
    [
        (Account("a", "u"), Account("a", "u"), True),
        (Account("a", "u"), Account("b", "u"), False),
        (Account("a", "u"), Account("a", "v"), False),
        (Account("a", "u"), Account("b", "v"), False),
        (Account("a", None), Account("a", "u"), True),
        (Account("a", "u"), Account("a", None), True),
        (Account("a", None), Account("a", None), True),
        (Account("a", None), Account("b", None), False),
        (Account("a", "u"), Account(None, "u"), False),
        (Account("a", "u"), Account(None, None), False),
        (Account(None, None), Account("a", "u"), True),
        (Account(None, None), Account(None, None), True),
        (Account(None, "u"), Account("a", "u"), True),
    ],
)
def test_an_owner_accepts_its_own(
    account: Account, other: Account, accepted: bool
) -> None:
    """The account must be the same; the person where both sides name one."""
    assert account.accepts(other) is accepted


def test_a_person_who_is_known_is_not_changed_for_another_without_an_account() -> None:
    """No account is named yet, but a person is: somebody else's login is refused."""
    assert not Account(None, "u").accepts(Account("a", "v"))


def test_the_owner_is_read_off_a_credential() -> None:
    """Account and person, as far as it says."""
    assert Account.of(held(account="a", user=None)) == Account("a", None)
