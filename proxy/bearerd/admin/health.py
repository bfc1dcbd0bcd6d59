"""Readiness and health, derived from the state of each profile. No I/O.

`/livez` says that the process responds, `/readyz` that requests are served, and
`/healthz` what an operator should look at. A degraded profile is served, so it does not
make a daemon unready: an authority that fails does no harm while the access token lives.
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
    """Whether requests can be served. *reason* is None if they can.

    It is `draining`, or the code of the first blocked profile, such as `login_required`.
    *blocked* are the blocked profiles, whether the daemon as a whole is ready or not.
    """

    reason: str | None
    blocked: tuple[SourceStatus, ...]

    @property
    def is_ready(self) -> bool:
        """True if requests can be served."""
        return self.reason is None


@dataclass(frozen=True, slots=True)
class Health:
    """What an operator should look at.

    *needing_person* are the profiles that are blocked or wait for a person, *degraded*
    the others that are not usable in full. A profile may also be in *failing*, whose last
    refresh failed, and in *unsaved*, whose login is in memory only.
    """

    is_draining: bool
    needing_person: tuple[SourceStatus, ...]
    degraded: tuple[SourceStatus, ...]
    failing: tuple[SourceStatus, ...]
    unsaved: tuple[SourceStatus, ...]

    @property
    def is_ok(self) -> bool:
        """True if there is nothing to look at."""
        return not (self.is_draining or self.needing_person or self.degraded)


def check_readiness(status: ServiceStatus) -> Readiness:
    """Return whether the daemon is ready: it does not drain, and serves one profile."""
    blocked = tuple(source for source in status.sources if not source.is_usable)
    if status.is_draining:
        return Readiness(DRAINING, blocked)
    if len(blocked) == len(status.sources):
        codes = (source.code for source in blocked if source.code)
        return Readiness(next(codes, NO_PROFILE), blocked)
    return Readiness(None, blocked)


def check_health(status: ServiceStatus) -> Health:
    """Return what an operator should look at."""
    troubled = [source for source in status.sources if not source.is_well]
    return Health(
        is_draining=status.is_draining,
        needing_person=tuple(
            one for one in troubled if one.needs_person or not one.is_usable
        ),
        degraded=tuple(
            one for one in troubled if one.is_usable and not one.needs_person
        ),
        failing=tuple(one for one in status.sources if one.last_error is not None),
        unsaved=tuple(one for one in status.sources if one.in_memory_only),
    )


def remedy(source: SourceStatus) -> str:
    """Return what to do for a profile that is not well."""
    return source.message or SIGN_IN_REMEDY
