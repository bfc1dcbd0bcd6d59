"""One client request with all its attempts: asked until recovery says deliver.

The table in `credential.recovery` decides; here its deeds are done and reported back.
The last refused response stays open until something better has come, so that what is
delivered in the end is always the upstream's own bytes, or a word of ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from bearerd.credential.source import CredentialSource
from bearerd.credential.token import Credential
from bearerd.errors import (
    AccountChanged,
    AuthorityUnavailable,
    BearerdError,
    CredentialError,
    LoginRequired,
    RefreshThrottled,
    StoreError,
)
from bearerd.events import Observer, RecoveryFinished, RecoveryOutcome, RecoveryPath
from bearerd.relay import challenge, headers
from bearerd.relay.client.response import Response
from bearerd.relay.flow_control import FlowControl
from bearerd.relay.message import SWITCHING_PROTOCOLS, ResponseHead
from bearerd.relay.recovery import SENDING, Outcome, State, next_state
from bearerd.relay.upstream.attempt import Attempt, UpstreamRequest, send_request
from bearerd.relay.upstream.connection import UpstreamConnection
from bearerd.relay.upstream.pool import UpstreamPool

FIRST_ERROR, UNAUTHORIZED = 400, 401

INSPECTION_SECONDS = 2.0
"""How long a 401's body may take to tell what it is about."""


