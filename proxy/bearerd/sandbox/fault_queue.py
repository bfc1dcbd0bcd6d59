"""What faults of both stand-ins have in common, and the queue of those that are due.

A fault is a value. Counted faults come first, in the order in which they were added; a
standing fault stays until it is cleared or replaced.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that a stand-in does wrong.

    `path` limits the fault to one path; None means every path. `delay_seconds` passes
    before the response. `status`, `body`, `html` and `retry_after` describe the response
    of the kind `answer`.
    """

    kind: str
    path: str | None = None
    delay_seconds: float = 0
    status: int | None = None
    body: str | None = None
    html: bool = False
    retry_after: str | None = None


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


def require_kind(kind: str, kinds: tuple[str, ...]) -> None:
    """Raise ValueError, with all kinds in its message, unless `kind` is one of them."""
    if kind not in kinds:
        raise ValueError(f"a fault's kind is one of {', '.join(kinds)}; got {kind!r}")
