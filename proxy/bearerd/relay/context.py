"""One request in the relay: what is known of it, and what is reported of it.

`RequestContext` is a value: made once, when the request is authorized and its route is
found, and never changed. What changes while the request is handled is in `RequestRecord`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from bearerd.credential.token import Credential
from bearerd.errors import BearerdError, NotFound, TargetForbidden
from bearerd.events import (
    Observer,
    RecoveryFinished,
    RecoveryOutcome,
    RecoveryPath,
    RequestFinished,
    Trigger,
)
from bearerd.keys.ring import Client
from bearerd.relay.body import ReplayBody
from bearerd.relay.client.request import ClientRequest
from bearerd.relay.rejections import RejectionHistory
from bearerd.relay.target import Target
from bearerd.relay.upstream.pool import UpstreamPool

CLIENT_LEFT = 499
"""nginx's status for a client that closed before its response. It is reported, and never
sent."""


class TokenSource(Protocol):
    """The source of a profile's credential, as far as an exchange needs it."""

    async def current(self) -> Credential:
        """Return the credential to send with a request.

        Raises:
            CredentialError: there is none.
        """

    def newer_than(self, rejected: Credential) -> Credential | None:
        """Return the cached credential if it is another one than *rejected*."""

    async def reload(self, rejected: Credential) -> Credential | None:
        """Read the store, and return its credential if it is another one than *rejected*.

        Raises:
            CredentialError: the store has another account, or none.
        """

    async def refresh(self, rejected: Credential, trigger: Trigger) -> Credential:
        """Return a credential that the authority issued in place of *rejected*.

        Raises:
            RefreshThrottled: the budget of refreshes is spent.
            CredentialError, StoreError: the refresh failed.
        """

    def record_acceptance(self, credential: Credential) -> None:
        """Note that the upstream accepted *credential*."""

    def record_rejection(self, credential: Credential) -> None:
        """Note that the upstream rejected *credential*."""


@dataclass(frozen=True, slots=True)
class Route:
    """Where a profile's requests go, and whose credential they carry."""

    profile: str
    source: TokenSource
    upstream: UpstreamPool
    history: RejectionHistory = field(default_factory=RejectionHistory)


def find_route(routes: Mapping[str, Route], client: Client, target: Target) -> Route:
    """Return the route of the profile that *target* names, or else of the key's profile.

    Raises:
        TargetForbidden: the client's key is for another profile.
        NotFound: there is no such profile.
    """
    profile = target.profile or client.profile
    if profile != client.profile:
        message = f"this key is for profile {client.profile}, not for {profile}"
        raise TargetForbidden(message)
    route = routes.get(profile)
    if route is None:
        known = ", ".join(sorted(routes))
        message = f"there is no profile {profile} here; there are: {known}"
        raise NotFound(message)
    return route


@dataclass(frozen=True, slots=True)
class RequestContext:
    """One authorized request. `body` is None if it has none."""

    request: ClientRequest
    client: Client
    target: Target
    route: Route
    body: ReplayBody | None


class RequestRecord:
    """What is reported of one request: its parties, its times, its attempts, its end.

    The handler and the exchange add each fact by a method as it becomes known.
    `request_finished` announces all of them.
    """

    __slots__ = (
        "_attempts",
        "_client",
        "_code",
        "_head_sent_at",
        "_method",
        "_monotonic",
        "_observe",
        "_path",
        "_profile",
        "_recovery_started_at",
        "_started_at",
        "_waited_seconds",
    )

    def __init__(
        self, method: str, *, monotonic: Callable[[], float], observe: Observer
    ) -> None:
        self._method = method
        self._monotonic = monotonic
        self._observe = observe
        self._started_at = monotonic()
        self._client = self._profile = self._path = ""
        self._code: str | None = None
        self._attempts = 0
        self._waited_seconds = 0.0
        self._head_sent_at: float | None = None
        self._recovery_started_at: float | None = None

    def set_client(self, name: str) -> None:
        """Note the client that the key belongs to."""
        self._client = name

    def set_path(self, path: str) -> None:
        """Note the upstream's path."""
        self._path = path

    def set_profile(self, profile: str) -> None:
        """Note the profile that the request is for."""
        self._profile = profile

    def set_error(self, error: BearerdError) -> None:
        """Note that bearerd answers with *error*, or breaks the response off with it."""
        self._code = error.code

    def now(self) -> float:
        """Return the monotonic time, for `waited_since`."""
        return self._monotonic()

    def waited_since(self, started_at: float) -> None:
        """Note a wait for others: it is no overhead of the relay."""
        self._waited_seconds += self._monotonic() - started_at

    def attempt_started(self) -> None:
        """Count a send to the upstream."""
        self._attempts += 1

    def head_sent(self) -> None:
        """Note that the head of the upstream's response has been sent to the client."""
        self._head_sent_at = self._monotonic()

    def recovery_started(self) -> None:
        """Note a 401 about the token. The first one counts."""
        if self._recovery_started_at is None:
            self._recovery_started_at = self._monotonic()

    def recovery_finished(
        self, path: RecoveryPath, outcome: RecoveryOutcome, generation: int
    ) -> None:
        """Announce the end of the recovery, if one was started."""
        if self._recovery_started_at is None:
            return
        self._observe(
            RecoveryFinished(
                profile=self._profile,
                path=path,
                outcome=outcome,
                generation=generation,
                duration_seconds=self._monotonic() - self._recovery_started_at,
            )
        )

    def request_finished(self, status: int) -> None:
        """Announce the end of the request; *status* is what the client got."""
        overhead = None
        if self._head_sent_at is not None:
            elapsed = self._head_sent_at - self._started_at
            overhead = max(0.0, elapsed - self._waited_seconds)
        self._observe(
            RequestFinished(
                client=self._client,
                profile=self._profile,
                method=self._method,
                path=self._path,
                status=status,
                attempts=self._attempts,
                code=self._code,
                overhead_seconds=overhead,
                duration_seconds=self._monotonic() - self._started_at,
            )
        )
