"""Whose 401 is it: the whole decision as a table, storms, and what is remembered."""

from __future__ import annotations

import pytest

from bearerd.relay.rejections import (
    DEAD_AFTER_PATHS,
    DOUBTFUL_PATHS,
    PATHS_LIMIT,
    PROBE_SECONDS,
    RECENT_SECONDS,
    RejectionHistory,
    Verdict,
)

NOW = 1_000.0
TOKEN, DOUBTFUL, RESOURCE = Verdict.TOKEN, Verdict.DOUBTFUL, Verdict.RESOURCE
HERE, THERE = "codex/responses", "wham/usage"


@pytest.mark.parametrize(
    ("elsewhere", "here", "is_always_rejecting", "blames_token", "expected"),
    [
        # No other path has accepted this credential: each 401 is about the token.
        ("nowhere", None, False, False, TOKEN),
        ("nowhere", None, False, True, TOKEN),
        ("nowhere", 2, False, False, TOKEN),
        ("nowhere", 2, False, True, TOKEN),
        ("nowhere", None, True, False, TOKEN),
        ("nowhere", None, True, True, TOKEN),
        # Another path has just accepted it. The body blames the token: the token's.
        ("just now", None, False, True, TOKEN),
        ("just now", 1, False, True, TOKEN),
        ("just now", 2, False, True, TOKEN),
        # The body blames nothing: the token's if this path accepted it before, or has
        # no history; the resource's if it accepted an earlier credential only.
        ("just now", 2, False, False, TOKEN),
        ("just now", None, False, False, DOUBTFUL),
        ("just now", 1, False, False, RESOURCE),
        # The rejections of a path that rejected a new credential do not count.
        ("just now", None, True, False, RESOURCE),
        ("just now", None, True, True, RESOURCE),
        ("just now", 2, True, False, RESOURCE),
        ("just now", 2, True, True, RESOURCE),
        # An acceptance of long ago, or of another credential, proves nothing.
        ("long ago", None, False, False, TOKEN),
        ("long ago", 1, False, False, TOKEN),
        ("long ago", None, True, True, TOKEN),
        ("another one", None, False, False, TOKEN),
        ("another one", 1, False, False, TOKEN),
        ("another one", None, True, False, TOKEN),
    ],
)
def test_a_401_is_about_the_token_or_about_the_resource(
    elsewhere: str,
    here: int | None,
    is_always_rejecting: bool,
    blames_token: bool,
    expected: Verdict,
) -> None:
    """The facts when a 401 comes for generation 2, and the decision."""
    history = RejectionHistory()
    if here is not None:
        history.record_success(HERE, here, NOW)
    if is_always_rejecting:
        # Generation 2 was fresh then; `record_success` would forget the rejection.
        history.record_rejection(HERE, 2, NOW, blames_token=True, is_fresh=True)
    if elsewhere == "just now":
        history.record_success(THERE, 2, NOW - RECENT_SECONDS + 0.1)
    elif elsewhere == "long ago":
        history.record_success(THERE, 2, NOW - RECENT_SECONDS)
    elif elsewhere == "another one":
        history.record_success(THERE, 1, NOW)
    found = history.record_rejection(HERE, 2, NOW, blames_token=blames_token)
    assert found is expected
    assert history.is_known_bad(HERE, 2) is (expected is not RESOURCE)


def test_a_path_without_a_history_has_one_try_with_each_credential() -> None:
    """A token that was dead at the start is refreshed; the path costs no second one."""
    history = RejectionHistory()
    for generation in (1, 2):
        history.record_success(THERE, generation, NOW)
        found = [
            history.record_rejection(HERE, generation, NOW, blames_token=False)
            for _ in range(3)
        ]
        assert found == [DOUBTFUL, RESOURCE, RESOURCE]


