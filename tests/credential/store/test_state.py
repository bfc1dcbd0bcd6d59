"""The state beside a credential: there and back, garbage, and which account fits."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bearerd.credential.refresh.token_bucket import TokenBucket
from bearerd.credential.store.state import (
    SPENT_LIMIT,
    Account,
    BucketLevel,
    ConsecutiveRejections,
    RefusedToken,
    RetryState,
    StoreState,
)
from tests.credential.stand_ins import MARK, START, credential_for

REFUSED = RefusedToken(
    "0123456789abcdef", "reused", "https://authority.test/token", "app_1", START
)
FULL = StoreState(
    account=Account("acct-1", "user-1"),
    refused=REFUSED,
    level=BucketLevel(2.5, START + 0.25),
    retry=RetryState(
        fingerprint="0123456789abcdef",
        token_url="https://authority.test/token",
        client_id="app_1",
        outcome="unclear",
        reason="http_502",
        pace="fast",
        failures=3,
        until=START + 4.5,
        status=502,
    ),
    spent=("aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"),
    consecutive_rejections=ConsecutiveRejections(3, START),
)


@pytest.mark.parametrize(
    "state",
    [
        StoreState(),
        FULL,
        StoreState(account=Account("acct-1")),
        StoreState(account=Account(None, None)),
        StoreState(refused=REFUSED),
        StoreState(level=BucketLevel(0.0, 0.0)),
        StoreState(spent=("aaaaaaaaaaaaaaaa",)),
    ],
)
def test_a_state_comes_back_as_it_was_written(state: StoreState) -> None:
    """Every part may be absent."""
    assert StoreState.from_json(state.to_json()) == state


def test_the_file_is_a_json_object_with_a_version_and_no_secret() -> None:
    """Tokens are named by fingerprint only."""
    login = credential_for()
    refused = RefusedToken(login.fingerprint, "reused", "https://a.test", "app", START)
    state = StoreState(
        account=Account.from_credential(login),
        refused=refused,
        spent=(login.fingerprint,),
    )
    assert json.loads(state.to_json())["version"] == 1
    assert MARK.encode() not in state.to_json()


def test_the_names_in_the_file_stay_as_they_are() -> None:
    """Other versions and `doctor` read them."""
    document = json.loads(FULL.to_json())
    assert set(document) == {
        "version",
        "owner",
        "refused",
        "level",
        "retry",
        "spent",
        "unaccepted",
    }
    assert document["owner"] == {"account_id": "acct-1", "user_id": "user-1"}


def test_a_later_versions_file_keeps_what_is_understood() -> None:
    """A part with one more field is absent; the others are read."""
    document = json.loads(FULL.to_json())
    document |= {"version": 2, "news": [1]}
    for part in ("level", "retry", "unaccepted"):
        document[part]["colour"] = "blue"
    state = StoreState.from_json(json.dumps(document).encode())
    assert state == StoreState(
        account=FULL.account, refused=FULL.refused, spent=FULL.spent
    )


def test_an_earlier_versions_refusal_is_absent() -> None:
    """It names no client and no endpoint, so it may have been a fault of theirs."""
    content = b'{"version": 1, "refused": {"fingerprint": "f", "reason": "other"}}'
    assert StoreState.from_json(content) == StoreState()


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
        b'{"owner": 1, "refused": [], "level": "full", "spent": {}}',
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
def test_a_file_that_makes_no_sense_is_an_empty_state(content: bytes) -> None:
    """It costs a refill of the budget or one refused call, never a start."""
    assert StoreState.from_json(content) == StoreState()


@pytest.mark.parametrize(
    "part",
    [
        {"owner": {"account_id": 7, "user_id": None}},
        {"owner": {"account_id": ["acct-1"], "user_id": None}},
        {"refused": json.loads(FULL.to_json())["refused"] | {"fingerprint": 7}},
        {"refused": json.loads(FULL.to_json())["refused"] | {"reason": None}},
        {"refused": json.loads(FULL.to_json())["refused"] | {"at": "x"}},
        {"level": {"calls": "many", "at": 0}},
        {"level": {"calls": 1, "at": None}},
        {"level": {"calls": True, "at": 0}},
        {"level": {"calls": float("nan"), "at": 0}},
        {"level": {"calls": 1, "at": float("inf")}},
        {"level": {"calls": -1e300, "at": 0}},
        {"retry": json.loads(FULL.to_json())["retry"] | {"failures": 1.5}},
        {"retry": json.loads(FULL.to_json())["retry"] | {"until": None}},
        {"unaccepted": {"count": "x", "at": 0}},
        {"unaccepted": {"count": -1, "at": 0}},
        {"spent": "aaaaaaaaaaaaaaaa"},
        {"spent": [7, None]},
    ],
    ids=repr,
)
def test_a_part_with_values_of_another_type_is_absent(part: dict[str, object]) -> None:
    """It must not stop every later refresh of this profile."""
    assert StoreState.from_json(json.dumps(part).encode()) == StoreState()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["account_id", "user_id", "calls", "at", "count"]),
                inner,
            )
        ),
        max_leaves=9,
    ),
    st.sampled_from(["owner", "refused", "level", "retry", "spent", "unaccepted"]),
)
def test_any_json_in_any_part_leaves_a_state_that_can_be_used(
    value: object, part: str
) -> None:
    """By the budget and by the account pin."""
    state = StoreState.from_json(json.dumps({part: value}).encode())
    if state.level is not None:
        level, wait_seconds = TokenBucket(5, 30.0).acquire(state.level, START)
        assert 0.0 <= level.calls <= 5.0
        assert 0.0 <= wait_seconds <= 30.0
    if state.account is not None:
        assert isinstance(state.account.accepts(Account("acct-1", "user-1")), bool)
    assert StoreState.from_json(state.to_json()) == state


def test_spent_fingerprints_are_kept_once_and_up_to_a_limit() -> None:
    """The newest are kept; one that is spent again counts as new."""
    state = StoreState(spent=("a", "b", "c"))
    assert state.with_spent("a") == ("b", "c", "a")
    many = tuple(str(number) for number in range(SPENT_LIMIT))
    assert StoreState(spent=many).with_spent("new") == (*many[1:], "new")
    too_many = json.dumps({"spent": [*many, "x", "y"]}).encode()
    assert len(StoreState.from_json(too_many).spent) == SPENT_LIMIT


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
        (Account(None, "u"), Account("a", "v"), False),
    ],
)
def test_an_account_accepts_its_own_logins(
    account: Account, other: Account, accepted: bool
) -> None:
    """The id must be the same, once it is known; the user where both sides name one."""
    assert account.accepts(other) is accepted


def test_the_account_is_read_from_a_credential() -> None:
    """Id and user, as far as its tokens name them."""
    assert Account.from_credential(credential_for(account="a", user=None)) == Account(
        "a", None
    )
