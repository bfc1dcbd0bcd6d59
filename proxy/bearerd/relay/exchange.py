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
    AuthorityUnavailable,
    BearerdError,
    CredentialError,
    RefreshThrottled,
    StoreUnavailable,
)
from bearerd.events import Observer, RecoveryFinished
from bearerd.relay import challenge, headers
from bearerd.relay.client.response import Response
from bearerd.relay.message import ResponseHead
from bearerd.relay.recovery import SENDING, Outcome, State, after
from bearerd.relay.rejections import RejectionHistory
from bearerd.relay.upstream.attempt import Attempt, UpstreamRequest, send
from bearerd.relay.upstream.connection import UpstreamConnection
from bearerd.relay.upstream.pool import UpstreamPool
from bearerd.relay.upstream.response_parser import SWITCHING_PROTOCOLS

FIRST_ERROR, UNAUTHORIZED = 400, 401

INSPECTION_SECONDS = 2.0
"""How long a 401's body may take to tell what it is about."""


class Exchange:
    """Owns the attempt under way, and what recovery has come to.

    *couple* is told which wire feeds the client, so that a slow one slows it down;
    *tunnel* takes over a wire that has switched protocols.
    """

    def __init__(
        self,
        *,
        profile: str,
        path: str,
        source: CredentialSource,
        history: RejectionHistory,
        upstream: UpstreamPool,
        upstream_request: UpstreamRequest,
        response: Response,
        couple: Callable[[UpstreamConnection | None], None],
        tunnel: Callable[[UpstreamConnection], Awaitable[None]],
        observe: Observer,
        monotonic: Callable[[], float],
    ) -> None:
        self._profile = profile
        self._path = path
        self._source = source
        self._history = history
        self._upstream = upstream
        self._upstream_request = upstream_request
        self._response = response
        self._couple = couple
        self._tunnel = tunnel
        self._observe = observe
        self._monotonic = monotonic
        self._attempt: Attempt | None = None
        self._head: ResponseHead | None = None
        self._steps: list[str] = []
        self._error: BearerdError | None = None
        self._mark = b""
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
            self._couple(None)
            if self._attempt is not None:
                self._attempt.close()

    async def _recover(self) -> None:
        """Follow the table until there is something to deliver."""
        state = State.SENT
        began = self._monotonic()
        credential = await self._first_credential()
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
                self._steps.append("reload")
            state = after(state, outcome)
        if self._refused_at is not None:
            self._emit_recovery(credential)

    async def _first_credential(self) -> Credential:
        """Return the credential to begin with.

        One that is known to be rejected here is refreshed first. If that gives nothing,
        it is sent all the same: the upstream's own response is better than ours.
        """
        credential = await self._source.current()
        if not self._history.is_known_bad(self._path, credential.generation):
            return credential
        try:
            return await self._source.refresh(credential, "refused")
        except (AuthorityUnavailable, StoreUnavailable):
            return credential
        except CredentialError:
            if self._history.acquire_probe(self._monotonic()):
                return credential
            raise

    async def _send(self, state: State, credential: Credential) -> Outcome:
        """Send, and say what the response means for the credential."""
        if self._attempt is not None:
            self._attempt.close()
            self._attempt = None
        began = self._monotonic()
        self.attempts += 1
        self._attempt, self._head = await send(
            self._upstream, self._upstream_request, headers.auth_fields(credential)
        )
        self.waited_seconds += self._monotonic() - began
        self._upstream.store_cookies(self._head)
        if self._head.status < FIRST_ERROR:
            # An error of another kind may come from something that saw no token.
            self._history.record_success(
                self._path, credential.generation, self._monotonic()
            )
            self._source.note_accepted(credential)
        if self._head.status != UNAUTHORIZED:
            return Outcome.ANSWERED
        return await self._on_unauthorized(state, credential)

    async def _on_unauthorized(self, state: State, credential: Credential) -> Outcome:
        assert self._attempt is not None  # noqa: S101 - just sent
        assert self._head is not None  # noqa: S101
        beginning = b""
        try:
            async with asyncio.timeout(INSPECTION_SECONDS):
                beginning = await self._attempt.connection.held(
                    challenge.INSPECTED_BYTES
                )
        except TimeoutError:
            pass  # it says nothing, then
        is_about_token = self._history.record_rejection(
            self._path,
            credential.generation,
            self._monotonic(),
            blames_token=challenge.blames_token(self._head, beginning),
            is_fresh=state is State.RENEWED,
        )
        if not is_about_token:
            return Outcome.ANSWERED
        self._source.note_rejected(credential)
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
        self._steps.append("reload")
        return Outcome.FOUND, found

    async def _refresh(self, refused: Credential) -> tuple[Outcome, Credential]:
        try:
            renewed = await self._source.refresh(refused, "refused")
        except RefreshThrottled:
            self._mark = b"x-bearerd-error: refresh_throttled\r\n"
            return Outcome.FAILED, refused
        except BearerdError as error:
            self._error = error
            return Outcome.FAILED, refused
        self._steps.append("refresh")
        return Outcome.RENEWED, renewed

    async def _refresh_for_next_request(self, refused: Credential) -> None:
        """Renew the credential although this request cannot be sent again."""
        self._mark = b"x-bearerd-error: replay_abandoned\r\n"
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
        added = self._mark
        if self._steps:
            steps = ", ".join(dict.fromkeys(self._steps))
            added += b"x-bearerd-recovery: %b\r\n" % steps.encode()
        if self._head.status == SWITCHING_PROTOCOLS:
            self._response.switch_protocols(self._head, added)
            self._couple(connection)
            await self._tunnel(connection)
            return
        self._response.begin(self._head, added)
        connection.flow_to(self._response)
        self._response.flush()
        self.head_out_at = self._monotonic()
        self._couple(connection)
        await connection.ended()

    def _emit_recovery(self, credential: Credential) -> None:
        assert self._refused_at is not None  # noqa: S101 - the caller's condition
        outcome = "recovered"
        if self._error is not None:
            outcome = self._error.code
        elif self._mark:
            outcome = self._mark.split(b": ")[1].strip().decode()
        elif self._head is not None and self._head.status == UNAUTHORIZED:
            outcome = "refused"
        self._observe(
            RecoveryFinished(
                profile=self._profile,
                path=", ".join(dict.fromkeys(self._steps)),
                outcome=outcome,
                generation=credential.generation,
                duration_seconds=self._monotonic() - self._refused_at,
            )
        )
