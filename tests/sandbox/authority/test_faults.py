"""The faults of the authority as values: what each does to the refresh token."""

from typing import get_args

import pytest

from bearerd.sandbox import AuthorityFault
from bearerd.sandbox.authority.faults import (
    AuthorityFaultKind,
    GrantFaultKind,
    Spending,
)

NEVER, ON_ARRIVAL, AFTER_DELAY, ENDS_FAMILY = Spending

UNREACHED = {
    "challenge",
    "proxy_authentication",
    "redirect",
    "reset_before_reading",
    "drop_before_rotation",
}
SPARING = {*UNREACHED, "without_rotation"}


@pytest.mark.parametrize("kind", get_args(AuthorityFaultKind))
def test_every_kind_spends_on_arrival_unless_it_does_not_reach_the_authority(
    kind: AuthorityFaultKind,
) -> None:
    """The default code of `refuse` is about the token, so it ends the family."""
    expected = NEVER if kind in SPARING else ON_ARRIVAL
    if kind == "refuse":
        expected = ENDS_FAMILY
    assert AuthorityFault(kind).spending is expected


@pytest.mark.parametrize(
    ("fault", "spending"),
    [
        (AuthorityFault("answer", before_spending=True), NEVER),
        (AuthorityFault("hang", before_spending=True), NEVER),
        (AuthorityFault("delay", before_spending=True), AFTER_DELAY),
        (AuthorityFault("omit_refresh_token", before_spending=True), NEVER),
        (AuthorityFault("refuse", before_spending=True), NEVER),
        (AuthorityFault("refuse", code="invalid_grant"), ENDS_FAMILY),
        (AuthorityFault("refuse", code="refresh_token_reused"), ENDS_FAMILY),
        (AuthorityFault("refuse", code="token_expired"), ENDS_FAMILY),
        (AuthorityFault("refuse", code="invalid_client"), NEVER),
        (AuthorityFault("refuse", code="unauthorized_client"), NEVER),
        (AuthorityFault("refuse", code="server_error"), ON_ARRIVAL),
        (AuthorityFault("refuse", code="temporarily_unavailable"), ON_ARRIVAL),
        (AuthorityFault("refuse", code="something_new"), ON_ARRIVAL),
        (AuthorityFault("edge_error", status=502), ON_ARRIVAL),
        (AuthorityFault("edge_error", status=524), ON_ARRIVAL),
        (AuthorityFault("edge_error", status=522), NEVER),
        (AuthorityFault("edge_error", status=1020), NEVER),
    ],
)
def test_fields_change_what_becomes_of_the_token(
    fault: AuthorityFault, spending: Spending
) -> None:
    """These are `before_spending`, the code and the status."""
    assert fault.spending is spending


@pytest.mark.parametrize(
    "kind",
    sorted(
        set(get_args(GrantFaultKind))
        - {"delay", "omit_refresh_token", "without_rotation"}
    ),
)
def test_an_altered_grant_always_spends(kind: AuthorityFaultKind) -> None:
    """A grant cannot come before its token is spent."""
    with pytest.raises(ValueError, match="always spends"):
        AuthorityFault(kind, before_spending=True)


@pytest.mark.parametrize(
    ("kind", "fields", "part"),
    [
        ("nope", {}, "a fault's kind must be one of .*delay"),
        (
            "other_account",
            {"foreign_tokens": "nope"},
            "foreign_tokens must be one of all",
        ),
        ("malformed_token", {"token": "nope"}, "token must be one of access_token"),
        ("malformed_token", {"defect": "nope"}, "defect must be one of crlf"),
        (
            "answer",
            {"retry_after_form": "nope"},
            "retry_after_form must be one of seconds",
        ),
        ("edge_error", {"status": 418}, "status must be one of 502"),
    ],
)
def test_a_wrong_field_is_refused_with_its_choices(
    kind: str, fields: dict[str, object], part: str
) -> None:
    """The control commands show this message."""
    with pytest.raises(ValueError, match=part):
        AuthorityFault(kind, **fields)  # type: ignore[arg-type]
