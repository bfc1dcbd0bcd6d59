"""Whose 401 is it: the token's, or only the resource's?

A 401 about the token is answered by recovery, and recovery spends a refresh token. Were
every 401 taken for that, one path that always refuses could drive the authority, and
one such path could have a living login declared dead. So this file remembers which
paths have taken the credential that is held, and judges by that.

Pure: time comes as an argument, in monotonic seconds.
"""

from __future__ import annotations

from collections import OrderedDict

RECENT_SECONDS = 60.0
"""How long an acceptance elsewhere counts as "just now"."""

DEAD_AFTER_PATHS = 3
"""One path may lie; after three, and no acceptance since, the token is dead."""

REMEMBERED_PATHS = 256
"""Bounds the memory; agents use a dozen paths."""


class RejectionHistory:
    """What the upstream has said of one profile's credentials.

    Owns three bounded facts: path to the newest generation that was accepted there,
    with the time; the paths that refused a credential fresh from the authority, and of
    which generation that was; and the paths that refused the credential held, since it
    was last accepted anywhere.
    """

    def __init__(self) -> None:
        self._accepted: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._always_rejecting: OrderedDict[str, int] = OrderedDict()
        self._rejecting: tuple[int, frozenset[str]] = (0, frozenset())

    def record_success(self, path: str, generation: int, now: float) -> None:
        """Note that a request which we signed was answered without an error."""
        if path not in self._accepted and len(self._accepted) >= REMEMBERED_PATHS:
            self._accepted.popitem(last=False)
        self._accepted[path] = (generation, now)
        self._accepted.move_to_end(path)  # made-up paths push out none that is in use
        if self._always_rejecting:
            self._always_rejecting.pop(path, None)
        if self._rejecting[0] == generation and self._rejecting[1]:
            self._rejecting = (generation, frozenset())

    def record_fresh_rejection(self, path: str, generation: int) -> None:
        """Note that a path refused a credential that the authority had just given."""
        self._always_rejecting.setdefault(path, generation)
        if len(self._always_rejecting) > REMEMBERED_PATHS:
            self._always_rejecting.popitem(last=False)

    def record_rejection(
        self, path: str, generation: int, now: float, *, blames_token: bool
    ) -> bool:
        """Note a 401 at *path*; say whether it speaks of the token.

        It is the resource's own when the credential was accepted on another path
        within `RECENT_SECONDS`, and either the response names no token trouble on a path
        that never took this credential, or the path has refused a fresh one before.
        For such a path an acceptance of that one is enough: otherwise, under load, it
        would have each new credential replaced before another path has tried it.
        """
        if self._is_accepted_elsewhere(path, generation, now):
            here = self._accepted.get(path)
            was_taken_here = here is not None and here[0] == generation
            if path in self._always_rejecting or not (blames_token or was_taken_here):
                return False
        self._add_rejection(path, generation)
        return True

    def is_known_bad(self, path: str, generation: int) -> bool:
        """Say whether it would be idle to send this credential to *path* again.

        The path has refused it, or so many others have that the token is dead.
        """
        at_generation, paths = self._rejecting
        if at_generation != generation:
            return False
        return path in paths or len(paths) >= DEAD_AFTER_PATHS

    def is_rejected(self, generation: int) -> bool:
        """Say whether the upstream's last word on this credential was a refusal."""
        return self._rejecting[0] == generation and bool(self._rejecting[1])

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
