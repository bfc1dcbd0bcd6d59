"""Whose 401 is it: the whole decision, storms, and what is remembered."""

from __future__ import annotations

import pytest

from bearerd.credential.rejections import (
    DEAD_AFTER_PATHS,
    RECENT_SECONDS,
    REMEMBERED_PATHS,
    RejectionHistory,
)

NOW = 1_000.0
HERE, THERE = "codex/responses", "wham/usage"


@pytest.mark.parametrize(
    ("elsewhere", "here", "is_always_rejecting", "blames_token", "is_token"),
    [
        # Nobody has taken this credential elsewhere: any 401 is about the token.
        ("nowhere", False, False, False, True),
        ("nowhere", False, False, True, True),
        ("nowhere", True, False, False, True),
        ("nowhere", True, False, True, True),
        ("nowhere", False, True, False, True),
        ("nowhere", False, True, True, True),
        # It was just taken elsewhere: a word about the token, or a path that took it
        # before, still make it the token's.
        ("just now", False, False, False, False),
        ("just now", False, False, True, True),
        ("just now", True, False, False, True),
        ("just now", True, False, True, True),
        # A path that refused a fresh one is not believed while others take it.
        ("just now", False, True, False, False),
        ("just now", False, True, True, False),
        ("just now", True, True, True, False),
        # An acceptance of long ago, or of another credential, proves nothing.
        ("long ago", False, False, False, True),
        ("long ago", False, True, True, True),
        ("another one", False, False, False, True),
        ("another one", False, True, False, True),
    ],
)
def test_a_401_is_the_tokens_or_the_resources(
    elsewhere: str,
    here: bool,
    is_always_rejecting: bool,
    blames_token: bool,
    is_token: bool,
) -> None:
    """The decision, as a table of what is known when the 401 comes."""
    rejections = RejectionHistory()
    if elsewhere == "just now":
        rejections.record_success(THERE, 2, NOW - RECENT_SECONDS + 0.1)
    elif elsewhere == "long ago":
        rejections.record_success(THERE, 2, NOW - RECENT_SECONDS)
    elif elsewhere == "another one":
        rejections.record_success(THERE, 1, NOW)
    if here:
        rejections.record_success(HERE, 2, NOW)
    if is_always_rejecting:
        rejections.record_fresh_rejection(HERE, 2)
    found = rejections.record_rejection(HERE, 2, NOW, blames_token=blames_token)
    assert found is is_token
    assert rejections.is_rejected(2) is is_token


def test_a_path_does_not_vouch_for_itself() -> None:
    """Its own acceptance is no acceptance elsewhere."""
    rejections = RejectionHistory()
    rejections.record_success(HERE, 1, NOW)
    assert rejections.record_rejection(HERE, 1, NOW, blames_token=False)


def test_a_path_that_takes_the_credential_again_is_believed_again() -> None:
    """Stubbornness ends with the first response."""
    rejections = RejectionHistory()
    rejections.record_success(THERE, 1, NOW)
    rejections.record_fresh_rejection(HERE, 1)
    assert not rejections.record_rejection(HERE, 1, NOW, blames_token=True)
    rejections.record_success(HERE, 1, NOW)
    assert rejections.record_rejection(HERE, 1, NOW, blames_token=True)


def test_a_stubborn_path_is_judged_by_what_others_took_since() -> None:
    """It refused a fresh one that another path then took, so its word on the next one
    counts for nothing, before anybody else has tried that; an older one proves nothing.
    """
    rejections = RejectionHistory()
    rejections.record_success(THERE, 1, NOW)
    rejections.record_fresh_rejection(HERE, 2)
    assert rejections.record_rejection(HERE, 2, NOW, blames_token=True)
    rejections.record_success(THERE, 2, NOW)
    rejections.record_fresh_rejection(HERE, 3)
    assert not rejections.record_rejection(HERE, 3, NOW, blames_token=True)
    late = NOW + RECENT_SECONDS
    assert rejections.record_rejection(HERE, 3, late, blames_token=True)


