"""What came of an exercise, in numbers, and whether that is as it should be. Pure."""

from __future__ import annotations

from dataclasses import dataclass

UNAUTHORIZED = 401
OK = 200


@dataclass(frozen=True, slots=True)
class TurnResult:
    """What one request of an agent came to. `status` is 0 where there was no response.

    `code` is bearerd's own error, or why there was no whole response; empty if all went
    well.
    """

    status: int
    code: str = ""

    @property
    def is_good(self) -> bool:
        """True for a 200 whose stream came to its end."""
        return self.status == OK and not self.code


@dataclass(frozen=True, slots=True)
class Tally:
    """One run: requests of agents, calls to the authority, and people who must act."""

    answered: int
    failed: int
    refreshes: int
    reused: int
    sign_ins: int

    def is_flawless(self, *, requests: int, refreshes: int) -> bool:
        """True when all was answered with exactly so many refreshes, and no more."""
        return self == Tally(requests, 0, refreshes, 0, 0)


def revoked_rounds(rounds: int) -> tuple[int, ...]:
    """Return the rounds before which the access tokens die: at each third."""
    return tuple(sorted({rounds // 3, 2 * rounds // 3}))
