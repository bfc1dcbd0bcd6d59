"""One request with all its attempts: sent until the recovery table says to deliver.

`recovery` decides what follows each outcome. The exchange acts, reports the outcome to the
table, and delivers at the end.

Who closes what:

1. At most one attempt is open. `_send` closes the last one before it sends again, so a
   rejected response is given up only when there is a credential to send again with.
2. Until then the rejected response stays open, unread past its beginning. If no recovery is
   possible and there is no error to deliver in its place, it is delivered: the upstream's
   own bytes, marked with the reason.
3. `run` closes the attempt that is left, however it ends: delivered, failed or cancelled.
   Closing returns the connection to the pool if its response has been read to the end, and
   aborts it otherwise.
4. The request's body is released by the handler, which made it.

What is delivered:

1. The error that a reload or a refresh raised, as bearerd's own response; unless it is
   temporary, and the 401 may be the resource's.
2. Otherwise the last response. `x-bearerd-recovery` has the steps of the recovery, if
   there were any; `x-bearerd-error` says why it stopped short, if it did.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import NamedTuple

from bearerd.credential.token import Credential
from bearerd.errors import (
    AuthorityUnavailable,
    BearerdError,
    CredentialError,
    RefreshThrottled,
    StoreUnavailable,
)
from bearerd.events import RecoveryOutcome, RecoveryPath
from bearerd.relay import challenge, headers
from bearerd.relay.client.response import Response
from bearerd.relay.context import RequestContext, RequestRecord
from bearerd.relay.flow_control import FlowControl
from bearerd.relay.message import SWITCHING_PROTOCOLS, ResponseHead
from bearerd.relay.recovery import SENDING, Outcome, State, next_state
from bearerd.relay.recovery_result import RecoveryProgress
from bearerd.relay.rejections import Verdict
from bearerd.relay.upstream.attempt import Attempt, UpstreamRequest, send_request
from bearerd.relay.upstream.connection import UpstreamConnection
from bearerd.relay.upstream.response_reader import ResponseReader

INSPECTION_SECONDS = 2.0
"""How long the beginning of a 401's body is waited for."""


@dataclass(frozen=True, slots=True)
class Downstream:
    """The client's side of an exchange.

    `flow` pauses the upstream's connection while the client's buffer is full. `tunnel`
    takes over a connection that has switched protocols, and returns at its end.
    """

    response: Response
    flow: FlowControl
    tunnel: Callable[[UpstreamConnection], Awaitable[None]]


class _Received(NamedTuple):
    """An attempt that is open, and the head of its response."""

    attempt: Attempt
    head: ResponseHead