def test_paths_without_a_history_are_tried_up_to_a_limit() -> None:
    """A client that invents paths cannot have one refresh for each of them."""
    history = RejectionHistory()
    history.record_success(THERE, 1, NOW)
    found = [
        history.record_rejection(f"invented/{number}", 1, NOW, blames_token=False)
        for number in range(10)
    ]
    assert found == [DOUBTFUL] * DOUBTFUL_PATHS + [RESOURCE] * (10 - DOUBTFUL_PATHS)


def test_a_late_401_for_an_older_credential_gives_no_new_tries() -> None:
    """Responses can overtake each other; the tries with the cached credential stay used."""
    history = RejectionHistory()
    for generation in (1, 2):
        history.record_success(THERE, generation, NOW)
    for number in range(DOUBTFUL_PATHS):
        assert (
            history.record_rejection(f"{number}", 2, NOW, blames_token=False)
            is DOUBTFUL
        )
    history.record_success(THERE, 1, NOW)
    history.record_rejection("late", 1, NOW, blames_token=False)
    history.record_success(THERE, 2, NOW)
    assert history.record_rejection("one more", 2, NOW, blames_token=False) is RESOURCE


def test_an_acceptance_on_the_same_path_is_none_elsewhere() -> None:
    """The path itself proves nothing about its 401."""
    history = RejectionHistory()
    history.record_success(HERE, 1, NOW)
    assert history.record_rejection(HERE, 1, NOW, blames_token=False) is TOKEN


def test_a_path_that_accepts_again_is_believed_again() -> None:
    """One acceptance ends its record of rejecting every credential."""
    history = RejectionHistory()
    history.record_success(THERE, 1, NOW)
    history.record_rejection(HERE, 1, NOW, blames_token=True, is_fresh=True)
    assert history.record_rejection(HERE, 1, NOW, blames_token=True) is RESOURCE
    history.record_success(HERE, 1, NOW)
    assert history.record_rejection(HERE, 1, NOW, blames_token=True) is TOKEN


def test_a_path_that_rejects_all_is_judged_by_what_others_accepted_since() -> None:
    """It rejected a fresh credential that another path then accepted. So its 401 for the
    next one counts for nothing, even before another path has tried that one.
    """
    history = RejectionHistory()
    history.record_success(THERE, 1, NOW)
    assert (
        history.record_rejection(HERE, 2, NOW, blames_token=True, is_fresh=True)
        is TOKEN
    )
    assert history.record_rejection(HERE, 2, NOW, blames_token=True) is TOKEN
    history.record_success(THERE, 2, NOW)
    assert (
        history.record_rejection(HERE, 3, NOW, blames_token=True, is_fresh=True)
        is RESOURCE
    )
    late = NOW + RECENT_SECONDS
    assert history.record_rejection(HERE, 3, late, blames_token=True) is TOKEN


def test_a_late_success_of_an_older_credential_hides_no_newer_one() -> None:
    """The newest generation that a path accepted is what counts."""
    history = RejectionHistory()
    history.record_success(HERE, 2, NOW)
    history.record_success(THERE, 2, NOW)
    history.record_success(HERE, 1, NOW)
    history.record_success(THERE, 1, NOW)
    assert history.record_rejection(HERE, 2, NOW, blames_token=False) is TOKEN
    assert (
        history.record_rejection("new", 2, NOW, blames_token=False, is_fresh=True)
        is RESOURCE
    )


def test_a_rejected_credential_is_known_bad_where_it_was_rejected() -> None:
    """Other paths may still try it, until too many have rejected it."""
    history = RejectionHistory()
    assert not history.is_known_bad(HERE, 1)
    history.record_rejection(HERE, 1, NOW, blames_token=True)
    assert history.is_known_bad(HERE, 1)
    assert not history.is_known_bad(THERE, 1)
    for number in range(DEAD_AFTER_PATHS - 1):
        history.record_rejection(f"other/{number}", 1, NOW, blames_token=True)
    assert history.is_known_bad(THERE, 1)


