"""What the stand-ins can be told to do wrong, and for how many calls.

A fault is a value; a `FaultQueue` holds those that are due. Counted faults go first,
in the order they came; the standing one stays until it is cleared or replaced.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar, get_args

AuthorityFaultKind = Literal[
    "delay",
    "hang",
    "drop_before_rotation",
    "drop_after_rotation",
    "answer",
    "empty",
    "html",
    "empty_object",
    "garbage",
    "huge",
    "omit_refresh_token",
    "omit_id_token",
    "bad_id_token",
    "other_account",
    "refuse",
]

UpstreamFaultKind = Literal[
    "delay",
    "hang",
    "answer",
    "reset_before_head",
    "reset_mid_stream",
    "short_body",
]

_ROTATING = frozenset(
    {
        "delay",
        "drop_after_rotation",
        "huge",
        "omit_refresh_token",
        "omit_id_token",
        "bad_id_token",
        "other_account",
    }
)


@dataclass(frozen=True, slots=True)
class AuthorityFault:
    """One thing the authority does wrong.

    `rotates` says whether the refresh token is spent all the same; None means what the
    kind suggests. With `rotate_before_delay` it is spent on receipt, otherwise just
    before the response. `status`, `body`, `html` and `retry_after` shape the kind
    `answer`; `code`, `status` and `form` the kind `refuse`; `account_id` the kind
    `other_account`. `path` is where it applies.
    """

    kind: AuthorityFaultKind
    delay_seconds: float = 0
    rotate_before_delay: bool = False
    rotates: bool | None = None
    status: int | None = None
    body: str | None = None
    html: bool = False
    retry_after: str | None = None
    code: str = "refresh_token_invalidated"
    form: Literal["object", "string"] | None = None
    account_id: str = "acct-sandbox-other"
    path: str = "/oauth/token"

    def __post_init__(self) -> None:
        _check_kind(self.kind, get_args(AuthorityFaultKind))
        if self.kind in _ROTATING and self.rotates is False:
            raise ValueError(f"a fault of the kind {self.kind!r} always rotates")

    @property
    def drops(self) -> bool:
        """Whether the connection is reset instead of answered."""
        return self.kind in {"drop_before_rotation", "drop_after_rotation"}

    @property
    def spends(self) -> bool:
        """Whether the presented refresh token is spent although this goes wrong."""
        return self.kind in _ROTATING if self.rotates is None else self.rotates


@dataclass(frozen=True, slots=True)
class UpstreamFault:
    """One thing the upstream does wrong.

    `path` limits it to one path under `/backend-api/`, such as `codex/models`.
    `status`, `body`, `html`, `retry_after` and `before_body` (answer while the request
    body is still on its way) shape the kind `answer`. `after_events` counts the events
    that go out before `reset_mid_stream`. With `judged_first` a delay or hang comes
    after the credential was judged, so that a late response can be staged.
    """

    kind: UpstreamFaultKind
    path: str | None = None
    delay_seconds: float = 0
    judged_first: bool = False
    status: int = 401
    body: str | None = None
    html: bool = False
    retry_after: str | None = None
    before_body: bool = False
    after_events: int = 3

    def __post_init__(self) -> None:
        _check_kind(self.kind, get_args(UpstreamFaultKind))


Fault = TypeVar("Fault", AuthorityFault, UpstreamFault)


class FaultQueue(Generic[Fault]):
    """Owns the faults that are still due."""

    def __init__(self, matches: Callable[[Fault, str], bool]) -> None:
        self._matches: Callable[[Fault, str], bool] = matches
        self._due: list[tuple[Fault, int | None]] = []

    def add(self, fault: Fault, *, times: int | None = None) -> None:
        """Let the next `times` calls go wrong, or all until cleared if None."""
        if times is not None and times < 1:
            raise ValueError(f"times is 1 or more, or nothing; got {times}")
        if times is None:
            self._due = [
                due
                for due in self._due
                if due[1] is not None or due[0].path != fault.path
            ]
            self._due.append((fault, None))
            return
        counted = sum(1 for due in self._due if due[1] is not None)
        self._due.insert(counted, (fault, times))

    def clear(self) -> None:
        """Let everything go right from now on."""
        self._due.clear()

    def take(self, path: str) -> Fault | None:
        """Return the fault that this call gets, and count it."""
        for index, (fault, times) in enumerate(self._due):
            if not self._matches(fault, path):
                continue
            if times == 1:
                del self._due[index]
            elif times is not None:
                self._due[index] = (fault, times - 1)
            return fault
        return None


def _check_kind(kind: str, kinds: tuple[str, ...]) -> None:
    if kind not in kinds:
        raise ValueError(f"a fault's kind is one of {', '.join(kinds)}; got {kind!r}")
