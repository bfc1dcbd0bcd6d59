"""The input and the result of a refresh. Frozen values."""

from __future__ import annotations

from dataclasses import dataclass

from bearerd.credential.store.state import Account
from bearerd.credential.token import Credential
from bearerd.errors import StoreError
from bearerd.events import RefreshSuccess


@dataclass(frozen=True, slots=True)
class RefreshRequest:
    """The input of a refresh.

    *cached* is the cached credential of this process, *account* the pinned account.
    *can_wait*: the access token is still valid, so no token is presented unless the
    journal can be written first. *is_rejected*: the upstream has rejected *cached*.
    *is_refused*: the authority has refused its refresh token permanently. *is_forced*
    ignores a recorded refusal or pause. *skew_seconds* is how far the local clock is
    ahead of the authority's.
    """

    cached: Credential | None
    account: Account | None
    can_wait: bool = False
    is_rejected: bool = False
    is_refused: bool = False
    is_forced: bool = False
    skew_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class RefreshResult:
    """The result of a refresh: a credential that replaces the cached one.

    *outcome* is `renewed` if the authority issued it, and `adopted` if another process
    had stored it. *unsaved* is the error that prevented storing it, or None. *issued_at*
    is the Date of the authority's response in epoch seconds, or None if it had none.
    """

    credential: Credential
    outcome: RefreshSuccess
    unsaved: StoreError | None = None
    issued_at: float | None = None
