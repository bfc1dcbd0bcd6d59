"""What a refresh starts from, and what it gives. Frozen values."""

from __future__ import annotations

from dataclasses import dataclass

from bearerd.credential.store.state import Account
from bearerd.credential.token import Credential
from bearerd.errors import StoreError
from bearerd.events import RefreshOutcome


@dataclass(frozen=True, slots=True)
class RefreshRequest:
    """What a refresh starts from.

    *held* is the credential in this process, *account* the pin of the profile.
    *can_wait* is true while *held* is still valid: then no token is presented that could
    not be recorded first. *is_rejected*: the upstream has rejected *held*. *is_refused*:
    the authority has refused its refresh token for good. *is_forced* overrides a
    remembered refusal or pause.
    *skew_seconds* is how far the local clock is ahead of the authority's.
    """

    held: Credential | None
    account: Account | None
    can_wait: bool = False
    is_rejected: bool = False
    is_refused: bool = False
    is_forced: bool = False
    skew_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class RefreshResult:
    """A credential that replaces *held*.

    *outcome* is `renewed` if the authority issued it and `adopted` if the store had it.
    *unsaved* is the reason why the store does not hold it, or None. *issued_at* is the
    authority's clock in its response, in epoch seconds, if it told.
    """

    credential: Credential
    outcome: RefreshOutcome
    unsaved: StoreError | None = None
    issued_at: float | None = None