def test_one_path_in_a_storm_makes_the_credential_bad_nowhere_else() -> None:
    """A thousand rejections by one path prove no more than the first."""
    history = RejectionHistory()
    for _ in range(1000):
        history.record_rejection(HERE, 1, NOW, blames_token=True)
    assert not history.is_known_bad(THERE, 1)


def test_an_acceptance_anywhere_ends_the_record_of_rejections() -> None:
    """The credential is valid, whatever status some paths return."""
    history = RejectionHistory()
    for number in range(DEAD_AFTER_PATHS):
        history.record_rejection(f"other/{number}", 1, NOW, blames_token=True)
    history.record_success(THERE, 1, NOW)
    assert not history.is_known_bad("other/0", 1)
    assert not history.is_known_bad(THERE, 1)


def test_a_late_success_of_an_older_credential_ends_no_record() -> None:
    """Generation 1 was accepted late; generation 2 is rejected all the same."""
    history = RejectionHistory()
    history.record_rejection(HERE, 2, NOW, blames_token=True)
    history.record_success(THERE, 1, NOW)
    assert history.is_known_bad(HERE, 2)


def test_a_new_credential_begins_without_a_record() -> None:
    """Rejections of the old one do not count against it."""
    history = RejectionHistory()
    history.record_rejection(HERE, 1, NOW, blames_token=True)
    assert not history.is_known_bad(HERE, 2)
    history.record_rejection(THERE, 2, NOW, blames_token=True)
    assert not history.is_known_bad(HERE, 2)


def test_a_late_401_for_an_older_credential_ends_no_record() -> None:
    """It does not replace the record of the newer one."""
    history = RejectionHistory()
    history.record_rejection(HERE, 2, NOW, blames_token=True)
    history.record_rejection(THERE, 1, NOW, blames_token=True)
    assert history.is_known_bad(HERE, 2)


def test_a_credential_that_is_known_bad_is_probed_now_and_then() -> None:
    """The upstream may have been wrong, as in an incident on its side."""
    history = RejectionHistory()
    seconds = [0.0, 0.1, PROBE_SECONDS - 0.1, PROBE_SECONDS, PROBE_SECONDS + 1]
    found = [history.acquire_probe(NOW + after) for after in seconds]
    assert found == [True, False, False, True, False]


def test_a_rejection_counts_as_a_probe() -> None:
    """The request that was rejected has just shown what the upstream says."""
    history = RejectionHistory()
    history.record_rejection(HERE, 1, NOW, blames_token=True)
    assert not history.acquire_probe(NOW + PROBE_SECONDS - 0.1)
    assert history.acquire_probe(NOW + PROBE_SECONDS)


def test_the_memory_is_bounded() -> None:
    """A client that invents paths fills no memory."""
    history = RejectionHistory()
    for number in range(3 * PATHS_LIMIT):
        path = f"invented/{number}"
        history.record_success(path, 1, NOW)
        history.record_rejection(path, 1, NOW, blames_token=True, is_fresh=True)
        history.record_rejection(f"rejected/{number}", 1, NOW, blames_token=True)
    for number in range(3 * PATHS_LIMIT):
        history.record_rejection(f"late/{number}", 1, NOW + 120, blames_token=True)
    assert len(history._accepted) <= PATHS_LIMIT
    assert len(history._always_rejecting) <= PATHS_LIMIT
    assert len(history._rejecting.paths) <= PATHS_LIMIT
    assert len(history._tried.paths) <= PATHS_LIMIT


def test_a_path_in_use_is_not_forgotten_for_invented_ones() -> None:
    """The path used last is kept longest."""
    history = RejectionHistory()
    history.record_success(HERE, 1, NOW)
    for number in range(PATHS_LIMIT - 1):
        history.record_success(f"invented/{number}", 1, NOW)
        history.record_success(HERE, 1, NOW)
    history.record_success("invented/last", 1, NOW)
    assert HERE in history._accepted
