"""A token family, and the policy for a refresh token that is presented again.

A family is the set of all tokens that descend from one sign-in (RFC 9700 section 4.14.2:
reuse of a rotated refresh token revokes the tokens that descend from the same grant).
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Literal, NamedTuple

from bearerd.sandbox.authority.grant import Account, Grant

Reuse = Literal["revoke_family", "refuse", "tolerate_one", "grace_period"]
AccessState = Literal["live", "expired", "invalidated", "unknown"]


@dataclass(slots=True)
class Family:
    """All tokens of one sign-in.

    `number` counts rotations; `current` is the live refresh token, and `latest` the last
    grant that was issued. `ended` is the error code of an ended family. `rotated_at` is
    the time of the last rotation, by the authority's clock.
    """

    account: Account
    name: str
    number: int = 0
    current: str = field(default="", repr=False)
    latest: Grant | None = None
    ended: str | None = None
    rotated_at: float = 0
    tolerated: int = -1  # the last number whose reuse was tolerated

    def rotate(self, now: float) -> None:
        """Count a rotation at `now`: the current refresh token is spent."""
        self.number += 1
        self.rotated_at = now

    def tolerate(self, number: int) -> None:
        """Record that the second use of the token with this number was tolerated."""
        self.tolerated = number

    def end(self, code: str) -> None:
        """End the family: from now on its refresh tokens are refused with `code`."""
        self.ended = code

    def issue_refresh_token(self, token: str) -> None:
        """Make `token` the live refresh token."""
        self.current = token

    def issue(self, grant: Grant) -> None:
        """Make `grant` the latest one."""
        self.latest = grant


class RefreshToken(NamedTuple):
    """A refresh token: its family and its number in it; the live one has the highest."""

    family: Family
    number: int


@dataclass(slots=True)
class AccessToken:
    """An issued access token. `state` does not change when `exp` passes."""

    family: Family
    expires_at: int
    state: AccessState = "live"

    def end(self, state: AccessState) -> None:
        """End the token before its `exp`."""
        self.state = state


class ReuseVerdict(Enum):
    """The response to a spent refresh token that is presented again."""

    TOLERATE = "the same successor is issued again"
    REFUSE = "the call is refused; the family stays valid"
    REVOKE = "the call is refused, and the whole family is revoked"


@dataclass(frozen=True, slots=True)
class ReusePolicy:
    """How the authority treats a spent refresh token that is presented again.

    `revoke_family`: the family is revoked (the strict mode). `refuse`: only the call is
    refused, as by a server without reuse detection. `tolerate_one`: one repeat of the
    last spent token is tolerated. `grace_period`: every repeat within `grace_seconds`
    after the rotation is tolerated; a later one revokes the family.
    """

    mode: Reuse = "revoke_family"
    grace_seconds: float = 30.0

    def verdict(self, token: RefreshToken, now: float) -> ReuseVerdict:
        """Return the verdict on `token`, which is spent."""
        family = token.family
        is_last = token.number == family.number - 1 and family.ended is None
        match self.mode:
            case "tolerate_one":
                is_first_repeat = family.tolerated < token.number
                tolerable = is_last and is_first_repeat
                return ReuseVerdict.TOLERATE if tolerable else ReuseVerdict.REFUSE
            case "grace_period":
                in_time = now - family.rotated_at <= self.grace_seconds
                tolerable = is_last and in_time
                return ReuseVerdict.TOLERATE if tolerable else ReuseVerdict.REVOKE
            case "refuse":
                return ReuseVerdict.REFUSE
            case "revoke_family":
                return ReuseVerdict.REVOKE
