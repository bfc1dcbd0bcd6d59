"""The stand-in authority: the routes of its listener, and the records of its calls.

Its responses are those of auth.openai.com to Codex. A token call completes even if its
client disconnects, because a rotation is not undone.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from bearerd.sandbox.authority.clients import CODEX_CLIENT_ID, ClientRegistry
from bearerd.sandbox.authority.fault_responses import client_error, fault_response
from bearerd.sandbox.authority.faults import AuthorityFault
from bearerd.sandbox.authority.issuer import Issuer, TokenRequest
from bearerd.sandbox.authority.sign_in import SignIn
from bearerd.sandbox.authority.token_endpoint import TokenEndpoint
from bearerd.sandbox.authority.token_registry import TokenRegistry
from bearerd.sandbox.clock import ServerClock
from bearerd.sandbox.delivery import reset_connection
from bearerd.sandbox.fault_queue import FaultQueue
from bearerd.sandbox.gate import WAIT_TIMEOUT_SECONDS, Gate, Notifier
from bearerd.sandbox.incident import Incident
from bearerd.sandbox.listener import Handler
from bearerd.sandbox.records import KEPT_RECORDS, TokenCall, fingerprint
from bearerd.sandbox.request_body import read_fields
from bearerd.sandbox.responses import error_response, plain_unauthorized

TOKEN_PATH = "/oauth/token"  # noqa: S105 - a path
REVOKE_PATH = "/oauth/revoke"
CONTROL_PREFIX = "/sandbox/"
NO_FAULT = AuthorityFault("delay", delay_seconds=0)


class Authority:
    """Owns the records and counters of token calls, the gates and the pending faults.

    A test closes `gate` to hold calls before they arrive, and `response_gate` to hold
    responses after the refresh token was spent. `calls` counts all token calls, including
    those that an intermediary responds to; `outcomes` counts the completed ones.
    """

    def __init__(
        self,
        registry: TokenRegistry,
        sign_in: SignIn,
        *,
        clients: ClientRegistry,
        clock: ServerClock,
        incident: Incident,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self.sign_in = sign_in
        self.clients = clients
        self.clock = clock
        self.gate = Gate()
        self.response_gate = Gate()
        self.faults: FaultQueue[AuthorityFault] = FaultQueue()
        self.records: deque[TokenCall] = deque(maxlen=KEPT_RECORDS)
        self.revoked_fingerprints: list[str] = []
        self.outcomes: Counter[str] = Counter()
        self.paths: Counter[str] = Counter()
        self.calls = 0
        self.max_overlapping_calls = 0
        self._overlapping = 0
        self._registry = registry
        self._incident = incident
        self._sleep = sleep
        self._notifier = Notifier()
        self.token_endpoint = TokenEndpoint(
            Issuer(registry, sign_in, clients),
            clients,
            gate=self.gate,
            response_gate=self.response_gate,
            clock=clock,
            sleep=sleep,
        )
        self._routes: dict[tuple[str, str], Handler] = {
            ("POST", REVOKE_PATH): self.handle_revocation,
            **sign_in.routes(),
        }

    def add_routes(self, routes: Mapping[tuple[str, str], Handler]) -> None:
        """Serve these routes on the authority's listener too."""
        self._routes.update(routes)

    @property
    def refreshes(self) -> int:
        """The number of refresh tokens that were rotated."""
        return self._registry.refreshes

    @property
    def reused(self) -> int:
        """How often a spent refresh token was presented and refused."""
        return self._registry.reused

    @property
    def waiting(self) -> int:
        """The number of calls that wait at the gate."""
        return self.gate.waiting

    def fault(self, fault: AuthorityFault, *, times: int | None = None) -> None:
        """Apply a fault to the next `times` calls, or to all until `clear_faults`."""
        self.faults.add(fault, times=times)

    def clear_faults(self) -> None:
        """Serve without faults from now on."""
        self.faults.clear()

    async def wait_for_calls(
        self, count: int, *, timeout_seconds: float = WAIT_TIMEOUT_SECONDS
    ) -> None:
        """Wait until `count` token calls have arrived since the start."""
        await self._notifier.wait_for(
            lambda: self.calls >= count,
            description=f"{count} token calls",
            timeout_seconds=timeout_seconds,
        )

    async def wait_for_waiting(
        self, count: int, *, timeout_seconds: float = WAIT_TIMEOUT_SECONDS
    ) -> None:
        """Wait until `count` calls wait at the gate."""
        await self.gate.wait_for_waiting(count, timeout_seconds=timeout_seconds)

    async def wait_for_outcomes(
        self, count: int, *, timeout_seconds: float = WAIT_TIMEOUT_SECONDS
    ) -> None:
        """Wait until `count` token calls have completed since the start."""
        await self._notifier.wait_for(
            lambda: self.outcomes.total() >= count,
            description=f"{count} completed token calls",
            timeout_seconds=timeout_seconds,
        )

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Handle one request to the authority's listener."""
        self.paths[request.path] += 1
        if (request.method, request.path) == ("POST", TOKEN_PATH):
            response = await self.handle_token_call(request)
        else:
            response = await self._handle_other(request)
        if not response.prepared:
            response.headers.setdefault("Date", self.clock.http_date())
        return response

    async def handle_token_call(self, request: web.BaseRequest) -> web.StreamResponse:
        """POST /oauth/token: the refresh grant and the authorization code grant."""
        is_rejected = self._incident.is_active
        fault = NO_FAULT if is_rejected else self.faults.take(TOKEN_PATH) or NO_FAULT
        is_read = fault.kind != "reset_before_reading"
        fields = await read_fields(request) if is_read else {}
        call = self._record(request, fields)
        try:
            if is_rejected:
                call.end_with("incident")
                return plain_unauthorized()
            token_request = TokenRequest(fields, request.content_type)
            return await self.token_endpoint.serve(request, token_request, call, fault)
        except asyncio.CancelledError:
            call.end_with("abandoned")
            raise
        finally:
            call.finish()
            self.outcomes[call.outcome] += 1
            self._overlapping -= 1
            self._notifier.notify()

    async def handle_revocation(self, request: web.BaseRequest) -> web.StreamResponse:
        """POST /oauth/revoke (RFC 7009): 200 whether the token was known or not.

        Codex sends its client id only with a refresh token.
        """
        fields = await read_fields(request)
        await self.gate.pass_through()
        if not self.clients.is_registered(fields.get("client_id", CODEX_CLIENT_ID)):
            return client_error(self.clients.rejection)
        self.revoked_fingerprints.append(fingerprint(fields.get("token", "")))
        self._registry.revoke(fields.get("token", ""))
        return web.json_response({})

    async def _handle_other(self, request: web.BaseRequest) -> web.StreamResponse:
        """Handle a request other than a token call; apply a fault of its path first."""
        handler = self._routes.get((request.method, request.path))
        if handler is None:
            return error_response(404, "not_found")
        if request.path.startswith(CONTROL_PREFIX):
            return await handler(request)
        if self._incident.is_active:
            await request.read()
            return plain_unauthorized()
        fault = self.faults.take(request.path) or NO_FAULT
        if fault.delay_seconds:
            await self._sleep(fault.delay_seconds)
        if fault.kind == "hang":
            await asyncio.get_running_loop().create_future()
        if fault.drops:
            reset_connection(request)
            return web.Response()
        return fault_response(fault, self.clock) or await handler(request)

    def _record(self, request: web.BaseRequest, fields: dict[str, str]) -> TokenCall:
        """Count and record a token call."""
        presented = fields.get("refresh_token")
        call = TokenCall(
            at=self.clock(),
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
