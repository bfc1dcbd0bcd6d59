"""Whose 401 is it: the token's, or only the resource's?

A 401 about the token is answered by recovery, and recovery spends a refresh token. If
every 401 counted as one, a path that always refuses could drive the authority, and could
have a living login declared dead. So this history remembers which paths have accepted
and rejected the credential held, and judges by that.

A 401 belongs to the resource if the credential was accepted on another path within
`RECENT_SECONDS`, and one of these holds:

1. The path has rejected a credential fresh from the authority: it rejects whatever it
   gets. An acceptance elsewhere of that credential, or of a later one, is enough then.
2. The response blames no token, the path has never accepted this credential, and it has
   accepted an earlier one, or has had its one try with this one.

The try of rule 2 is for a token that was dead when this process started: its path has no
history, and a response may have an empty body. `DOUBTFUL_PATHS` bounds how many such
paths may cost a refresh of one credential.

Pure: time comes as an argument, in monotonic seconds. One history belongs to one profile.
"""

from __future__ import annotations

from collections import OrderedDict

RECENT_SECONDS = 60.0
"""How long an acceptance elsewhere counts."""

DEAD_AFTER_PATHS = 3
"""One path may be wrong; after three, and no acceptance since, the token is dead."""

DOUBTFUL_PATHS = 3
"""So many paths without a history may cause a refresh of one credential."""

PATHS_LIMIT = 256
"""Bounds the memory; agents use a dozen paths."""

PROBE_SECONDS = 30.0
"""How often a credential that is known to be rejected is sent all the same: the upstream
may have been wrong, as in an incident on its side."""


class RejectionHistory:
    """What the upstream has answered to one profile's credentials.

    Owns bounded facts: path to the newest generation that was accepted there, with the
    time; the paths that rejected a fresh credential, with its generation; the paths that
    rejected the credential held, since it was last accepted anywhere; and the paths that
    had their try with it.
    """

    def __init__(self) -> None:
        self._accepted: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._always_rejecting: OrderedDict[str, int] = OrderedDict()
        self._rejecting: tuple[int, frozenset[str]] = (0, frozenset())
        self._tried: tuple[int, frozenset[str]] = (0, frozenset())
        self._probed_at: float | None = None

    def record_success(self, path: str, generation: int, now: float) -> None:
        """Record that a request with a credential of ours was accepted at *path*."""
        if path not in self._accepted and len(self._accepted) >= PATHS_LIMIT:
            self._accepted.popitem(last=False)
        # Responses overtake each other: a late one hides no newer generation.
        if self._accepted.get(path, (0, now))[0] <= generation:
            self._accepted[path] = (generation, now)
        self._accepted.move_to_end(path)  # invented paths push out none that is in use
        if self._always_rejecting:
            self._always_rejecting.pop(path, None)
        if self._rejecting[0] == generation and self._rejecting[1]:
            self._rejecting = (generation, frozenset())

    def record_rejection(
        self,
        path: str,
        generation: int,
        now: float,
        *,
        blames_token: bool,
        is_fresh: bool = False,
    ) -> bool:
        """Record a 401 at *path*; return True if it is about the token.

        *is_fresh*: the authority had just issued the credential, for this request.
        """
        if is_fresh:
            self._always_rejecting.setdefault(path, generation)
            if len(self._always_rejecting) > PATHS_LIMIT:
                self._always_rejecting.popitem(last=False)
        if self._is_accepted_elsewhere(path, generation, now):
            if path in self._always_rejecting:  # 1
                return False
            is_doubtful = not blames_token and self.is_doubtful(path, generation, now)
            is_new = path not in self._accepted
            if is_doubtful and not (is_new and self._may_try(path, generation)):
                return False  # 2
        self._add_rejection(path, generation)
        return True

    def is_doubtful(self, path: str, generation: int, now: float) -> bool:
        """Return True if a 401 at *path* that blames no token may be the resource's.

        Another path has just accepted this credential, and this path has not. The one try
        of rule 2 is for such a 401; if it gives no credential, the 401 is delivered.
        """
        here = self._accepted.get(path)
        was_accepted_here = here is not None and here[0] == generation
        return not was_accepted_here and self._is_accepted_elsewhere(
            path, generation, now
        )

    def is_known_bad(self, path: str, generation: int) -> bool:
        """Return True if *path*, or so many others, have rejected this credential."""
        at_generation, paths = self._rejecting
        if at_generation != generation:
            return False
        return path in paths or len(paths) >= DEAD_AFTER_PATHS

    def acquire_probe(self, now: float) -> bool:
        """Return True, once each `PROBE_SECONDS`, for a credential that is known bad."""
        if self._probed_at is not None and now - self._probed_at < PROBE_SECONDS:
            return False
        self._probed_at = now
        return True

    def _may_try(self, path: str, generation: int) -> bool:
        """Return True, once for each generation, for a path without a history.

        A late 401 for an older generation costs no refresh, since a newer one is held.
        """
        at_generation, paths = self._tried
        if generation < at_generation:
            return True
        if generation > at_generation:
            paths = frozenset()
        if path in paths or len(paths) >= DOUBTFUL_PATHS:
            return False
        self._tried = (generation, paths | {path})
        return True

    def _add_rejection(self, path: str, generation: int) -> None:
        at_generation, paths = self._rejecting
        if generation > at_generation:
            self._rejecting = (generation, frozenset({path}))
        elif generation == at_generation and len(paths) < DEAD_AFTER_PATHS:
            self._rejecting = (generation, paths | {path})

    def _is_accepted_elsewhere(self, path: str, generation: int, now: float) -> bool:
        since = self._always_rejecting.get(path, generation)
        return any(
            other != path
            and since <= at_generation <= generation
            and now - at < RECENT_SECONDS
            for other, (at_generation, at) in self._accepted.items()
        )
