"""The common part of the faults of both stand-ins, and the queue of pending faults.

A fault is a value. Counted faults apply first, in the order in which they were added. A
permanent fault applies until it is cleared or replaced.

The kinds that both stand-ins have, and the response to the client:
    answer: `status` with `body`, as JSON or, with `html`, as a page.
    unauthorized: a plain 401, `{"detail":"Unauthorized"}`.
    unauthorized_empty, unauthorized_page: a 401 without a body, or with HTML.
    challenge: Cloudflare's 403 with a page (`cf-mitigated: challenge`).
    proxy_authentication: 407 from a proxy on the way.
    rate_limited: 429, with Retry-After.
    maintenance: 503 with a page.
    edge_error: an error page of a CDN; `status` is 502 (the default), 504, 520 to 524,
        or 1020, which is sent as a 403.
    redirect: `status` (302 by default) to `location`.

The value of Retry-After is `retry_after`, or `retry_after_seconds` as a number or, with
`retry_after_form="date"`, as a date by the server's clock.
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
"""Cloudflare sends these if the origin fails, or if one of its rules rejects."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a stand-in.

    `path` limits the fault to one path; None means every path. `delay_seconds` is the
    delay before the response. The other fields describe the response; see the module.

    Raises:
        ValueError: a field has a value that is not allowed.
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
    """Owns the pending faults."""

    def __init__(self) -> None:
        self._pending: list[tuple[AnyFault, int | None]] = []

    def add(self, fault: AnyFault, *, times: int | None = None) -> None:
        """Apply a fault to the next `times` calls, or to all calls if None.

        A permanent fault replaces the permanent fault of the same path.

        Raises:
            ValueError: `times` is less than 1.
        """
        if times is not None and times < 1:
            raise ValueError(f"times must be at least 1, or absent; got {times}")
        if times is None:
            self._pending = [
                pending
                for pending in self._pending
                if pending[1] is not None or pending[0].path != fault.path
            ]
            self._pending.append((fault, None))
            return
        counted = sum(1 for pending in self._pending if pending[1] is not None)
        self._pending.insert(counted, (fault, times))

    def clear(self) -> None:
        """Remove all faults."""
        self._pending.clear()

    def take(self, path: str) -> AnyFault | None:
        """Return the fault for a call to `path`, and count it; None if there is none."""
        for index, (fault, times) in enumerate(self._pending):
            if fault.path not in {None, path}:
                continue
            if times == 1:
                del self._pending[index]
            elif times is not None:
                self._pending[index] = (fault, times - 1)
            return fault
        return None


def require_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Raise ValueError, with the list of choices, unless `value` is one of them."""
    if value not in choices:
        listed = ", ".join(str(choice) for choice in choices)
        raise ValueError(f"{name} must be one of {listed}; got {value!r}")
