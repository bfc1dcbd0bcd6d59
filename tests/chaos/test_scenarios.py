"""How logins were lost elsewhere, one by one, and the test that holds each off here.

The scenarios are those that gateways and agents with many stores of one login have met.
bearerd has one store for a login and no copies, so what reconciles copies has nothing to
do here; each of those says so. A test that is named must be there.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

CRED, PATHS, CHAOS = "credential/test_", "paths/test_", "chaos/test_"
AUTHORITY = "credential/authority/test_"

NO_COPIES = "there is one store for a login, and no copies of it to fence or to retire"

# What happened, and a test as file::name, or the reason why it cannot happen here.
SCENARIOS: dict[int, tuple[str, str]] = {
    1: (
        "one generation has one spender",
        f"{CHAOS}many_owners::test_forty_owners_spend_each_token_once",
    ),
    2: (
        "who watches a refresh writes nothing",
        f"{CRED}renewal::test_a_waiter_for_the_lock_finds_the_work_done",
    ),
    3: (
        "a second owner of one generation spends nothing",
        f"{CRED}renewal::test_the_lock_is_held_while_the_authority_is_asked",
    ),
    4: (
        "a login that has failed for good is not tried by others",
        f"{CRED}source::test_two_processes_with_a_dead_token_ask_once",
    ),
    5: (
        "a final word holds for all who share the login",
        f"{PATHS}dead_login::test_a_dead_login_is_remembered_by_the_next_process",
    ),
    6: ("one copy of two cannot be fenced", NO_COPIES),
    7: (
        "an old login is written back during a refresh",
        f"{CRED}left_open::test_a_backup_of_a_spent_token_is_written_over",
    ),
    8: (
        "a store turns unreadable before the answer is kept",
        f"{CHAOS}disk::test_a_folder_that_vanishes_and_returns",
    ),
    9: (
        "a new login beats a late answer",
        f"{CRED}source::test_a_login_during_the_call_wins_and_is_guarded",
    ),
    10: (
        "what cannot be noted is not spent",
        f"{CRED}renewal::test_what_can_wait_is_not_spent_without_a_record",
    ),
    11: (
        "two processes with one stale token",
        f"{PATHS}token_death::test_four_processes_on_one_file_refresh_once",
    ),
    12: (
        "callers share the refresh in the air",
        f"{CRED}flight::test_many_callers_make_one_call_and_get_its_response",
    ),
    13: (
        "a failure frees the queue",
        f"{CRED}flight::test_a_failure_is_shared_and_not_tried_by_each",
    ),
    14: (
        "a burst makes one call",
        f"{PATHS}token_death::test_all_are_answered_with_one_refresh",
    ),
    15: (
        "the disk is full when the answer comes",
        f"{CHAOS}disk::test_a_disk_that_is_really_full_and_a_death_on_top",
    ),
    16: (
        "a final word is remembered until the login changes",
        f"{CRED}source::test_a_refusal_for_good_is_remembered_and_said_once",
    ),
    17: (
        "a login of another program is used",
        "no other program's file is looked at unless it is the store",
    ),
    18: (
        "a caller's deadline does not end the refresh",
        f"{CRED}flight::test_a_caller_with_a_deadline_leaves_when_it_is_over",
    ),
    19: (
        "the spend is noted before it is made, without a secret",
        f"{CRED}renewal::test_the_order_is_lock_journal_spend_journal_store",
    ),
    20: (
        "another account signs in during the refresh",
        f"{PATHS}codex_scenarios::test_a_late_response_does_not_overwrite_another_account",
    ),
    21: (
        "the answer is for another account",
        f"{CRED}renewal::test_a_grant_for_another_account_on_the_wire_is_not_stored",
    ),
    22: (
        "the final word cannot be noted",
        f"{CRED}source::test_what_lives_in_memory_and_is_refused_for_good_ends_in_one_call",
    ),
    23: (
        "an old login is restored while an answer is late",
        f"{CRED}file_store::test_two_late_responses_do_not_overwrite_each_other",
    ),
    24: (
        "a final word is not replaced by a login of unknown age",
        "no login is taken from anywhere but the store",
    ),
    25: (
        "after a failure only another access token helps",
        f"{CRED}left_open::test_a_winner_with_the_token_that_was_refused_is_refreshed",
    ),
    26: (
        "a refusal of an older token costs no call",
        f"{PATHS}token_death::test_a_late_refusal_finds_the_work_done",
    ),
    27: (
        "nothing can refresh this login",
        f"{CRED}source::test_without_a_refresh_token_it_serves_until_its_end",
    ),
    28: (
        "a holder of the lock that stands still",
        f"{CRED}renewal::test_a_holder_that_does_not_let_go_is_not_waited_for_for_ever",
    ),
    29: (
        "nothing is published before it is durable",
        f"{CHAOS}killed::test_the_login_survives_a_death_at_any_step",
    ),
    30: (
        "the answer comes after the lock was lost",
        f"{CHAOS}time::test_another_process_works_while_one_stands_still",
    ),
    31: (
        "a caller that was cancelled gets nothing, the others all",
        f"{PATHS}token_death::test_the_rest_are_served_when_the_one_who_asked_leaves",
    ),
    32: (
        "invalid_grant names the command that helps",
        f"{AUTHORITY}errors::test_a_refusal_for_good_requires_a_sign_in",
    ),
    33: (
        "a failure is told by its code",
        f"{AUTHORITY}response::test_the_code_is_found_where_codex_finds_it",
    ),
    34: (
        "a 401 of the authority is final",
        f"{AUTHORITY}refresh_grant::test_a_response_without_a_grant_has_one_meaning",
    ),
    35: (
        "a 401 of the upstream is no word on the refresh token",
        f"{CRED}standing::test_a_401_is_the_tokens_or_the_resources",
    ),
    36: ("a 401 of another provider", "there is one upstream for each profile"),
    37: (
        "a real authority refuses, and answers",
        f"{AUTHORITY}refresh_grant::test_an_authority_that_does_not_grant_is_understood",
    ),
    38: (
        "a fresher login of another account",
        f"{PATHS}codex_scenarios::test_a_refresh_never_goes_on_with_another_account",
    ),
    39: (
        "the same under the lock",
        f"{CRED}source::test_a_refresh_alone_finds_that_the_account_has_changed",
    ),
    40: (
        "the same after a failure",
        f"{CRED}source::test_after_a_reuse_somebody_elses_login_is_no_winner",
    ),
    41: (
        "a login that names nobody may gain an account",
        f"{PATHS}codex_scenarios::test_a_login_without_an_account_takes_up_one_that_has_it",
    ),
    42: ("an error shows no token", f"{CRED}renewal::test_a_renewal_shows_no_secret"),
    43: (
        "after a reuse the winner's login is taken up",
        f"{PATHS}codex_scenarios::test_a_reuse_is_forgiven_when_the_winner_has_written",
    ),
    44: (
        "the winner brought another refresh token only",
        f"{CRED}left_open::test_a_winner_with_the_token_that_was_refused_is_refreshed",
    ),
    45: (
        "after another failure nothing foreign is tried",
        f"{PATHS}codex_scenarios::test_a_dead_login_never_goes_on_with_another_profiles",
    ),
    46: (
        "what the lock is named after",
        f"{CRED}file_store::test_two_links_to_one_file_share_one_lock",
    ),
    47: (
        "the same account under another name",
        "two profiles of one account are two logins, each with its own store",
    ),
    48: (
        "killed between the claim and the call",
        f"{CHAOS}killed::test_the_login_survives_a_death_at_any_step",
    ),
    49: (
        "killed between the answer and the save",
        f"{CHAOS}killed::test_the_login_survives_a_death_at_any_step",
    ),
    50: (
        "the authority is not reached",
        f"{AUTHORITY}refresh_grant::test_a_refused_connection_leaves_the_token_unspent",
    ),
    51: (
        "the answer is lost on the way",
        f"{CRED}renewal::test_a_response_that_was_lost_is_asked_for_again_once",
    ),
    52: (
        "thirty clients get a 401 at once",
        f"{PATHS}token_death::test_all_are_answered_with_one_refresh",
    ),
    53: (
        "the clock jumps, or the machine sleeps",
        f"{CHAOS}time::test_a_clock_that_is_set_a_day_on_and_two_days_back",
    ),
    54: (
        "two daemons on one folder",
        f"{PATHS}codex_scenarios::test_two_owners_of_one_file_refresh_once",
    ),
    55: (
        "a 401 at a WebSocket's handshake",
        "wire/test_upgrade::test_a_401_at_the_handshake_is_recovered",
    ),
    56: (
        "no room for the lock",
        f"{CRED}source::test_a_place_without_room_for_the_lock_is_no_reason_to_sign_in",
    ),
    57: (
        "revoked before its end",
        f"{PATHS}token_death::test_all_are_answered_with_one_refresh",
    ),
    58: (
        "the answer does not say how long it lasts",
        f"{CRED}token::test_a_token_ends_when_it_says_and_else_eight_days_after_its_refresh",
    ),
}


def test_each_has_its_number() -> None:
    """None is left out."""
    assert list(SCENARIOS) == list(range(1, 59))


@pytest.mark.parametrize("number", SCENARIOS)
def test_what_holds_it_off_is_there(number: int) -> None:
    """The test that is named, or a reason in words."""
    _, guard = SCENARIOS[number]
    place, is_test, name = guard.partition("::")
    if not is_test:
        assert " " in guard
        return
    source = (TESTS / f"{place}.py").read_text(encoding="utf-8")
    assert re.search(rf"^(async )?def {name}\(", source, re.MULTILINE), guard
