"""How logins were lost elsewhere, one by one, and the test that excludes each here.

Gateways and agents with many stores of one login have met these scenarios. bearerd has
one store for a login and no copies, so some of them cannot happen; each of those has the
reason instead of a test. A test that is named must exist.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


NO_COPIES = "there is one store for a login, and no copies of it to fence or to retire"

# What happened, and a test as file::name, or the reason why it cannot happen here.
SCENARIOS: dict[int, tuple[str, str]] = {
    1: (
        "two processes present one token",
        "chaos/test_many_owners::test_forty_owners_spend_each_token_once",
    ),
    2: (
        "a process that waits for a refresh writes over its result",
        "credential/refresh/test_refresher::test_a_waiter_for_the_lock_finds_the_work_done",
    ),
    3: (
        "a second process presents the token that the first one has presented",
        "credential/refresh/test_refresher::test_the_lock_is_held_while_the_authority_is_called",
    ),
    4: (
        "each process presents a token that is refused for good",
        "credential/test_source::test_two_processes_with_a_dead_token_ask_once",
    ),
    5: (
        "a refusal for good is forgotten by the next process",
        "paths/test_dead_login::test_a_dead_login_is_remembered_by_the_next_process",
    ),
    6: ("one copy of two cannot be fenced", NO_COPIES),
    7: (
        "an old login is written back",
        "credential/test_left_open::test_a_backup_of_a_spent_token_is_written_over",
    ),
    8: (
        "the store becomes unreadable before the response is stored",
        "chaos/test_disk::test_a_folder_that_vanishes_and_returns",
    ),
    9: (
        "a late response replaces a new login",
        "credential/test_source::test_a_login_stored_during_the_call_is_adopted_if_its_account_is_the_same",
    ),
    10: (
        "a token is spent that could not be recorded first",
        "credential/refresh/test_refresher::test_a_refresh_that_can_wait_is_not_made_without_a_record",
    ),
    11: (
        "two processes with one stale token",
        "paths/test_token_death::test_four_processes_on_one_file_refresh_once",
    ),
    12: (
        "each caller starts a refresh of its own",
        "credential/test_single_flight::test_many_callers_make_one_call_and_get_its_result",
    ),
    13: (
        "each waiting caller repeats a failed refresh",
        "credential/test_single_flight::test_a_failure_is_shared_and_not_repeated_for_each_caller",
    ),
    14: (
        "a burst of requests makes a burst of calls",
        "paths/test_token_death::test_all_requests_are_served_with_one_refresh",
    ),
    15: (
        "the disk is full when the response arrives",
        "chaos/test_disk::test_a_disk_that_is_really_full_and_a_death_on_top",
    ),
    16: (
        "a token that is refused for good is presented again and again",
        "credential/test_source::test_a_permanent_refusal_is_recorded_and_announced_once",
    ),
    17: (
        "a login of another program is used",
        "no other program's file is looked at unless it is the store",
    ),
    18: (
        "the deadline of a caller ends the refresh",
        "credential/test_single_flight::test_a_caller_that_times_out_leaves_and_the_call_continues",
    ),
    19: (
        "a process dies after the call, and nothing says that a token was spent",
        "credential/refresh/test_refresher::test_the_order_is_lock_journal_call_store",
    ),
    20: (
        "another account signs in during the refresh",
        "paths/test_codex_scenarios::test_a_late_response_does_not_overwrite_another_account",
    ),
    21: (
        "the response is for another account",
        "credential/refresh/test_refresher::test_a_grant_for_another_account_is_kept_and_not_stored",
    ),
    22: (
        "a refusal for good cannot be recorded",
        "credential/test_source::test_a_token_in_memory_that_is_refused_permanently_costs_one_call",
    ),
    23: (
        "two late responses replace each other",
        "credential/store/test_file_store::test_two_late_responses_do_not_overwrite_each_other",
    ),
    24: (
        "a dead login is replaced by one of unknown age",
        "no login is taken from anywhere but the store",
    ),
    25: (
        "after a failure the rejected access token is sent again",
        "credential/test_left_open::test_a_newer_login_with_the_rejected_access_token_is_refreshed",
    ),
    26: (
        "a late 401 for an older token starts a refresh",
        "paths/test_token_death::test_a_late_401_causes_no_second_refresh",
    ),
    27: (
        "a login has no refresh token",
        "credential/test_source::test_without_a_refresh_token_it_is_served_until_its_end",
    ),
    28: (
        "the holder of the lock is stopped",
        "credential/refresh/test_refresher::test_a_holder_that_does_not_release_the_lock_costs_one_wait",
    ),
    29: (
        "a credential is served before it is stored",
        "chaos/test_killed::test_the_login_survives_a_death_at_any_step",
    ),
    30: (
        "the response arrives after the lock was lost",
        "chaos/test_time::test_another_process_works_while_one_stands_still",
    ),
    31: (
        "a caller that is cancelled takes the refresh with it",
        "paths/test_token_death::test_a_refresh_survives_the_client_that_caused_it",
    ),
    32: (
        "a dead login is reported without a remedy",
        "credential/authority/test_errors::test_a_permanent_refusal_requires_a_sign_in",
    ),
    33: (
        "a failure is judged by its status alone",
        "credential/authority/test_response::test_the_code_is_found_where_codex_finds_it",
    ),
    34: (
        "a 401 of the authority that names no token ends the login",
        "credential/authority/test_refresh_grant::test_a_response_without_a_grant_has_one_meaning",
    ),
    35: (
        "a 401 of one resource of the upstream starts a refresh",
        "relay/test_rejections::test_a_401_is_about_the_token_or_about_the_resource",
    ),
    36: ("a 401 of another provider", "there is one upstream for each profile"),
    37: (
        "the errors of a real authority are not understood",
        "credential/authority/test_refresh_grant::test_an_authority_that_does_not_grant_is_understood",
    ),
    38: (
        "a newer login of another account is used",
        "paths/test_codex_scenarios::test_a_refresh_never_uses_another_account",
    ),
    39: (
        "the same, found under the lock",
        "credential/test_source::test_a_refresh_alone_finds_that_the_account_has_changed",
    ),
    40: (
        "the same after a failure",
        "credential/test_source::test_after_a_reuse_another_accounts_login_is_not_adopted",
    ),
    41: (
        "a login without an account cannot gain one",
        "paths/test_codex_scenarios::test_a_login_without_an_account_accepts_one_with_it",
    ),
    42: (
        "an error shows a token",
        "credential/refresh/test_refresher::test_a_refresher_shows_no_secret",
    ),
    43: (
        "a token was presented by two programs, and the login of the first is not used",
        "paths/test_codex_scenarios::test_a_reused_token_is_no_failure_if_the_file_has_its_successor",
    ),
    44: (
        "the first program stored another refresh token and no new access token",
        "credential/test_left_open::test_a_newer_login_with_the_rejected_access_token_is_refreshed",
    ),
    45: (
        "a dead login is replaced by that of another profile",
        "paths/test_codex_scenarios::test_a_dead_login_never_uses_the_login_of_another_profile",
    ),
    46: (
        "two names of one file have two locks",
        "credential/store/test_file_store::test_two_links_to_one_file_share_one_lock",
    ),
    47: (
        "the same account under another name",
        "two profiles of one account are two logins, each with its own store",
    ),
    48: (
        "killed between the record and the call",
        "chaos/test_killed::test_the_login_survives_a_death_at_any_step",
    ),
    49: (
        "killed between the response and the store",
        "chaos/test_killed::test_the_login_survives_a_death_at_any_step",
    ),
    50: (
        "the authority is not reached",
        "credential/authority/test_refresh_grant::test_a_refused_connection_leaves_the_token_unspent",
    ),
    51: (
        "the response is lost on the way",
        "credential/refresh/test_refresher::test_a_token_whose_response_was_lost_is_presented_once_more",
    ),
    52: (
        "thirty clients get a 401 at once",
        "paths/test_token_death::test_all_requests_are_served_with_one_refresh",
    ),
    53: (
        "the clock jumps, or the machine sleeps",
        "chaos/test_time::test_a_clock_that_is_set_a_day_on_and_two_days_back",
    ),
    54: (
        "two daemons on one folder",
        "paths/test_codex_scenarios::test_two_owners_of_one_file_refresh_once",
    ),
    55: (
        "a 401 at a WebSocket's handshake",
        "wire/test_upgrade::test_a_401_at_the_handshake_is_recovered",
    ),
    56: (
        "the lock file cannot be made",
        "credential/test_source::test_a_lock_that_cannot_be_made_is_no_reason_to_sign_in",
    ),
    57: (
        "revoked before its end",
        "paths/test_token_death::test_all_requests_are_served_with_one_refresh",
    ),
    58: (
        "the response does not say how long the token lives",
        "credential/test_token::test_a_token_ends_by_its_claim_or_eight_days_after_its_refresh",
    ),
}


def test_each_has_its_number() -> None:
    """None is left out."""
    assert list(SCENARIOS) == list(range(1, 59))


@pytest.mark.parametrize("number", SCENARIOS)
def test_its_guard_is_there(number: int) -> None:
    """The test that is named, or a reason in words."""
    _, guard = SCENARIOS[number]
    place, is_test, name = guard.partition("::")
    if not is_test:
        assert " " in guard
        return
    source = (TESTS / f"{place}.py").read_text(encoding="utf-8")
    assert re.search(rf"^(async )?def {name}\(", source, re.MULTILINE), guard
