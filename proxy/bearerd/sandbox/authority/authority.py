"""The stand-in authority: the token endpoint, with what can go wrong at it.

Answers as auth.openai.com does toward Codex, from the ledger. Rules:

1. A call that arrived goes on though its client has left: rotation is not undone.
2. Order of a call: counted, (rotated, if told to do so first), delayed, held,
   rotated, answered.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from bearerd.sandbox.authority.fault_responses import (
    broken_grant,
    broken_response,
    grant_body,
    token_error,
)
from bearerd.sandbox.authority.faults import AuthorityFault
from bearerd.sandbox.authority.grant import Account, Grant, RefusedError
from bearerd.sandbox.authority.sign_in import SignIn
from bearerd.sandbox.authority.token_registry import TokenRegistry
from bearerd.sandbox.delivery import cut_connection
from bearerd.sandbox.fault_queue import FaultQueue
from bearerd.sandbox.gate import PATIENCE_SECONDS, Gate, Notifier
from bearerd.sandbox.listener import Handler
from bearerd.sandbox.records import KEPT_RECORDS, TokenCall, fingerprint
from bearerd.sandbox.request_body import read_fields
from bearerd.sandbox.responses import error_response

TOKEN_PATH = "/oauth/token"  # noqa: S105 - a path
REVOKE_PATH = "/oauth/revoke"
NO_FAULT = AuthorityFault("delay", delay_seconds=0)


class Authority:
    """Owns the records of token calls, the faults that are due and the hold.

    `hold` is where calls wait before the response when a test closes it; with
    `gate_follows_rotation` the refresh token is spent by then. `refusal_status`
    replaces the status of a refused refresh token (401 unless set).
    """

    def __init__(
        self,
        registry: TokenRegistry,
        sign_in: SignIn,
        *,
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self.sign_in = sign_in
        self.gate = Gate()
        self.gate_follows_rotation = False
        self.refusal_status: int | None = None
        self.faults: FaultQueue[AuthorityFault] = FaultQueue()
        self.records: deque[TokenCall] = deque(maxlen=KEPT_RECORDS)
        self.revoked_fingerprints: list[str] = []
        self.outcomes: Counter[str] = Counter()
        self.calls = 0
        self.max_overlapping_calls = 0
        self._overlapping = 0
        self._registry = registry
        self._now = now
        self._sleep = sleep
        self._notifier = Notifier()
        self._routes: dict[tuple[str, str], Handler] = {
            ("POST", TOKEN_PATH): self.handle_token_call,
            ("POST", REVOKE_PATH): self.handle_revocation,
            **sign_in.routes(),
        }

    def serve_also(self, routes: Mapping[tuple[str, str], Handler]) -> None:
        """Serve these on the authority's listener too."""
        self._routes.update(routes)

    @property
    def refreshes(self) -> int:
        """How many refresh tokens were rotated."""
        return self._registry.refreshes

    @property
    def reused(self) -> int:
        """How often a spent refresh token was presented and refused."""
        return self._registry.reused

    @property
    def waiting(self) -> int:
        """How many calls stand before the hold."""
        return self.gate.waiting

    def fault(self, fault: AuthorityFault, *, times: int | None = None) -> None:
        """Let the next `times` calls go wrong, or all until `clear_faults`."""
        self.faults.add(fault, times=times)

    def clear_faults(self) -> None:
        """Let everything go right from now on."""
        self.faults.clear()

    async def wait_for_calls(
        self, count: int, *, timeout_seconds: float = PATIENCE_SECONDS
    ) -> None:
        """Return once `count` token calls have arrived since the start."""
        await self._notifier.wait_for(
            lambda: self.calls >= count,
            description=f"{count} token calls",
            timeout_seconds=timeout_seconds,
        )

    async def wait_for_waiting(
        self, count: int, *, timeout_seconds: float = PATIENCE_SECONDS
    ) -> None:
        """Return once `count` calls stand before the hold."""
        await self.gate.wait_for_waiting(count, timeout_seconds=timeout_seconds)

    async def wait_for_outcomes(
        self, count: int, *, timeout_seconds: float = PATIENCE_SECONDS
    ) -> None:
        """Return once `count` token calls are over since the start."""
        await self._notifier.wait_for(
            lambda: self.outcomes.total() >= count,
            description=f"{count} token calls to be over",
            timeout_seconds=timeout_seconds,
        )

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request to the authority's listener."""
        handler = self._routes.get((request.method, request.path))
        if handler is None:
            return error_response(404, "not_found")
        return await handler(request)

    async def handle_token_call(self, request: web.BaseRequest) -> web.StreamResponse:
        """POST /oauth/token: the refresh grant and the authorization code grant."""
        fields = await read_fields(request)
        call = self._arrived(request, fields)
        try:
            response = await self._serve(request, call, fields)
        except asyncio.CancelledError:
            call.outcome = "abandoned"
            raise
        finally:
            call.finished = True
            self.outcomes[call.outcome] += 1
            self._overlapping -= 1
            self._notifier.notify()
        return response

    async def handle_revocation(self, request: web.BaseRequest) -> web.StreamResponse:
        """POST /oauth/revoke (RFC 7009): 200 whether the token was known or not."""
        fields = await read_fields(request)
        fault = self.faults.take(REVOKE_PATH) or NO_FAULT
        await self._stall(fault)
        spoilt = await self._spoil(request, fault)
        if spoilt is not None:
            return spoilt
        self.revoked_fingerprints.append(fingerprint(fields.get("token", "")))
        self._registry.revoke(fields.get("token", ""))
        return web.json_response({})

    def _arrived(self, request: web.BaseRequest, fields: dict[str, str]) -> TokenCall:
        """Count and record a token call."""
        presented = fields.get("refresh_token")
        call = TokenCall(
            at=self._now(),
            grant_type=fields.get("grant_type", ""),
            refresh_fingerprint=None if presented is None else fingerprint(presented),
            body_keys=tuple(sorted(fields)),
            content_type=request.headers.get("Content-Type", ""),
            user_agent=request.headers.get("User-Agent", ""),
        )
        self.records.append(call)
        self.calls += 1
        self._overlapping += 1
        self.max_overlapping_calls = max(self.max_overlapping_calls, self._overlapping)
        self._notifier.notify()
        return call

    async def _serve(
        self, request: web.BaseRequest, call: TokenCall, fields: dict[str, str]
    ) -> web.StreamResponse:
        """Rotate and answer, in the order and with the mistakes that are due."""
        fault = self.faults.take(TOKEN_PATH) or NO_FAULT
        early = fault.rotate_before_delay or self.gate_follows_rotation
        issued = self._issue(call, fields, fault) if early else None
        await self._stall(fault)
        if issued is None:
            issued = self._issue(call, fields, fault)
        if isinstance(issued, web.Response):
            call.status = issued.status
            return issued
        if fault.kind != "delay":
            call.outcome = f"fault:{fault.kind}"
        response = await self._spoil(request, fault)
        if response is None:
            assert issued is not None  # noqa: S101 - such a fault always spends
            body = grant_body(issued, self._registry.access_lifetime_seconds)
            response = broken_grant(fault, body)
        call.status = None if fault.drops else response.status
        return response

    async def _stall(self, fault: AuthorityFault) -> None:
        """Wait as the fault and the hold say."""
        if fault.delay_seconds:
            await self._sleep(fault.delay_seconds)
        await self.gate.pass_through()

    async def _spoil(
        self, request: web.BaseRequest, fault: AuthorityFault
    ) -> web.Response | None:
        """Return the response of a fault that needs no grant; None if it needs one."""
        if fault.kind == "hang":
            await asyncio.get_running_loop().create_future()
        if fault.drops:
            cut_connection(request)
            return web.Response()
        return broken_response(fault)

    def _issue(
        self, call: TokenCall, fields: dict[str, str], fault: AuthorityFault
    ) -> Grant | web.Response | None:
        """Return a grant, a refusal, or None if the fault spends nothing."""
        if not fault.spends:
            return None
        if not fields.get("client_id"):
            call.outcome = "invalid_client"
            return token_error("invalid_client", status=401, form="string")
        try:
            if call.grant_type == "refresh_token":
                grant = self._refresh(call, fields.get("refresh_token", ""))
            elif call.grant_type == "authorization_code":
                grant = self.sign_in.redeem(fields)
                call.outcome = "signed_in"
            else:
                call.outcome = "unsupported_grant_type"
                return token_error(call.outcome, form="string")
        except RefusedError as refused:
            call.outcome = refused.code
            return token_error(refused.code, status=self.refusal_status)
        if fault.kind == "other_account":
            grant = self._registry.sign_in(Account(fault.account_id))
        return grant

    def _refresh(self, call: TokenCall, presented: str) -> Grant:
        """Spend a refresh token and record how."""
        before = self._registry.refreshes
        grant = self._registry.rotate(presented)
        call.rotated = self._registry.refreshes > before
        call.outcome = "rotated" if call.rotated else "tolerated"
        return grant
