"""The client before all proxies: sends a case's bytes, and sees what comes back.

Whether a connection was kept is asked of it: a probe follows the response over it.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing, suppress
from dataclasses import dataclass, replace

from tests.differential.case import Case, request
from tests.differential.message import Message, take
from tests.differential.upstream import PROBE_MARK, PROBE_TARGET

SILENCE_SECONDS = 2.0
"""How long no byte may come until a proxy counts as waiting for more of the request."""

PROBE = request(target=PROBE_TARGET)

BEYOND = 8
"""More answers than any case can bring about."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a client saw. `after` is "kept", "closed" or "waiting"."""

    interims: tuple[int, ...]
    responses: tuple[Message, ...]
    after: str


class Talk:
    """One client connection. Owns what has come in and was not taken for a response.

    It works on a bare socket, because an asyncio transport closes itself after a failed
    write: a proxy that refuses a long request without reading all of it would then seem
    to have sent no response, or one, depending on which event came first.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._loop = asyncio.get_running_loop()
        self._data = b""
        self._is_over = False
        self._was_reset = False
        self._is_silent = False
        self.interims: list[int] = []

    async def send(self, data: bytes) -> None:
        """Send *data*. An error is no concern here: what was answered is still read."""
        with suppress(ConnectionError):
            await asyncio.wait_for(
                self._loop.sock_sendall(self._socket, data), SILENCE_SECONDS
            )

    async def response(self, *, is_head: bool) -> Message | None:
        """Return the next final response, whole or not; None if nothing comes."""
        while True:
            message = self._next(is_head=is_head)
            if message is None or self._is_unfinished(message):
                if await self._more():
                    continue
                self._data = b""
                return message
            self._data = self._data[len(message.raw) :]
            if message.framing == "closed" and self._was_reset:
                # What the connection's end ends has not ended by a reset.
                message = replace(message, is_whole=False)
            code = status(message)
            if not 100 <= code < 200 or code == 101:
                return message
            self.interims.append(code)

    def went_silent(self) -> bool:
        """Say whether a wait for bytes has ended without any."""
        return self._is_silent

    def close(self) -> None:
        """Go away."""
        self._socket.close()

    def _next(self, *, is_head: bool) -> Message | None:
        if not self._data:
            return None
        if not self._data.startswith(b"HTTP/"[: len(self._data)]):
            return Message(b"", (), "no head", self._data, b"", True, self._data)
        code = _status(self._data)
        has_body = not (is_head or 100 <= code < 200 or code in (204, 304))
        return take(
            self._data,
            may_have_body=has_body or code == 101,
            ends_with_connection=True,
        )

    def _is_unfinished(self, message: Message) -> bool:
        """Say whether more may belong to it."""
        needs_end = message.framing in ("closed", "no head")
        return not self._is_over and (needs_end or not message.is_whole)

    async def _more(self) -> bool:
        """Read on; say whether that may change anything."""
        if self._is_over or self._is_silent:
            return False
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                data = await self._loop.sock_recv(self._socket, 1 << 16)
        except TimeoutError:
            self._is_silent = True
            return False
        except ConnectionError:
            data, self._was_reset = b"", True
        self._data += data
        self._is_over = not data
        return True


async def see(path: str | int, case: Case) -> Seen:
    """Send *case* to the proxy at a Unix socket's path, or at a loopback port."""
    address: tuple[str, int] | str
    if isinstance(path, int):
        sock, address = socket.socket(socket.AF_INET), ("127.0.0.1", path)
    else:
        sock, address = socket.socket(socket.AF_UNIX), path
    sock.setblocking(False)
    with closing(Talk(sock)) as talk:
        await asyncio.get_running_loop().sock_connect(sock, address)
        return await _see(talk, case)


async def _see(talk: Talk, case: Case) -> Seen:
    await talk.send(case.request)
    responses: list[Message] = []
    first = await talk.response(is_head=case.request.startswith(b"HEAD "))
    after = "closed"
    if first is not None:
        responses.append(first)
    if talk.went_silent():
        after = "waiting"
    elif first is not None and first.is_whole and first.framing != "closed":
        await talk.send(PROBE)
        while len(responses) < BEYOND:
            following = await talk.response(is_head=False)
            if following is None:
                after = "waiting" if talk.went_silent() else "closed"
                break
            if following.values(PROBE_MARK):
                after = "kept"
                break
            responses.append(following)
    return Seen(tuple(talk.interims), tuple(responses), after)


def status(message: Message) -> int:
    """Return a response's code; 0 if it has none."""
    return _status(message.start)


def _status(data: bytes) -> int:
    code = data.partition(b" ")[2][:3]
    return int(code) if len(code) == 3 and code.isdigit() else 0
