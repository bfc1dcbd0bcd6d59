"""The failures of calls, and the errors that clients and people see for them."""

from __future__ import annotations

import pytest

from bearerd.credential.authority.errors import (
    NO_JOURNAL,
    UPSTREAM_REJECTS_NEW_TOKENS,
    AuthorityFailure,
    CallFailed,
    CallStage,
    client_error,
    one_line,
)
from bearerd.credential.authority.refresh_grant import interpret
from bearerd.errors import AuthorityUnavailable, LoginRequired, RefreshThrottled
from bearerd.events import CallFailure


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("expired", "has expired"),
        ("reused", "already used: another program"),
        ("revoked", "revoked"),
        ("other", "refuses this login permanently"),
        ("a reason of a later version", "refuses this login permanently"),
    ],
)
def test_a_permanent_refusal_requires_a_sign_in(reason: str, words: str) -> None:
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
        ("undelivered", AuthorityUnavailable, "`bearerd doctor --online`"),
        ("rejected", AuthorityUnavailable, "the authority answered 429"),
        ("unclear", AuthorityUnavailable, "the authority answered 429"),
        ("misconfigured", AuthorityUnavailable, "correct `client_id` or `token_url`"),
        ("throttled", RefreshThrottled, "the limit on refreshes is reached"),
    ],
)
@pytest.mark.parametrize(
    ("pause", "seconds"),
    [
        (None, (1, 1)),
        (0.0, (1, 1)),
        (0.2, (1, 1)),
        (4.01, (5, 5)),
        (7.01, (8, 5)),
        (3600.0, (3600, 5)),
    ],
)
def test_a_failure_that_passes_says_when_to_try_again(
    outcome: CallFailure,
    kind: type[AuthorityUnavailable],
    words: str,
    pause: float | None,
    seconds: tuple[int, int],
) -> None:
    """The message has the pause at the authority; clients ask bearerd again sooner."""
    failure = AuthorityFailure(
        outcome, "http_429", status=429, retry_after_seconds=pause
    )
    error = client_error(failure, "default")
    assert type(error) is kind
    assert words in error.message
    assert f"{seconds[0]} s" in error.message
    assert error.retry_after_seconds == seconds[1]


@pytest.mark.parametrize(
    ("outcome", "reason", "fact"),
    [
        ("unclear", "no_access_token", "no usable response (no_access_token);"),
        ("unclear", "ServerDisconnectedError", "no complete response (ServerDis"),
        ("undelivered", "ConnectionRefusedError", "was not reached (ConnectionRef"),
        ("undelivered", NO_JOURNAL, "no journal can be written"),
        ("undelivered", "too_late", "took too long, so nothing was sent"),
        ("throttled", "budget", "limit on refreshes is reached"),
        ("throttled", UPSTREAM_REJECTS_NEW_TOKENS, "rejects each new access token"),
    ],
)
def test_the_message_states_what_happened(
    outcome: CallFailure, reason: str, fact: str
) -> None:
    """It blames the authority only if the authority failed."""
    assert fact in client_error(AuthorityFailure(outcome, reason), "default").message


@pytest.mark.parametrize(
    ("status", "body", "fact"),
    [
        (502, b"bad gateway", "the authority answered 502;"),
        (401, b"{}", "the authority answered 401;"),
        (307, b"", "the authority answered 307;"),
        (200, b"{}", "sent no usable response (200_without_tokens);"),
        (204, b"", "sent no usable response (204_without_tokens);"),
    ],
)
def test_the_message_has_the_status_of_the_response(
    status: int, body: bytes, fact: str
) -> None:
    """Also in a process that knows of it from the store's state only."""
    with pytest.raises(AuthorityFailure) as why:
        interpret(status, {}, body)
    failure = why.value
    assert fact in client_error(failure, "default").message
    recorded = AuthorityFailure.recorded(
        failure.outcome, failure.reason, failure.status, 60.0
    )
    assert fact in client_error(recorded, "default").message


def test_a_recorded_outcome_of_another_version_is_the_most_cautious_one() -> None:
    """The state beside the file may have been written by a newer bearerd."""
    assert AuthorityFailure.recorded("invented", "x", None, 1.0).outcome == "unclear"
    assert AuthorityFailure.recorded("renewed", "x", None, 1.0).outcome == "unclear"


@pytest.mark.parametrize(
    ("stage", "fact", "remedy"),
    [
        (CallStage.CONNECTING, "was not reached", "`bearerd doctor --online`"),
        (CallStage.PROXY, "was not reached", "check `upstream_proxy`"),
        (CallStage.TLS, "was not reached", "set `ca_file`"),
        (CallStage.SENT, "sent no complete response", "try again"),
    ],
)
def test_a_call_that_fails_names_the_url_the_reason_and_the_remedy(
    stage: CallStage, fact: str, remedy: str
) -> None:
    """In this order, in one line."""
    failure = CallFailed("https://a.invalid", stage, reason="code", detail="because")
    start, _, end = failure.message.partition(": because; ")
    assert start == f"https://a.invalid {fact}"
    assert remedy in end
    assert remedy in failure.remedy


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain", "plain"),
        (" two\nlines\t", "two lines"),
        ("\x1b[31mred\x07", "[31mred"),
        ("", ""),
        ("x" * 201, "x" * 200),
        ("ümlaut", "ümlaut"),
    ],
)
def test_text_from_outside_becomes_one_short_line(text: str, line: str) -> None:
    """A terminal would obey its control characters."""
    assert one_line(text) == line
