"""What the faults of both stand-ins have in common, and the queue of those due.

A fault is a value. Counted faults come first, in the order in which they were added; a
standing fault stays until it is cleared or replaced.

Kinds that both stand-ins have, and what the client gets:
    answer: `status` with `body`, as JSON or, with `html`, as a page.
    unauthorized: a plain 401, `{"detail":"Unauthorized"}`.
    unauthorized_empty, unauthorized_page: a 401 without a body, or with HTML.
    challenge: Cloudflare's 403 with a page (`cf-mitigated: challenge`).
    proxy_authentication: 407 from a proxy on the way.
    rate_limited: 429, with Retry-After.
    maintenance: 503 with a page.
    edge_error: an error page of a content network; `status` is 502 (the default), 504,
        520 to 524, or 1020, which is sent as a 403.
    redirect: `status` (302 unless set) to `location`.

Retry-After is `retry_after` as it is, or comes from `retry_after_seconds`, as a number
of seconds or, with `retry_after_form="date"`, as a date by the server's clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

CommonKind = Literal[
    "answer",
    "unauthorized",
    "unauthorized_empty",
    "unauthorized_page",
    "challenge",
    "proxy_authentication",
    "rate_limited",
    "maintenance",
    "edge_error",
    "redirect",
]

EDGE_STATUSES = frozenset({502, 504, 520, 521, 522, 523, 524, 1020})
"""Cloudflare's: what it sends when the origin fails it, or its own rules reject."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that a stand-in does wrong.

    `path` limits the fault to one path; None means every path. `delay_seconds` pass
    before the response. The other fields describe the response; see above.

    Raises:
        ValueError: a field is none of its choices.
    """

    kind: str
    path: str | None = None
    delay_seconds: float = 0
    status: int | None = None
    body: str | None = None
    html: bool = False
    retry_after: str | None = None
    retry_after_seconds: float | None = None
    retry_after_form: Literal["seconds", "date"] = "seconds"
    location: str = "/redirected"

    def __post_init__(self) -> None:
        require_choice("retry_after_form", self.retry_after_form, ("seconds", "date"))
        if self.kind == "edge_error" and self.status is not None:
            require_choice("status", self.status, sorted(EDGE_STATUSES))


AnyFault = TypeVar("AnyFault", bound=Fault)


class FaultQueue(Generic[AnyFault]):
    """Owns the faults that are still due."""

    def __init__(self) -> None:
        self._due: list[tuple[AnyFault, int | None]] = []

    def add(self, fault: AnyFault, *, times: int | None = None) -> None:
        """Apply a fault to the next `times` calls, or to all calls if None.

        A standing fault replaces the standing fault of the same path.

        Raises:
            ValueError: `times` is less than 1.
        """
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
        """Drop all faults."""
        self._due.clear()

    def take(self, path: str) -> AnyFault | None:
        """Return the fault for a call to `path`, and count it; None if none is due."""
        for index, (fault, times) in enumerate(self._due):
            if fault.path not in {None, path}:
                continue
            if times == 1:
                del self._due[index]
            elif times is not None:
                self._due[index] = (fault, times - 1)
            return fault
        return None


def require_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Raise ValueError, with all choices in its message, unless `value` is one."""
    if value not in choices:
        listed = ", ".join(str(choice) for choice in choices)
        raise ValueError(f"{name} is one of {listed}; got {value!r}")
