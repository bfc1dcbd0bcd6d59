"""The notes beside a credential: there and back, garbage, and who owns what."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bearerd.credential.refresh.token_bucket import Budget
from bearerd.credential.store.state import Level, Notes, Owner, Refused
from tests.credential.stand_ins import MARK, held

FULL = Notes(
    owner=Owner("acct-1", "user-1"),
    refused=Refused("0123456789abcdef", "reused"),
    level=Level(2.5, 1_800_000_000.25),
)


@pytest.mark.parametrize(
    "notes",
    [
        Notes(),
        FULL,
        Notes(owner=Owner("acct-1")),
        Notes(owner=Owner(None, None)),
        Notes(refused=Refused("0123456789abcdef", "expired")),
        Notes(level=Level(0.0, 0.0)),
    ],
)
def test_notes_come_back_as_they_were_written(notes: Notes) -> None:
    """Every part may be absent."""
    assert Notes.from_json(notes.to_json()) == notes


def test_the_notes_are_a_json_object_with_a_version_and_no_secret() -> None:
    """Only a fingerprint of the token that was refused is there."""
    refused = Refused(held().fingerprint, "reused")
    content = Notes(owner=Owner.of(held()), refused=refused).to_json()
    assert json.loads(content)["version"] == 1
    assert MARK.encode() not in content


def test_notes_of_a_later_version_keep_what_is_understood() -> None:
    """A part with a field more is not ours; the others are."""
    document = json.loads(FULL.to_json())
    document |= {"version": 2, "news": [1]}
    document["level"]["colour"] = "blue"
    notes = Notes.from_json(json.dumps(document).encode())
    assert notes == Notes(owner=FULL.owner, refused=FULL.refused)


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
    assert Notes.from_json(content) == Notes()


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
    assert Notes.from_json(json.dumps(part).encode()) == Notes()


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
    notes = Notes.from_json(json.dumps({part: value}).encode())
    if notes.level is not None:
        level, wait_seconds = Budget(5, 30.0).draw(notes.level, 1_800_000_000.0)
        assert 0.0 <= level.calls <= 5.0
        assert 0.0 <= wait_seconds <= 30.0
    if notes.owner is not None:
        assert isinstance(notes.owner.accepts(Owner("acct-1", "user-1")), bool)
    assert Notes.from_json(notes.to_json()) == notes


@pytest.mark.parametrize(
    ("owner", "other", "accepted"),
    [
        (Owner("a", "u"), Owner("a", "u"), True),
        (Owner("a", "u"), Owner("b", "u"), False),
        (Owner("a", "u"), Owner("a", "v"), False),
        (Owner("a", "u"), Owner("b", "v"), False),
        (Owner("a", None), Owner("a", "u"), True),
        (Owner("a", "u"), Owner("a", None), True),
        (Owner("a", None), Owner("a", None), True),
        (Owner("a", None), Owner("b", None), False),
        (Owner("a", "u"), Owner(None, "u"), False),
        (Owner("a", "u"), Owner(None, None), False),
        (Owner(None, None), Owner("a", "u"), True),
        (Owner(None, None), Owner(None, None), True),
        (Owner(None, "u"), Owner("a", "u"), True),
    ],
)
def test_an_owner_accepts_its_own(owner: Owner, other: Owner, accepted: bool) -> None:
    """The account must be the same; the person where both sides name one."""
    assert owner.accepts(other) is accepted


def test_a_person_who_is_known_is_not_changed_for_another_without_an_account() -> None:
    """No account is named yet, but a person is: somebody else's login is refused."""
    assert not Owner(None, "u").accepts(Owner("a", "v"))


def test_the_owner_is_read_off_a_credential() -> None:
    """Account and person, as far as it says."""
    assert Owner.of(held(account="a", user=None)) == Owner("a", None)