class Exchange:
    """Owns the open attempt, and what the recovery has come to."""

    def __init__(
        self, context: RequestContext, downstream: Downstream, record: RequestRecord
    ) -> None:
        self._source = context.route.source
        self._history = context.route.history
        self._upstream = context.route.upstream
        self._path = context.target.path
        self._request = _upstream_request(context, downstream.response)
        self._downstream = downstream
        self._record = record
        self._received: _Received | None = None
        self._progress = RecoveryProgress()
        self._is_rejection_doubtful = False  # the last 401 may be the resource's

    async def run(self) -> None:
        """Send, recover, and deliver the response.

        Raises:
            BearerdError: there is no response to deliver; or, once it has started, it
                broke off.
        """
        try:
            await self._recover()
            await self._deliver()
        finally:
            self._downstream.flow.set_source(None)
            self._close_attempt()

    async def _recover(self) -> None:
        """Follow the table from SENT to DELIVER."""
        state = State.SENT
        started_at = self._record.now()
        credential = await self._first_credential()
        self._record.waited_since(started_at)
        while state is not State.DELIVER:
            if state in SENDING:
                outcome = await self._send(state, credential)
            elif state is State.RELOAD:
                outcome, credential = await self._reload(credential)
            else:
                outcome, credential = await self._refresh(credential)
            if outcome is Outcome.SUPERSEDED:
                credential = self._source.newer_than(credential) or credential
                self._progress.add_step(RecoveryPath.RELOAD)
            state = next_state(state, outcome)
        assert self._received is not None  # noqa: S101 - every path of the table sends
        self._record.recovery_finished(
            self._progress.path,
            self._progress.outcome(self._received.head.status),
            credential.generation,
        )

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
            if self._history.acquire_probe(self._record.now()):
                return credential
            raise

    async def _send(self, state: State, credential: Credential) -> Outcome:
        """Send the request, and return what the response means for the credential."""
        self._close_attempt()
        started_at = self._record.now()
        self._record.attempt_started()
        self._received = _Received(
            *await send_request(
                self._upstream, self._request, headers.auth_fields(credential)
            )
        )
        self._record.waited_since(started_at)
        head = self._received.head
        self._upstream.store_cookies(head)
        if head.status < HTTPStatus.BAD_REQUEST:
            # An error other than a 401 may be from a server that never saw the token.
            self._history.record_success(
                self._path, credential.generation, self._record.now()
            )
            self._source.record_acceptance(credential)
        if head.status != HTTPStatus.UNAUTHORIZED:
            return Outcome.ANSWERED
        return await self._judge_rejection(self._received, state, credential)

    async def _judge_rejection(
        self, received: _Received, state: State, credential: Credential
    ) -> Outcome:
        """Return the outcome of a 401: it may be about the token, or about the resource."""
        beginning = await _beginning(received.attempt.response)
        blames_token = challenge.blames_token(received.head, beginning)
        verdict = self._history.record_rejection(
            self._path,
            credential.generation,
            self._record.now(),
            blames_token=blames_token,
            is_fresh=state is State.RENEWED,
        )
        if verdict is Verdict.RESOURCE:
            return Outcome.ANSWERED
        self._is_rejection_doubtful = verdict is Verdict.DOUBTFUL
        self._source.record_rejection(credential)
        self._record.recovery_started()
        body = self._request.body
        if body is not None and not body.is_replayable and state is not State.RENEWED:
            await self._refresh_for_next_request(credential)
            return Outcome.ANSWERED
        if state is State.SENT and self._source.newer_than(credential) is not None:
            return Outcome.SUPERSEDED
        return Outcome.REFUSED

    async def _reload(self, rejected: Credential) -> tuple[Outcome, Credential]:
        """Return the outcome, and the credential to go on with."""
        try:
            found = await self._source.reload(rejected)
        except CredentialError as error:
            self._progress.set_error(error)
            return Outcome.FAILED, rejected
        if found is None:
            return Outcome.UNCHANGED, rejected
        self._progress.add_step(RecoveryPath.RELOAD)
        return Outcome.FOUND, found

    async def _refresh(self, rejected: Credential) -> tuple[Outcome, Credential]:
        """Return the outcome, and the credential to go on with."""
        try:
            renewed = await self._source.refresh(rejected, "refused")
        except RefreshThrottled:
            self._progress.set_shortfall(RecoveryOutcome.REFRESH_THROTTLED)
            return Outcome.FAILED, rejected
        except BearerdError as error:
            is_temporary = isinstance(error, AuthorityUnavailable | StoreUnavailable)
            if not (is_temporary and self._is_rejection_doubtful):
                self._progress.set_error(error)
            return Outcome.FAILED, rejected
        self._progress.add_step(RecoveryPath.REFRESH)
        return Outcome.RENEWED, renewed

    async def _refresh_for_next_request(self, rejected: Credential) -> None:
        """Renew the credential, although this request cannot be sent again.

        The upstream's 401 is delivered even if that fails.
        """
        self._progress.set_shortfall(RecoveryOutcome.REPLAY_ABANDONED)
        outcome, _ = await self._reload(rejected)
        if outcome is Outcome.UNCHANGED:
            await self._refresh(rejected)
        self._progress.drop_error()

    async def _deliver(self) -> None:
        """Send the response to the client, or raise the error that takes its place."""
        if self._progress.error is not None:
            raise self._progress.error
        assert self._received is not None  # noqa: S101 - every path of the table sends
        attempt, head = self._received
        connection = attempt.connection
        response = self._downstream.response
        if head.status == SWITCHING_PROTOCOLS:
            response.send_switching_protocols(head, self._progress.field_lines())
            await self._downstream.tunnel(connection)
            return
        response.send_head(head, self._progress.field_lines())
        attempt.response.stream_body_to(response)
        response.flush_head()
        self._record.head_sent()
        self._downstream.flow.set_source(connection.flow)
        await attempt.response.wait_complete()

    def _close_attempt(self) -> None:
        if self._received is not None:
            self._received.attempt.close()
            self._received = None


async def _beginning(response: ResponseReader) -> bytes:
    """Return the beginning of a response's body; nothing if it does not arrive in time."""
    try:
        async with asyncio.timeout(INSPECTION_SECONDS):
            return await response.peek_body(challenge.INSPECTED_BYTES)
    except TimeoutError:
        return b""


def _upstream_request(context: RequestContext, response: Response) -> UpstreamRequest:
    """Return what every attempt sends, but for the credential."""
    request = context.request
    return UpstreamRequest(
        method=request.method,
        target=context.target.upstream_target,
        fields=request.fields,
        body=context.body,
        length=request.length,
        asks_upgrade=request.asks_upgrade,
        on_interim=response.send_interim,
    )