def test_a_dead_credential_is_condemned_where_it_was_refused() -> None:
    """Other paths may still try it, until too many have refused it."""
    rejections = RejectionHistory()
    assert not rejections.is_known_bad(HERE, 1)
    rejections.record_rejection(HERE, 1, NOW, blames_token=True)
    assert rejections.is_known_bad(HERE, 1)
    assert not rejections.is_known_bad(THERE, 1)
    for number in range(DEAD_AFTER_PATHS - 1):
        rejections.record_rejection(f"other/{number}", 1, NOW, blames_token=True)
    assert rejections.is_known_bad(THERE, 1)


def test_one_path_in_a_storm_condemns_nothing_but_itself() -> None:
    """A thousand refusals at one path say no more than the first."""
    rejections = RejectionHistory()
    for _ in range(1000):
        rejections.record_rejection(HERE, 1, NOW, blames_token=True)
    assert not rejections.is_known_bad(THERE, 1)


def test_an_acceptance_anywhere_lifts_the_sentence() -> None:
    """The credential lives, whatever some paths say."""
    rejections = RejectionHistory()
    for number in range(DEAD_AFTER_PATHS):
        rejections.record_rejection(f"other/{number}", 1, NOW, blames_token=True)
    rejections.record_success(THERE, 1, NOW)
    assert not rejections.is_known_bad("other/0", 1)
    assert not rejections.is_rejected(1)


def test_a_late_response_to_an_older_credential_lifts_nothing() -> None:
    """Generation 1 was accepted late; generation 2 is refused all the same."""
    rejections = RejectionHistory()
    rejections.record_rejection(HERE, 2, NOW, blames_token=True)
    rejections.record_success(THERE, 1, NOW)
    assert rejections.is_known_bad(HERE, 2)


def test_a_new_credential_starts_without_a_record() -> None:
    """What the old one did is not held against it."""
    rejections = RejectionHistory()
    rejections.record_rejection(HERE, 1, NOW, blames_token=True)
    assert not rejections.is_known_bad(HERE, 2)
    assert not rejections.is_rejected(2)
    rejections.record_rejection(THERE, 2, NOW, blames_token=True)
    assert not rejections.is_known_bad(HERE, 2)


def test_a_late_401_for_an_old_credential_does_not_acquit_the_new_one() -> None:
    """Answers overtake each other; an old refusal must not wipe the newer record."""
    rejections = RejectionHistory()
    rejections.record_rejection(HERE, 2, NOW, blames_token=True)
    rejections.record_rejection(THERE, 1, NOW, blames_token=True)
    assert rejections.is_known_bad(HERE, 2)
    assert rejections.is_rejected(2)


def test_memory_is_bounded_whatever_clients_ask_for() -> None:
    """A client that invents paths makes nobody remember them all."""
    rejections = RejectionHistory()
    for number in range(3 * REMEMBERED_PATHS):
        path = f"made-up/{number}"
        rejections.record_success(path, 1, NOW)
        rejections.record_fresh_rejection(path, 1)
        rejections.record_rejection(f"refused/{number}", 1, NOW, blames_token=True)
    for number in range(3 * REMEMBERED_PATHS):
        rejections.record_rejection(f"late/{number}", 1, NOW + 120, blames_token=True)
    assert len(rejections._accepted) <= REMEMBERED_PATHS
    assert len(rejections._always_rejecting) <= REMEMBERED_PATHS
    assert len(rejections._rejecting[1]) <= REMEMBERED_PATHS


def test_a_path_in_use_is_not_forgotten_for_made_up_ones() -> None:
    """What was used last is kept, so that strangers cannot push it out."""
    rejections = RejectionHistory()
    rejections.record_success(HERE, 1, NOW)
    for number in range(REMEMBERED_PATHS - 1):
        rejections.record_success(f"made-up/{number}", 1, NOW)
        rejections.record_success(HERE, 1, NOW)
    rejections.record_success("made-up/last", 1, NOW)
    assert HERE in rejections._accepted
