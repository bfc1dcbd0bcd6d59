"""What a client is told when a refresh gave nothing."""

from __future__ import annotations

import pytest

from bearerd.credential.authority.errors import client_error
from bearerd.credential.authority.refresh_grant import AuthorityFailure
from bearerd.errors import AuthorityUnavailable, LoginRequired, RefreshThrottled


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("expired", "has expired"),
        ("reused", "already used, by another program"),
        ("revoked", "revoked"),
        ("other", "refuses this login for good"),
        ("a reason of a later version", "refuses this login for good"),
    ],
)
def test_a_refusal_for_good_asks_for_a_login(reason: str, words: str) -> None:
    """It names the reason and the command, on the right machine."""
    error = client_error(AuthorityFailure("refused", reason), "default")
    assert isinstance(error, LoginRequired)
    assert error.reason == reason
    assert words in error.message
    assert "`bearerd login`" in error.message
    assert error.retry_after_seconds is None


def test_the_command_names_the_profile() -> None:
    """Only where it is not the default one."""
    error = client_error(AuthorityFailure("refused", "expired"), "work")
    assert "`bearerd login --profile work`" in error.message


@pytest.mark.parametrize(
    ("outcome", "kind", "words"),
    [
        ("undelivered", AuthorityUnavailable, "was not reached (http_429)"),
        ("unclear", AuthorityUnavailable, "gave no clear answer (http_429)"),
        ("throttled", RefreshThrottled, "no more refreshes are asked"),
    ],
)
@pytest.mark.parametrize(
    ("asked", "told_seconds"), [(None, 1), (0.0, 1), (0.2, 1), (7.01, 8), (60.0, 60)]
)
def test_what_passes_says_when_to_try_again(
    outcome: str,
    kind: type[AuthorityUnavailable],
    words: str,
    asked: float | None,
    told_seconds: int,
) -> None:
    """In whole seconds, one at least, and rounded up."""
    failure = AuthorityFailure(outcome, "http_429", retry_after_seconds=asked)  # type: ignore[arg-type]
    error = client_error(failure, "default")
    assert type(error) is kind
    assert words in error.message
    assert f"{told_seconds} s" in error.message
    assert error.retry_after_seconds == told_seconds
