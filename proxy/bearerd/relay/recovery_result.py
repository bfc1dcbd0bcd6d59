"""What a recovery has come to: its steps, and what stands in the way of a good response.

The texts are made here, at the edge: the outcome for log and metrics, and the field lines
for the client.
"""

from __future__ import annotations

from http import HTTPStatus

from bearerd.error_response import ERROR_FIELD
from bearerd.errors import (
    AccountChanged,
    AuthorityUnavailable,
    BearerdError,
    LoginRequired,
    StoreError,
    StoreUnavailable,
)
from bearerd.events import RecoveryOutcome, RecoveryPath

RECOVERY_FIELD = "x-bearerd-recovery"


class RecoveryProgress:
    """The course of one recovery. Owns its path, its error and its shortfall.

    `error` is delivered in place of the response. The shortfall is the reason why the
    recovery stopped although the response is delivered; the response is marked with it.
    """

    __slots__ = ("_path", "_shortfall", "error")

    def __init__(self) -> None:
        self._path = RecoveryPath.NONE
        self._shortfall: RecoveryOutcome | None = None
        self.error: BearerdError | None = None

    def add_step(self, step: RecoveryPath) -> None:
        """Note that *step* gave another credential."""
        self._path = self._path.then(step)

    def set_error(self, error: BearerdError) -> None:
        """Have *error* delivered in place of the response."""
        self.error = error

    def set_shortfall(self, reason: RecoveryOutcome) -> None:
        """Have the response delivered, marked with *reason*. The last reason counts."""
        self._shortfall = reason

    def drop_error(self) -> None:
        """Have the response delivered after all."""
        self.error = None

    @property
    def path(self) -> RecoveryPath:
        """Return the steps that gave another credential."""
        return self._path

    def outcome(self, status: int) -> RecoveryOutcome:
        """Return how the recovery ended; *status* is that of the last response."""
        if self.error is not None:
            return outcome_of(self.error)
        if self._shortfall is not None:
            return self._shortfall
        if status == HTTPStatus.UNAUTHORIZED:
            return RecoveryOutcome.REFUSED
        return RecoveryOutcome.RECOVERED

    def field_lines(self) -> bytes:
        """Return the field lines that tell the client about the recovery."""
        lines = ""
        if self._shortfall is not None:
            lines += f"{ERROR_FIELD}: {self._shortfall.value}\r\n"
        if self._path is not RecoveryPath.NONE:
            lines += f"{RECOVERY_FIELD}: {self._path.value}\r\n"
        return lines.encode()


def outcome_of(error: BearerdError) -> RecoveryOutcome:
    """Return the outcome of a recovery that *error* ended: the one with its code."""
    match error:
        case LoginRequired():
            return RecoveryOutcome.LOGIN_REQUIRED
        case AccountChanged():
            return RecoveryOutcome.ACCOUNT_CHANGED
        case AuthorityUnavailable():
            return RecoveryOutcome.AUTHORITY_UNAVAILABLE
        case StoreUnavailable():
            return RecoveryOutcome.STORE_UNAVAILABLE
        case StoreError():
            return RecoveryOutcome.STORE_ERROR
        case _:
            return RecoveryOutcome.INTERNAL_ERROR
