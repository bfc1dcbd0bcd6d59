"""The policies for a refresh token that is presented again."""

import pytest

from bearerd.sandbox.authority.family import (
    Family,
    RefreshToken,
    Reuse,
    ReusePolicy,
    ReuseVerdict,
)
from bearerd.sandbox.authority.grant import Account

ROTATED_AT = 1000.0
NOW = ROTATED_AT + 30
TOLERATE, REFUSE, REVOKE = ReuseVerdict


@pytest.mark.parametrize(
    ("mode", "number", "tolerated", "ended", "now", "verdict"),
    [
        ("revoke_family", 1, -1, None, NOW, REVOKE),
        ("refuse", 1, -1, None, NOW, REFUSE),
        ("tolerate_one", 1, -1, None, NOW, TOLERATE),
        ("tolerate_one", 1, 0, None, NOW, TOLERATE),
        ("tolerate_one", 1, 1, None, NOW, REFUSE),
        ("tolerate_one", 0, -1, None, NOW, REFUSE),
        ("tolerate_one", 1, -1, "refresh_token_expired", NOW, REFUSE),
        ("grace_period", 1, -1, None, NOW, TOLERATE),
        ("grace_period", 1, 1, None, NOW, TOLERATE),
        ("grace_period", 1, -1, None, NOW + 1, REVOKE),
        ("grace_period", 0, -1, None, NOW, REVOKE),
        ("grace_period", 1, -1, "refresh_token_expired", NOW, REVOKE),
    ],
)
def test_the_mode_decides_on_a_second_use(
    *,
    mode: Reuse,
    number: int,
    tolerated: int,
    ended: str | None,
    now: float,
    verdict: ReuseVerdict,
) -> None:
    """Only the token that was spent last is tolerated, and only in a live family."""
    family = Family(
        Account("acct-1"),
        name="1",
        number=2,
        ended=ended,
        rotated_at=ROTATED_AT,
        tolerated=tolerated,
    )
    policy = ReusePolicy(mode, grace_seconds=30)
    assert policy.verdict(RefreshToken(family, number), now) is verdict
