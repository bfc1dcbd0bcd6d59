"""The stand-in upstream: what lies under `/backend-api`, with what can go wrong there.

Answers as chatgpt.com does toward Codex. Rules:

1. Bodies are counted and hashed as they come; no content encoding is looked into, and
   none is too large.
2. Order of a request: counted, body read, faults, delayed and held, judged, answered.
3. A client that leaves ends its request at once; the record says `abandoned`.
"""

import asyncio
import hashlib
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import Literal

from aiohttp import web
from multidict import CIMultiDict

from proxy.sandbox.admission import access_token_of, admit
from proxy.sandbox.faults import FaultQueue, UpstreamFault
from proxy.sandbox.hold import PATIENCE_SECONDS, Bell, Hold
from proxy.sandbox.ledger import Account, Ledger
from proxy.sandbox.records import KEPT_RECORDS, RequestRecord, fingerprint
from proxy.sandbox.replies import chosen_answer, cut_connection, error_response
from proxy.sandbox.resources import accounts_check, models, usage
from proxy.sandbox.streams import Streams, send_bytes, send_short_body

PREFIX = "/backend-api/"
RESPONSES = "codex/responses"
# A name that cannot exist (RFC 6761): a client led there reaches nobody.
NOWHERE = "https://sandbox.invalid"


class Upstream:
    """Owns the records of requests, the faults that are due, the hold and the streams.

    May be changed while it runs: `streams.script`, `websocket`, `extra_headers` (put on
    every answer), `workspace_backend_origin`, and `holds_judged` (requests wait at the
    hold after they were judged rather than before).
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        monotonic_ns: Callable[[], int],
    ) -> None:
        self.streams = Streams(sleep=sleep, monotonic_ns=monotonic_ns)
        self.hold = Hold()
        self.holds_judged = False
        self.websocket: Literal["refuse", "accept"] = "refuse"
        self.extra_headers: CIMultiDict[str] = CIMultiDict()
        self.workspace_backend_origin = NOWHERE
        self.faults: FaultQueue[UpstreamFault] = FaultQueue(
            lambda fault, path: fault.path is None or fault.path == path
        )
        self.records: deque[RequestRecord] = deque(maxlen=KEPT_RECORDS)
        self.requests = 0
        self.statuses: Counter[int] = Counter()
        self.abandoned = 0
        self._ledger = ledger
        self._now = now
        self._sleep = sleep
        self._bell = Bell()

    @property
    def waiting(self) -> int:
        """How many requests stand before the hold."""
        return self.hold.waiting

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
        await self._bell.wait_until(
            lambda: self.requests >= count,
            what=f"{count} requests",
            timeout_seconds=timeout_seconds,
        )

    async def wait_for_waiting(
        self, count: int, *, timeout_seconds: float = PATIENCE_SECONDS
    ) -> None:
        """Return once `count` requests stand before the hold."""
        await self.hold.wait_for_waiting(count, timeout_seconds=timeout_seconds)

    async def wait_for_abandoned(
        self, count: int, *, timeout_seconds: float = PATIENCE_SECONDS
    ) -> None:
        """Return once `count` requests have lost their client."""
        await self._bell.wait_until(
            lambda: self.abandoned >= count,
            what=f"{count} abandoned requests",
            timeout_seconds=timeout_seconds,
        )

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request to the upstream's listener, and record it."""
        record = self._arrived(request)
        try:
            response = await self._answer(request, record)
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
            self._bell.ring()
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
        self._bell.ring()
        return record

    async def _answer(
        self, request: web.BaseRequest, record: RequestRecord
    ) -> web.StreamResponse:
        """Answer in the order of rule 2."""
        raw_path = request.raw_path.partition("?")[0]
        path = raw_path.removeprefix(PREFIX)
        fault = self.faults.take(path)
        if fault is None or not fault.before_body:
            await _read_body(request, record)
        await self._stall(fault, judged=False)
        spoilt = None if fault is None else _spoil(request, record, fault)
        if spoilt is not None:
            return spoilt
        account = admit(self._ledger, request)
        await self._stall(fault, judged=True)
        if isinstance(account, web.Response):
            return account
        if path == raw_path:
            return error_response(404, "not_found")
        return await self._serve(request, record, path, account, fault)

    async def _stall(self, fault: UpstreamFault | None, *, judged: bool) -> None:
        """Wait as the fault and the hold say, before or after the judgement."""
        if fault is not None and fault.judged_first is judged:
            if fault.delay_seconds:
                await self._sleep(fault.delay_seconds)
            if fault.kind == "hang":
                await asyncio.get_running_loop().create_future()
        if self.holds_judged is judged:
            await self.hold.pass_through()

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
            return await self.streams.answer(
                request, record, headers=self.extra_headers, fault=fault
            )
        upgrade = request.headers.get("Upgrade", "").lower()
        if path == RESPONSES and upgrade == "websocket":
            return await self._upgrade(request, record)
        length = path.removeprefix("bytes/")
        if length != path and length.isdecimal():
            return await send_bytes(request, record, int(length), self.extra_headers)
        return (
            _echo(request, record) if path == "echo" else self._resource(path, account)
        )

    def _resource(self, path: str, account: Account) -> web.Response:
        if path == "codex/models":
            return web.json_response(models(), headers={"x-models-etag": "sandbox"})
        if path == "wham/usage":
            return web.json_response(usage(account, self._now()))
        if path == "wham/accounts/check":
            origin = self.workspace_backend_origin
            return web.json_response(accounts_check(account, origin))
        return error_response(404, "not_found")

    async def _upgrade(
        self, request: web.BaseRequest, record: RequestRecord
    ) -> web.StreamResponse:
        """Accept a WebSocket, or answer 426, at which clients turn to plain HTTP."""
        if self.websocket == "accept":
            return await self.streams.converse(request, record, self.extra_headers)
        # RFC 9110 section 15.5.22: the answer MUST name the protocols in Upgrade
        headers = {"Upgrade": "websocket", "Connection": "upgrade"}
        return error_response(426, "upgrade_required", headers=headers)


def _spoil(
    request: web.BaseRequest, record: RequestRecord, fault: UpstreamFault
) -> web.Response | None:
    """Return the answer of a fault that asks for no credential; None if it does."""
    if fault.kind == "answer":
        return chosen_answer(fault, fault.status)
    if fault.kind == "reset_before_head":
        record.outcome = "broken"
        cut_connection(request)
        return web.Response()
    return None


async def _read_body(request: web.BaseRequest, record: RequestRecord) -> None:
    """Take the request body in, keeping its length and hash only."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    digest = hashlib.sha256()
    if request.body_exists:
        async for chunk in request.content.iter_any():
            digest.update(chunk)
            record.body_length += len(chunk)
    record.body_sha256 = digest.hexdigest()


def _echo(request: web.BaseRequest, record: RequestRecord) -> web.Response:
    """Return what arrived, as JSON; header bytes as latin-1."""
    return web.json_response(
        {
            "method": request.method,
            "raw_path": request.raw_path,
            "headers": [
                [name.decode("latin-1"), value.decode("latin-1")]
                for name, value in record.raw_headers
            ],
            "body_length": record.body_length,
            "body_sha256": record.body_sha256,
        }
    )
