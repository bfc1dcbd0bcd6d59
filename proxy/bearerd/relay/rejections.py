"""The decision whether a 401 is about the token or about the resource.

A 401 about the token starts a recovery, and a recovery can spend a refresh token. If every
401 counted as one, a path that always responds 401 would cause calls to the authority and
could end a valid login. So this history records which paths have accepted and rejected
the cached credential.

A 401 is about the resource if another path has accepted the credential within
`RECENT_SECONDS`, and one of these rules applies:

1. The path has rejected a new credential, which the authority had just issued for the
   request. Such a path rejects every credential. Then an acceptance by another path counts
   if it was of that credential or of a later one.
2. The response does not blame the token, the path has not accepted this credential, and
   it has accepted an earlier one or has used its one refresh for this credential.

The one refresh in rule 2 is for a token that was dead when this process started: its path
has no history, and the response may have an empty body. `DOUBTFUL_PATHS` limits how many
such paths can cause a refresh of one credential.

No I/O and no clock: the time is an argument, in monotonic seconds. Each profile has one
history.
"""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum, auto
from typing import NamedTuple

RECENT_SECONDS = 60.0
"""How long an acceptance by another path counts."""

DEAD_AFTER_PATHS = 3
"""A single path may be wrong. After rejections by three paths and no acceptance since,
the token counts as dead."""

DOUBTFUL_PATHS = 3
"""The number of paths without a history that may cause a refresh of one credential."""

PATHS_LIMIT = 256
"""Limits the memory; agents use about a dozen paths."""

PROBE_SECONDS = 30.0
"""The interval at which a rejected credential is sent again: the upstream may have been
wrong, for example during an incident."""


class Verdict(Enum):
    """What a 401 is about.

    `TOKEN`: a recovery follows. `RESOURCE`: the 401 is delivered. `DOUBTFUL`: the path
    uses the one refresh of rule 2, and if that fails, the 401 is delivered.
    """

    TOKEN = auto()
    RESOURCE = auto()
    DOUBTFUL = auto()


class _Acceptance(NamedTuple):
    """The newest generation that a path has accepted, and when."""

    generation: int
    at: float


class _Paths(NamedTuple):
    """Paths with the generation of the credential that they all got."""

    generation: int = 0
    paths: frozenset[str] = frozenset()


class RejectionHistory:
    """Which paths have accepted and rejected the credentials of one profile.

    Owns, each with a limit:

    - for each path, the newest generation that it has accepted, and when;
    - the paths that have rejected a new credential, with its generation;
    - the paths that have rejected the cached credential since its last acceptance;
    - the paths that have used their one refresh for the cached credential.
    """

    def __init__(self) -> None:
        self._accepted: OrderedDict[str, _Acceptance] = OrderedDict()
        self._always_rejecting: OrderedDict[str, int] = OrderedDict()
        self._rejecting = _Paths()
        self._tried = _Paths()
        self._probed_at: float | None = None

    def record_success(self, path: str, generation: int, now: float) -> None:
        """Record that *path* has accepted the credential of this generation."""
        if path not in self._accepted and len(self._accepted) >= PATHS_LIMIT:
            self._accepted.popitem(last=False)
        # Responses can overtake each other; a late one must not hide a newer generation.
        before = self._accepted.get(path)
        if before is None or before.generation <= generation:
            self._accepted[path] = _Acceptance(generation, now)
        self._accepted.move_to_end(path)  # random paths must not evict one in use
        if self._always_rejecting:
            self._always_rejecting.pop(path, None)
        if self._rejecting.generation == generation and self._rejecting.paths:
            self._rejecting = _Paths(generation)

    def record_rejection(
        self,
        path: str,
        generation: int,
        now: float,
        *,
        blames_token: bool,
        is_fresh: bool = False,
    ) -> Verdict:
        """Record a 401 at *path*, and return what it is about.

        *blames_token*: the response names the token as the reason. *is_fresh*: the
        authority had just issued the credential for this request.
        """
        if is_fresh:
            self._always_rejecting.setdefault(path, generation)
            if len(self._always_rejecting) > PATHS_LIMIT:
                self._always_rejecting.popitem(last=False)
        verdict = self._verdict(path, generation, now, blames_token=blames_token)
        if verdict is not Verdict.RESOURCE:
            self._add_rejection(path, generation)
            self._probed_at = now  # it was sent just now
        return verdict

    def is_known_bad(self, path: str, generation: int) -> bool:
        """Return True if *path*, or `DEAD_AFTER_PATHS` paths, rejected this credential."""
        at_generation, paths = self._rejecting
        if at_generation != generation:
            return False
        return path in paths or len(paths) >= DEAD_AFTER_PATHS

    def acquire_probe(self, now: float) -> bool:
        """Return True if a credential that is known bad may be sent again.

        That is `PROBE_SECONDS` after the last rejection, or the last such probe.
        """
        if self._probed_at is not None and now - self._probed_at < PROBE_SECONDS:
            return False
        self._probed_at = now
        return True

    def _verdict(
        self, path: str, generation: int, now: float, *, blames_token: bool
    ) -> Verdict:
        """Return the verdict on a 401, and use up the one refresh of its path if any."""
        if not self._is_accepted_elsewhere(path, generation, now):
            return Verdict.TOKEN
        if path in self._always_rejecting:  # 1
            return Verdict.RESOURCE
        here = self._accepted.get(path)
        if blames_token or (here is not None and here.generation == generation):
            return Verdict.TOKEN
        if here is None and self._acquire_try(path, generation):
            return Verdict.DOUBTFUL
        return Verdict.RESOURCE  # 2

    def _acquire_try(self, path: str, generation: int) -> bool:
        """Return True once per generation: *path*, without a history, may cause a refresh.

        A late 401 for an older generation causes no refresh, since a newer credential is
        cached.
        """
        at_generation, paths = self._tried
        if generation < at_generation:
            return True
        if generation > at_generation:
            paths = frozenset()
        if path in paths or len(paths) >= DOUBTFUL_PATHS:
            return False
        self._tried = _Paths(generation, paths | {path})
        return True

    def _add_rejection(self, path: str, generation: int) -> None:
        at_generation, paths = self._rejecting
        if generation > at_generation:
            self._rejecting = _Paths(generation, frozenset({path}))
        elif generation == at_generation and len(paths) < DEAD_AFTER_PATHS:
            self._rejecting = _Paths(generation, paths | {path})

    def _is_accepted_elsewhere(self, path: str, generation: int, now: float) -> bool:
        since = self._always_rejecting.get(path, generation)
        return any(
            other != path
            and since <= accepted.generation <= generation
            and now - accepted.at < RECENT_SECONDS
            for other, accepted in self._accepted.items()
        )
