"""Readiness and health, derived from the status. No I/O.

`/livez` says that the process responds, `/readyz` that requests can be served, and
`/healthz` what an operator should look at. A temporary failure, such as an authority that
is not reached, does not make a daemon unready: taking it out of service would not help,
and its access token may be valid for days.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bearerd.admin.status import ServiceStatus
from bearerd.credential.status import SourceStatus

SIGN_IN_REMEDY: Final = "sign in with `bearerd login`"

DRAINING: Final = "draining"
NO_PROFILE: Final = "no_profile"


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether requests can be served. `reason` is None if they can.

    It is `draining`, or the code of the first profile, such as `login_required`. `unusable` are the profiles without a usable credential, whether the daemon as a whole
    is ready or not.
    """

    reason: str | None
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
        return Readiness(DRAINING, unusable)
    if len(unusable) == len(status.sources):
        codes = (source.code for source in unusable if source.code)
        return Readiness(next(codes, NO_PROFILE), unusable)
    return Readiness(None, unusable)


def check_health(status: ServiceStatus) -> Health:
    """Return what an operator should look at."""
    sources = status.sources
    return Health(
        is_draining=status.is_draining,
        needing_person=tuple(
            one for one in sources if one.needs_person or not one.is_usable
        ),
        failing=tuple(one for one in sources if one.last_error is not None),
        unsaved=tuple(one for one in sources if one.in_memory_only),
    )


def remedy(source: SourceStatus) -> str:
    """Return what to do for a profile that needs an operator."""
    return source.message or SIGN_IN_REMEDY
