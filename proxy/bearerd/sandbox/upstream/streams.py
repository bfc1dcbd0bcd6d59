"""Streamed answers of the stand-in upstream: event streams and WebSocket turns.

Rule: every event leaves in a write of its own, as it comes.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import WSMsgType, web

from bearerd.sandbox.delivery import cut_connection
from bearerd.sandbox.gate import Gate
from bearerd.sandbox.records import RequestRecord
from bearerd.sandbox.upstream.faults import UpstreamFault
from bearerd.sandbox.upstream.response_events import (
    MODEL,
    SENT_AT_NS,
    StreamScript,
    as_stream_event,
    turn_events,
    warm_up_events,
)

TURN_STATE = "x-codex-turn-state"
BYTES_CHUNK = b"0123456789abcdef" * 4096  # 64 KiB


class Streams:
    """Owns the script of the responses, the hold within them and how many are open.

    `hold` is where a stream waits when a test closes it, after `gate_after_events`
    events have gone out; at 0 only the head of the response has.
    """

    def __init__(
        self,
        *,
        sleep: Callable[[float], Awaitable[None]],
        monotonic_ns: Callable[[], int],
    ) -> None:
        self.script = StreamScript()
        self.gate = Gate()
        self.gate_after_events = 0
        self.open = 0
        self._sleep = sleep
        self._monotonic_ns = monotonic_ns

    async def respond(
        self,
        request: web.BaseRequest,
        record: RequestRecord,
        *,
        headers: Mapping[str, str],
        fault: UpstreamFault | None,
    ) -> web.StreamResponse:
        """Stream one turn; a fault may break it off."""
        cut_after = None
        if fault is not None and fault.kind == "reset_mid_stream":
            cut_after = fault.after_events
        response = web.StreamResponse(headers=headers)
        response.content_type = "text/event-stream"
        response.headers["Cache-Control"] = "no-cache"
        response.headers["openai-model"] = MODEL
        response.headers[TURN_STATE] = request.headers.get(TURN_STATE, "sandbox-turn")
        await response.prepare(request)
        record.status = response.status
        self.open += 1
        try:
            script = self.script
            for count, event in enumerate(turn_events(script)):
                if count == cut_after:
                    record.outcome = "broken"
                    cut_connection(request)
                    return response
                if count == self.gate_after_events:
                    await self.gate.pass_through()
                if count and script.interval_seconds:
                    await self._sleep(script.interval_seconds)
                framed = as_stream_event(self._stamped(event, script))
                await response.write(framed)
                record.sent_bytes += len(framed)
        finally:
            self.open -= 1
        await response.write_eof()
        return response

    async def converse(
        self,
        request: web.BaseRequest,
        record: RequestRecord,
        headers: Mapping[str, str],
    ) -> web.StreamResponse:
        """Speak the Responses protocol on a WebSocket until the client leaves."""
        socket = web.WebSocketResponse()
        socket.headers.extend(headers)
        socket.headers[TURN_STATE] = request.headers.get(TURN_STATE, "sandbox-turn")
        await socket.prepare(request)
        record.status = socket.status
        self.open += 1
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await self._take_frame(socket, message.data)
                else:
                    await socket.close(code=1003)  # RFC 6455: data it cannot accept
        finally:
            self.open -= 1
        return socket

    async def _take_frame(self, socket: web.WebSocketResponse, text: str) -> None:
        """Answer one frame: a turn for `response.create`, silence for the rest."""
        try:
            asked = json.loads(text)
            kind = asked.get("type")
        except (ValueError, AttributeError):
            error = {"type": "invalid_request_error", "code": "invalid_json"}
            await socket.send_json({"type": "error", "status": 400, "error": error})
            return
        if kind != "response.create":
            return
        events = warm_up_events()
        script = self.script
        if asked.get("generate") is not False:
            events = turn_events(script)
        for count, event in enumerate(events):
            if count == self.gate_after_events:
                await self.gate.pass_through()
            if count and script.interval_seconds:
                await self._sleep(script.interval_seconds)
            await socket.send_str(self._stamped(event, script).decode())

    def _stamped(self, event: bytes, script: StreamScript) -> bytes:
        if not script.stamped:
            return event
        return event.replace(SENT_AT_NS.encode(), b"%20d" % self._monotonic_ns())


async def send_bytes(
    request: web.BaseRequest,
    record: RequestRecord,
    length: int,
    headers: Mapping[str, str],
) -> web.StreamResponse:
    """Stream `length` bytes as fast as the client takes them."""
    response = web.StreamResponse(headers=headers)
    response.content_type = "application/octet-stream"
    response.content_length = length
    await response.prepare(request)
    record.status = response.status
    while record.sent_bytes < length:
        piece = BYTES_CHUNK[: length - record.sent_bytes]
        await response.write(piece)
        record.sent_bytes += len(piece)
        await asyncio.sleep(0)  # a client on loopback must not starve the others
    await response.write_eof()
    return response


async def send_short_body(
    request: web.BaseRequest, record: RequestRecord, headers: Mapping[str, str]
) -> web.StreamResponse:
    """Promise more bytes than come, and close the connection in order."""
    response = web.StreamResponse(headers=headers)
    response.content_length = 1000
    await response.prepare(request)
    record.status = response.status
    record.outcome = "broken"
    await response.write(b"x" * 100)
    record.sent_bytes = 100
    request.protocol.force_close()
    return response
