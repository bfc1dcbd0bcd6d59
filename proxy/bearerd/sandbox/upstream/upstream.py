"""The stand-in upstream: the resources under `/backend-api`, and its faults.

Its responses are those of chatgpt.com to Codex. Rules:

1. Request bodies are counted and hashed as received, without decoding and without a
   limit.
2. The steps of a request: count it, incident, read the body, delay, gate, fault, check
   the credential, response gate, respond. With `judged_first` the delay follows the
   check.
3. When a client disconnects, its request is cancelled; the record has `abandoned`.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import Literal

from aiohttp import web
from multidict import CIMultiDict

from bearerd.sandbox.authority.grant import Account
from bearerd.sandbox.authority.token_registry import TokenRegistry
from bearerd.sandbox.clock import ServerClock
from bearerd.sandbox.delivery import reset_connection
from bearerd.sandbox.fault_queue import FaultQueue
from bearerd.sandbox.gate import WAIT_TIMEOUT_SECONDS, Gate, Notifier
from bearerd.sandbox.incident import Incident
from bearerd.sandbox.records import KEPT_RECORDS, RequestRecord, fingerprint
from bearerd.sandbox.request_body import read_body
from bearerd.sandbox.responses import error_response, plain_unauthorized
from bearerd.sandbox.upstream.authorization import authorize, bearer_token
from bearerd.sandbox.upstream.fault_responses import fault_response
from bearerd.sandbox.upstream.faults import UpstreamFault
from bearerd.sandbox.upstream.resources import echo, resource
from bearerd.sandbox.upstream.streams import Streams, send_bytes, send_short_body
from bearerd.sandbox.upstream.usage import Usage

PREFIX = "/backend-api/"
RESPONSES = "codex/responses"
# RFC 6761: `.invalid` names do not exist, so a client that uses this reaches no host.
INVALID_ORIGIN = "https://sandbox.invalid"
NO_FAULT = UpstreamFault("delay")


class Upstream:
    """Owns the records of requests, the pending faults, the gates and the streams.

    A test closes `gate` to hold requests before their credential is checked, and
    `response_gate` to hold them after that. These can be changed at any time:
    `streams.script`, `websocket`, `extra_headers` (added to every response), `usage` and
    `workspace_backend_origin`.
    """

    def __init__(
        self,
        registry: TokenRegistry,
        *,
        clock: ServerClock,
        incident: Incident,
        sleep: Callable[[float], Awaitable[None]],
        monotonic_ns: Callable[[], int],
    ) -> None:
        self.clock = clock
        self.streams = Streams(sleep=sleep, monotonic_ns=monotonic_ns)
        self.gate = Gate()
        self.response_gate = Gate()
        self.websocket: Literal["refuse", "accept"] = "refuse"
        self.extra_headers: CIMultiDict[str] = CIMultiDict()
        self.usage = Usage()
        self.workspace_backend_origin = INVALID_ORIGIN
        self.faults: FaultQueue[UpstreamFault] = FaultQueue()
        self.records: deque[RequestRecord] = deque(maxlen=KEPT_RECORDS)
        self.requests = 0
        self.statuses: Counter[int] = Counter()
        self.abandoned = 0
        self._registry = registry
        self._incident = incident
        self._sleep = sleep
        self._notifier = Notifier()

    @property
    def waiting(self) -> int:
        """The number of requests that wait at the gate."""
        return self.gate.waiting

    def fault(self, fault: UpstreamFault, *, times: int | None = None) -> None:
        """Apply a fault to the next `times` requests, or to all until `clear_faults`."""
        self.faults.add(fault, times=times)

    def clear_faults(self) -> None:
        """Serve without faults from now on."""
        self.faults.clear()

    async def wait_for_requests(
        self, count: int, *, timeout_seconds: float = WAIT_TIMEOUT_SECONDS
    ) -> None:
        """Wait until `count` requests have arrived since the start."""
        await self._notifier.wait_for(
            lambda: self.requests >= count,
            description=f"{count} requests",
            timeout_seconds=timeout_seconds,
        )

    async def wait_for_waiting(
        self, count: int, *, timeout_seconds: float = WAIT_TIMEOUT_SECONDS
    ) -> None:
        """Wait until `count` requests wait at the gate."""
        await self.gate.wait_for_waiting(count, timeout_seconds=timeout_seconds)

    async def wait_for_abandoned(
        self, count: int, *, timeout_seconds: float = WAIT_TIMEOUT_SECONDS
    ) -> None:
        """Wait until the clients of `count` requests have disconnected."""
        await self._notifier.wait_for(
            lambda: self.abandoned >= count,
            description=f"{count} abandoned requests",
            timeout_seconds=timeout_seconds,
        )

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Handle one request to the upstream's listener, and record it."""
        record = self._record(request)
        try:
            response = await self._respond(request, record)
        except (asyncio.CancelledError, ConnectionError):
            record.end_with("abandoned")
            self.abandoned += 1
            raise
        else:
            if record.outcome == "pending":
                record.end_with("answered")
                record.respond(response.status)
            if not response.prepared:
                response.headers.extend(self._own_headers())
        finally:
            if record.status is not None:
                self.statuses[record.status] += 1
            self._notifier.notify()
        return response

    def _record(self, request: web.BaseRequest) -> RequestRecord:
        """Count and record a request."""
        access_token = bearer_token(request)
        record = RequestRecord(
            method=request.method,
            raw_path=request.raw_path,
            raw_headers=request.raw_headers,
            access_fingerprint=access_token and fingerprint(access_token),
        )
        self.records.append(record)
        self.requests += 1
        self._notifier.notify()
        return record

    async def _respond(
        self, request: web.BaseRequest, record: RequestRecord
    ) -> web.StreamResponse:
        """Handle a request in the order of rule 2."""
        raw_path = request.raw_path.partition("?")[0]
        path = raw_path.removeprefix(PREFIX)
        if path == raw_path:
            return error_response(404, "not_found")
        if self._incident.is_active:
            await read_body(request, record)
            return plain_unauthorized()
        fault = self.faults.take(path) or NO_FAULT
        if not fault.before_body:
            await read_body(request, record)
        await self._delay(fault, is_checked=False)
        await self.gate.pass_through()
        if fault.kind == "reset_before_head":
            record.end_with("broken")
            reset_connection(request)
            return web.Response()
        response = fault_response(fault, usage=self.usage, clock=self.clock)
        if response is not None:
            return response
        account = authorize(self._registry, request, now=self.clock())
        await self._delay(fault, is_checked=True)
        await self.response_gate.pass_through()
        if isinstance(account, web.Response):
            return account
        return await self._serve(request, record, path, account, fault)

    async def _delay(self, fault: UpstreamFault, *, is_checked: bool) -> None:
        """Apply the delay of the fault, before or after the check of the credential."""
        if fault.judged_first is not is_checked:
            return
        if fault.delay_seconds:
            await self._sleep(fault.delay_seconds)
        if fault.kind == "hang":
            await asyncio.get_running_loop().create_future()

    async def _serve(
        self,
        request: web.BaseRequest,
        record: RequestRecord,
        path: str,
        account: Account,
        fault: UpstreamFault,
    ) -> web.StreamResponse:
        """Respond to an authorized request, depending on its path."""
        headers = self._own_headers()
        if fault.kind == "short_body":
            return await send_short_body(request, record, headers)
        if path == RESPONSES and request.method == "POST":
            headers.extend(self.usage.header_fields(self.clock()))
            return await self.streams.respond(
                request, record, headers=headers, fault=fault
            )
        upgrade = request.headers.get("Upgrade", "").lower()
        if path == RESPONSES and upgrade == "websocket":
            return await self._upgrade(request, record)
        length = path.removeprefix("bytes/")
        if length != path and length.isdecimal():
            return await send_bytes(request, record, int(length), headers)
        return self._resource(record, path, account)

    def _resource(
        self, record: RequestRecord, path: str, account: Account
    ) -> web.Response:
        """Return a JSON response: the echo, a resource for a GET, or a 404."""
        if path == "echo":
            return web.json_response(echo(record))
        body = resource(
            path,
            account,
            usage=self.usage,
            now=self.clock(),
            workspace_backend_origin=self.workspace_backend_origin,
        )
        if body is None or record.method != "GET":
            return error_response(404, "not_found")
        return web.json_response(body, headers={"x-models-etag": "sandbox"})

    async def _upgrade(
        self, request: web.BaseRequest, record: RequestRecord
    ) -> web.StreamResponse:
        """Accept a WebSocket, or respond 426, after which clients use plain HTTP."""
        if self.websocket == "accept":
            return await self.streams.serve_websocket(
                request, record, self._own_headers()
            )
        # RFC 9110 section 15.5.22: the response MUST name the protocols in Upgrade
        headers = {"Upgrade": "websocket", "Connection": "upgrade"}
        return error_response(426, "upgrade_required", headers=headers)

    def _own_headers(self) -> CIMultiDict[str]:
        """Return the fields of every response: the extra ones and the Date."""
        headers = CIMultiDict(self.extra_headers)
        headers.setdefault("Date", self.clock.http_date())
        return headers
