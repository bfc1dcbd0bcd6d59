"""The stand-in upstream: what lies under `/backend-api`, with what can go wrong there.

Answers as chatgpt.com does toward Codex. Rules:

1. Bodies are counted and hashed as they come; no content encoding is looked into, and
   none is too large.
2. Order of a request: counted, body read, faults, delayed and held, judged, answered.
3. A client that leaves ends its request at once; the record says `abandoned`.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import Literal

from aiohttp import web
from multidict import CIMultiDict

from bearerd.sandbox.authority.grant import Account
from bearerd.sandbox.authority.token_registry import TokenRegistry
from bearerd.sandbox.delivery import cut_connection
from bearerd.sandbox.fault_queue import FaultQueue
from bearerd.sandbox.gate import PATIENCE_SECONDS, Gate, Notifier
from bearerd.sandbox.records import KEPT_RECORDS, RequestRecord, fingerprint
from bearerd.sandbox.request_body import take_body
from bearerd.sandbox.responses import error_response, shaped_response
from bearerd.sandbox.upstream.authorization import access_token_of, admit
from bearerd.sandbox.upstream.faults import UpstreamFault
from bearerd.sandbox.upstream.resources import echo, resource
from bearerd.sandbox.upstream.streams import Streams, send_bytes, send_short_body

PREFIX = "/backend-api/"
RESPONSES = "codex/responses"
# A name that cannot exist (RFC 6761): a client led there reaches nobody.
NOWHERE = "https://sandbox.invalid"


class Upstream:
    """Owns the records of requests, the faults that are due, the hold and the streams.

    May be changed while it runs: `streams.script`, `websocket`, `extra_headers` (put on
    every response), `workspace_backend_origin`, and `gate_follows_authorization` (requests wait at the
    hold after they were judged rather than before).
    """

    def __init__(
        self,
        registry: TokenRegistry,
        *,
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        monotonic_ns: Callable[[], int],
    ) -> None:
        self.streams = Streams(sleep=sleep, monotonic_ns=monotonic_ns)
        self.gate = Gate()
        self.gate_follows_authorization = False
        self.websocket: Literal["refuse", "accept"] = "refuse"
        self.extra_headers: CIMultiDict[str] = CIMultiDict()
        self.workspace_backend_origin = NOWHERE
        self.faults: FaultQueue[UpstreamFault] = FaultQueue()
        self.records: deque[RequestRecord] = deque(maxlen=KEPT_RECORDS)
        self.requests = 0
        self.statuses: Counter[int] = Counter()
        self.abandoned = 0
        self._registry = registry
        self._now = now
        self._sleep = sleep
        self._notifier = Notifier()

    @property
    def waiting(self) -> int:
        """How many requests stand before the hold."""
        return self.gate.waiting

    def fault(self, fault: UpstreamFault, *, times: int | None = None) -> None:
        """Let the next `times` requests go wrong, or all until `clear_faults`."""
        self.faults.add(fault, times=times)

    def clear_faults(self) -> None:
        """Let everything go right from now on."""
        self.faults.clear()

    async def wait_for_requests(
        self, count: int, *, timeout_seconds: float = PATIENCE_SECONDS
    ) -> None:
        """Return once `count` requests have arrived since the start."""
        await self._notifier.wait_for(
            lambda: self.requests >= count,
            description=f"{count} requests",
            timeout_seconds=timeout_seconds,
        )

    async def wait_for_waiting(
        self, count: int, *, timeout_seconds: float = PATIENCE_SECONDS
    ) -> None:
        """Return once `count` requests stand before the hold."""
        await self.gate.wait_for_waiting(count, timeout_seconds=timeout_seconds)

    async def wait_for_abandoned(
        self, count: int, *, timeout_seconds: float = PATIENCE_SECONDS
    ) -> None:
        """Return once `count` requests have lost their client."""
        await self._notifier.wait_for(
            lambda: self.abandoned >= count,
            description=f"{count} abandoned requests",
            timeout_seconds=timeout_seconds,
        )

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request to the upstream's listener, and record it."""
        record = self._arrived(request)
        try:
            response = await self._respond(request, record)
        except (asyncio.CancelledError, ConnectionError):
            record.outcome = "abandoned"
            self.abandoned += 1
            raise
        else:
            if record.outcome == "pending":
                record.outcome = "answered"
                record.status = response.status
            if not response.prepared:
                response.headers.extend(self.extra_headers)
        finally:
            if record.status is not None:
                self.statuses[record.status] += 1
            self._notifier.notify()
        return response

    def _arrived(self, request: web.BaseRequest) -> RequestRecord:
        """Count and record a request."""
        access_token = access_token_of(request)
        record = RequestRecord(
            method=request.method,
            raw_path=request.raw_path,
            raw_headers=request.raw_headers,
            access_fingerprint=None
            if access_token is None
            else fingerprint(access_token),
        )
        self.records.append(record)
        self.requests += 1
        self._notifier.notify()
        return record

    async def _respond(
        self, request: web.BaseRequest, record: RequestRecord
    ) -> web.StreamResponse:
        """Answer in the order of rule 2."""
        raw_path = request.raw_path.partition("?")[0]
        path = raw_path.removeprefix(PREFIX)
        if path == raw_path:
            return error_response(404, "not_found")
        fault = self.faults.take(path)
        if fault is None or not fault.before_body:
            await take_body(request, record)
        await self._stall(fault, judged=False)
        spoilt = None if fault is None else _spoil(request, record, fault)
        if spoilt is not None:
            return spoilt
        account = admit(self._registry, request)
        await self._stall(fault, judged=True)
        if isinstance(account, web.Response):
            return account
        return await self._serve(request, record, path, account, fault)

    async def _stall(self, fault: UpstreamFault | None, *, judged: bool) -> None:
        """Wait as the fault and the hold say, before or after the judgement."""
        if fault is not None and fault.judged_first is judged:
            if fault.delay_seconds:
                await self._sleep(fault.delay_seconds)
            if fault.kind == "hang":
                await asyncio.get_running_loop().create_future()
        if self.gate_follows_authorization is judged:
            await self.gate.pass_through()

    async def _serve(
        self,
        request: web.BaseRequest,
        record: RequestRecord,
        path: str,
        account: Account,
        fault: UpstreamFault | None,
    ) -> web.StreamResponse:
        """Answer a request that may pass, by its path."""
        if fault is not None and fault.kind == "short_body":
            return await send_short_body(request, record, self.extra_headers)
        if path == RESPONSES and request.method == "POST":
            return await self.streams.respond(
                request, record, headers=self.extra_headers, fault=fault
            )
        upgrade = request.headers.get("Upgrade", "").lower()
        if path == RESPONSES and upgrade == "websocket":
            return await self._upgrade(request, record)
        length = path.removeprefix("bytes/")
        if length != path and length.isdecimal():
            return await send_bytes(request, record, int(length), self.extra_headers)
        return self._resource(record, path, account)

    def _resource(
        self, record: RequestRecord, path: str, account: Account
    ) -> web.Response:
        """Answer with JSON: what arrived, what there is to GET, or 404."""
        if path == "echo":
            return web.json_response(echo(record))
        body = resource(path, account, self._now(), self.workspace_backend_origin)
        if body is None or record.method != "GET":
            return error_response(404, "not_found")
        return web.json_response(body, headers={"x-models-etag": "sandbox"})

    async def _upgrade(
        self, request: web.BaseRequest, record: RequestRecord
    ) -> web.StreamResponse:
        """Accept a WebSocket, or answer 426, at which clients turn to plain HTTP."""
        if self.websocket == "accept":
            return await self.streams.converse(request, record, self.extra_headers)
        # RFC 9110 section 15.5.22: the response MUST name the protocols in Upgrade
        headers = {"Upgrade": "websocket", "Connection": "upgrade"}
        return error_response(426, "upgrade_required", headers=headers)


def _spoil(
    request: web.BaseRequest, record: RequestRecord, fault: UpstreamFault
) -> web.Response | None:
    """Return the response of a fault for which no credential counts; else None."""
    if fault.kind == "answer":
        return shaped_response(fault, fault.status)
    if fault.kind == "reset_before_head":
        record.outcome = "broken"
        cut_connection(request)
        return web.Response()
    return None
