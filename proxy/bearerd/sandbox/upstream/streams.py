"""Streamed responses of the stand-in upstream: event streams and WebSocket turns.

Each event is sent in its own write.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping

from aiohttp import WSMsgType, web

from bearerd.sandbox.delivery import reset_connection
from bearerd.sandbox.gate import Gate
from bearerd.sandbox.records import RequestRecord
from bearerd.sandbox.upstream.faults import UpstreamFault
from bearerd.sandbox.upstream.response_events import (
    MODEL,
    SENT_AT_NS,
    StreamScript,
    as_stream_event,
    response_events,
    warm_up_events,
)

TURN_STATE = "x-codex-turn-state"
BYTES_CHUNK = b"0123456789abcdef" * 4096  # 64 KiB


class Streams:
    """Owns the script of the streams, their gate and the number of open streams.

    A test closes `gate` to hold a stream after `gate_after_events` events; with 0, only
    the head of the response has been sent.
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
        fault: UpstreamFault,
    ) -> web.StreamResponse:
        """Stream one turn; a fault may reset the connection in the middle."""
        response = web.StreamResponse(headers=headers)
        response.content_type = "text/event-stream"
        response.headers["Cache-Control"] = "no-cache"
        response.headers["openai-model"] = MODEL
        response.headers[TURN_STATE] = request.headers.get(TURN_STATE, "sandbox-turn")
        await response.prepare(request)
        record.respond(response.status)

        async def send(event: bytes) -> None:
            framed = as_stream_event(event)
            await response.write(framed)
            record.send(len(framed))

        is_cut = fault.kind == "reset_mid_stream"
        self.open += 1
        try:
            is_complete = await self._send_events(
                response_events(self.script),
                send,
                cut_after=fault.after_events if is_cut else None,
            )
        finally:
            self.open -= 1
        if is_complete:
            await response.write_eof()
        else:
            record.end_with("broken")
            reset_connection(request)
        return response

    async def serve_websocket(
        self,
        request: web.BaseRequest,
        record: RequestRecord,
        headers: Mapping[str, str],
    ) -> web.StreamResponse:
        """Serve the Responses protocol on a WebSocket until the client closes it."""
        socket = web.WebSocketResponse()
        socket.headers.extend(headers)
        socket.headers[TURN_STATE] = request.headers.get(TURN_STATE, "sandbox-turn")
        await socket.prepare(request)
        record.respond(socket.status)
        self.open += 1
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await self._handle_frame(socket, message.data)
                else:
                    await socket.close(code=1003)  # RFC 6455: unsupported data
        finally:
            self.open -= 1
        return socket

    async def _handle_frame(self, socket: web.WebSocketResponse, text: str) -> None:
        """Handle one frame: send a turn for `response.create`, ignore other types."""
        try:
            frame = json.loads(text)
            frame_type = frame.get("type")
        except (ValueError, AttributeError):
            error = {"type": "invalid_request_error", "code": "invalid_json"}
            await socket.send_json({"type": "error", "status": 400, "error": error})
            return
        if frame_type != "response.create":
            return

        async def send(event: bytes) -> None:
            await socket.send_str(event.decode())

        is_warm_up = frame.get("generate") is False
        events = warm_up_events() if is_warm_up else response_events(self.script)
        await self._send_events(events, send)

    async def _send_events(
        self,
        events: Iterable[bytes],
        send: Callable[[bytes], Awaitable[None]],
        *,
        cut_after: int | None = None,
    ) -> bool:
        """Send events, with the gate and the intervals between them.

        Return False if the stream was cut after `cut_after` events.
        """
        script = self.script
        for count, event in enumerate(events):
            if count == cut_after:
                return False
            if count == self.gate_after_events:
                await self.gate.pass_through()
            if count and script.interval_seconds:
                await self._sleep(script.interval_seconds)
            await send(self._stamped(event, script))
        return True

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
    """Stream `length` bytes as fast as the client reads them."""
    response = web.StreamResponse(headers=headers)
    response.content_type = "application/octet-stream"
    response.content_length = length
    await response.prepare(request)
    record.respond(response.status)
    while record.sent_bytes < length:
        chunk = BYTES_CHUNK[: length - record.sent_bytes]
        await response.write(chunk)
        record.send(len(chunk))
        await asyncio.sleep(0)  # a fast client on loopback must not block the loop
    await response.write_eof()
    return response


async def send_short_body(
    request: web.BaseRequest, record: RequestRecord, headers: Mapping[str, str]
) -> web.StreamResponse:
    """Send fewer bytes than Content-Length, and close the connection (FIN)."""
    response = web.StreamResponse(headers=headers)
    response.content_length = 1000
    await response.prepare(request)
    record.respond(response.status)
    record.end_with("broken")
    await response.write(b"x" * 100)
    record.send(100)
    request.protocol.force_close()
    return response
