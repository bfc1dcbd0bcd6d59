"""Readiness and health, derived from the status. No I/O.

`/livez` says that the process responds, `/readyz` that requests can be served, and
`/healthz` what an operator should look at. A temporary failure, such as an authority that
is not reached, does not make a daemon unready: taking it out of service would not help,
and its access token may be valid for days.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from bearerd.admin.status import ServiceStatus
from bearerd.credential.status import SourceStatus

SIGN_IN_REMEDY: Final = "sign in with `bearerd login`"

UnreadyReason: TypeAlias = Literal["draining", "login_required"]


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether requests can be served. `reason` is None if they can.

    `unusable` are the profiles without a usable credential, whether the daemon as a whole
    is ready or not.
    """

    reason: UnreadyReason | None
    unusable: tuple[SourceStatus, ...]

    @property
    def is_ready(self) -> bool:
        """Return True if requests can be served."""
        return self.reason is None


@dataclass(frozen=True, slots=True)
class Health:
    """What an operator should look at: profiles by what is wrong with them."""

    is_draining: bool
    needing_person: tuple[SourceStatus, ...]
    failing: tuple[SourceStatus, ...]
    unsaved: tuple[SourceStatus, ...]

    @property
    def is_ok(self) -> bool:
        """Return True if there is nothing to look at."""
        return not (
            self.is_draining or self.needing_person or self.failing or self.unsaved
        )


def check_readiness(status: ServiceStatus) -> Readiness:
    """Return whether the daemon is ready: one profile at least is usable, and it does not
    drain.
    """
    unusable = tuple(source for source in status.sources if not source.is_usable)
    if status.is_draining:
        return Readiness("draining", unusable)
    if len(unusable) == len(status.sources):
        return Readiness("login_required", unusable)
    return Readiness(None, unusable)


def check_health(status: ServiceStatus) -> Health:
    """Return what an operator should look at."""
    sources = status.sources
    return Health(
        is_draining=status.is_draining,
        needing_person=tuple(one for one in sources if one.needs_person),
        failing=tuple(one for one in sources if one.last_error is not None),
        unsaved=tuple(one for one in sources if one.in_memory_only),
    )


def remedy(source: SourceStatus) -> str:
    """Return what to do for a profile that needs an operator."""
    return source.message or SIGN_IN_REMEDY