class Exchange:
    """Owns the attempt under way, and what recovery has come to.

    *client_flow* pauses the upstream's connection while the client takes nothing;
    *tunnel* takes over a connection that has switched protocols.
    """

    def __init__(
        self,
        *,
        profile: str,
        path: str,
        source: CredentialSource,
        upstream: UpstreamPool,
        upstream_request: UpstreamRequest,
        response: Response,
        client_flow: FlowControl,
        tunnel: Callable[[UpstreamConnection], Awaitable[None]],
        observe: Observer,
        monotonic: Callable[[], float],
    ) -> None:
        self._profile = profile
        self._path = path
        self._source = source
        self._upstream = upstream
        self._upstream_request = upstream_request
        self._response = response
        self._client_flow = client_flow
        self._tunnel = tunnel
        self._observe = observe
        self._monotonic = monotonic
        self._attempt: Attempt | None = None
        self._head: ResponseHead | None = None
        self._path_taken = RecoveryPath.NONE
        self._error: BearerdError | None = None
        self._shortfall: RecoveryOutcome | None = None
        self._refused_at: float | None = None
        self.attempts = 0
        self.waited_seconds = 0.0  # for others: upstream, store, authority
        self.head_out_at: float | None = None

    async def run(self) -> None:
        """Bring the exchange to its end.

        Raises:
            BearerdError: the response is ours; or, once it has begun, it broke off.
        """
        try:
            await self._recover()
            await self._deliver()
        finally:
            self._client_flow.set_source(None)
            if self._attempt is not None:
                self._attempt.close()

    async def _recover(self) -> None:
        """Follow the table until there is something to deliver."""
        state = State.SENT
        began = self._monotonic()
        credential = await self._source.current(self._path)
        self.waited_seconds += self._monotonic() - began
        while state is not State.DELIVER:
            if state in SENDING:
                outcome = await self._send(state, credential)
            elif state is State.RELOAD:
                outcome, credential = await self._reload(credential)
            else:
                outcome, credential = await self._refresh(credential)
            if outcome is Outcome.SUPERSEDED:
                credential = self._source.newer_than(credential) or credential
                self._path_taken = self._path_taken.then(RecoveryPath.RELOAD)
            state = next_state(state, outcome)
        if self._refused_at is not None:
            self._emit_recovery(credential)

    async def _send(self, state: State, credential: Credential) -> Outcome:
        """Send, and say what the response means for the credential."""
        if self._attempt is not None:
            self._attempt.close()
            self._attempt = None
        began = self._monotonic()
        self.attempts += 1
        self._attempt, self._head = await send_request(
            self._upstream, self._upstream_request, headers.auth_fields(credential)
        )
        self.waited_seconds += self._monotonic() - began
        self._upstream.store_cookies(self._head)
        if self._head.status < FIRST_ERROR:
            # An error of another kind may come from something that saw no token.
            self._source.record_success(self._path, credential)
        if self._head.status != UNAUTHORIZED:
            return Outcome.ANSWERED
        return await self._on_unauthorized(state, credential)

    async def _on_unauthorized(self, state: State, credential: Credential) -> Outcome:
        assert self._attempt is not None  # noqa: S101 - just sent
        assert self._head is not None  # noqa: S101
        beginning = b""
        try:
            async with asyncio.timeout(INSPECTION_SECONDS):
                beginning = await self._attempt.response.peek_body(
                    challenge.INSPECTED_BYTES
                )
        except TimeoutError:
            pass  # it says nothing, then
        is_about_token = self._source.record_rejection(
            self._path,
            credential,
            blames_token=challenge.blames_token(self._head, beginning),
            is_fresh=state is State.RENEWED,
        )
        if not is_about_token:
            return Outcome.ANSWERED
        if self._refused_at is None:
            self._refused_at = self._monotonic()
        body = self._upstream_request.body
        if body is not None and not body.is_replayable and state is not State.RENEWED:
            await self._refresh_for_next_request(credential)
            return Outcome.ANSWERED
        if state is State.SENT and self._source.newer_than(credential) is not None:
            return Outcome.SUPERSEDED
        return Outcome.REFUSED

    async def _reload(self, refused: Credential) -> tuple[Outcome, Credential]:
        try:
            found = await self._source.reload(refused)
        except CredentialError as error:
            self._error = error
            return Outcome.FAILED, refused
        if found is None:
            return Outcome.UNCHANGED, refused
        self._path_taken = self._path_taken.then(RecoveryPath.RELOAD)
        return Outcome.FOUND, found

    async def _refresh(self, refused: Credential) -> tuple[Outcome, Credential]:
        try:
            renewed = await self._source.refresh(refused, "refused")
        except RefreshThrottled:
            self._shortfall = RecoveryOutcome.REFRESH_THROTTLED
            return Outcome.FAILED, refused
        except BearerdError as error:
            self._error = error
            return Outcome.FAILED, refused
        self._path_taken = self._path_taken.then(RecoveryPath.REFRESH)
        return Outcome.RENEWED, renewed

    async def _refresh_for_next_request(self, refused: Credential) -> None:
        """Renew the credential although this request cannot be sent again."""
        self._shortfall = RecoveryOutcome.REPLAY_ABANDONED
        outcome, _ = await self._reload(refused)
        if outcome is Outcome.UNCHANGED:
            await self._refresh(refused)
        self._error = None

    async def _deliver(self) -> None:
        """Let the response stream to the client."""
        if self._error is not None:
            raise self._error
        assert self._attempt is not None  # noqa: S101 - something was sent
        assert self._head is not None  # noqa: S101
        connection = self._attempt.connection
        added = self._marks()
        if self._head.status == SWITCHING_PROTOCOLS:
            self._response.send_switching_protocols(self._head, added)
            await self._tunnel(connection)
            return
        self._response.send_head(self._head, added)
        connection.response.stream_body_to(self._response)
        self._response.flush_head()
        self.head_out_at = self._monotonic()
        self._client_flow.set_source(connection.flow)
        await connection.response.wait_complete()

    def _marks(self) -> bytes:
        """Return the field lines that tell the client of a recovery."""
        lines = b""
        if self._shortfall is not None:
            lines += b"x-bearerd-error: %b\r\n" % self._shortfall.value.encode()
        if self._path_taken is not RecoveryPath.NONE:
            lines += b"x-bearerd-recovery: %b\r\n" % self._path_taken.value.encode()
        return lines

    def _outcome(self) -> RecoveryOutcome:
        """Return how the recovery ended, once there is something to deliver."""
        if self._error is not None:
            return outcome_of(self._error)
        if self._shortfall is not None:
            return self._shortfall
        if self._head is not None and self._head.status == UNAUTHORIZED:
            return RecoveryOutcome.REFUSED
        return RecoveryOutcome.RECOVERED

    def _emit_recovery(self, credential: Credential) -> None:
        assert self._refused_at is not None  # noqa: S101 - the caller's condition
        self._observe(
            RecoveryFinished(
                profile=self._profile,
                path=self._path_taken,
                outcome=self._outcome(),
                generation=credential.generation,
                duration_seconds=self._monotonic() - self._refused_at,
            )
        )


def outcome_of(error: BearerdError) -> RecoveryOutcome:
    """Return the outcome of a recovery that *error* ended: the one with its code."""
    match error:
        case LoginRequired():
            return RecoveryOutcome.LOGIN_REQUIRED
        case AccountChanged():
            return RecoveryOutcome.ACCOUNT_CHANGED
        case AuthorityUnavailable():
            return RecoveryOutcome.AUTHORITY_UNAVAILABLE
        case StoreError():
            return RecoveryOutcome.STORE_ERROR
        case _:
            return RecoveryOutcome.INTERNAL_ERROR
