"""Where clients come in: addresses, unix sockets, refusals to listen, and draining."""

from __future__ import annotations

import asyncio
import socket
import stat
from pathlib import Path

import pytest

from bearerd.address import Address
from bearerd.clock import Clock
from bearerd.errors import StartError
from bearerd.keys.ring import Client
from bearerd.relay.access import AccessPolicy, ListenerRules
from bearerd.relay.body import ReplayMemory
from bearerd.relay.handler import RelayHandler
from bearerd.relay.listener import Listener
from tests.wire.peers import Peer, status, values

RULES = ListenerRules(require_key=False, hosts=None, origins=frozenset())
ANYWHERE = Address("tcp", host="127.0.0.1", port=0)
NOBODY = Client("anonymous", "default", frozenset({"relay"}))
GET = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"


class NoKeys:
    def find(self, key: bytes) -> Client | None:
        del key
        return None


def listener() -> Listener:
    """Return a listener whose relay knows no profile: every good request is a 404."""
    relay = RelayHandler(
        {},
        AccessPolicy(NoKeys(), NOBODY),
        memory=ReplayMemory(0),
        replay_limit_bytes=0,
        request_limit=10,
        clock=Clock(),
        observe=lambda _event: None,
    )
    return Listener(relay, connection_limit=10)


async def ask(peer: Peer) -> int:
    """Send a request and return the status of its response."""
    await peer.send(GET)
    head, _ = await peer.response()
    return status(head)


async def test_port_0_is_told_as_the_port_that_it_became() -> None:
    """So that nobody has to guess."""
    opened = listener()
    await opened.open([(ANYWHERE, RULES), (ANYWHERE, RULES)])
    first, second = opened.addresses
    assert 0 < first.port != second.port > 0
    for address in opened.addresses:
        peer = await Peer.connect(address.port)
        assert await ask(peer) == 404
        await peer.leave()
    await opened.close(0, None)


async def test_a_unix_socket_is_open_to_its_owner_only_and_goes_with_us(
    tmp_path: Path,
) -> None:
    """Whoever may open it may use the login."""
    path = tmp_path / "b.sock"
    opened = listener()
    await opened.open([(Address("unix", path=str(path)), RULES)])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    peer = Peer(*await asyncio.open_unix_connection(path))
    assert await ask(peer) == 404
    await peer.leave()
    await opened.close(0, None)
    assert not path.exists()


async def test_a_socket_that_a_dead_process_left_is_replaced(tmp_path: Path) -> None:
    """A kill -9 must not keep the next start from listening."""
    path = tmp_path / "b.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    opened = listener()
    await opened.open([(Address("unix", path=str(path)), RULES)])
    await Peer(*await asyncio.open_unix_connection(path)).leave()
    await opened.close(0, None)


async def test_a_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    """It is somebody's."""
    path = tmp_path / "b.sock"
    path.write_text("notes")
    with pytest.raises(StartError, match=str(path)):
        await listener().open([(Address("unix", path=str(path)), RULES)])
    assert path.read_text() == "notes"


async def test_a_unix_socket_that_is_served_is_not_taken_over(tmp_path: Path) -> None:
    """The one who serves it goes on."""
    address = Address("unix", path=str(tmp_path / "b.sock"))
    first = listener()
    await first.open([(address, RULES)])
    with pytest.raises(StartError, match="bearerd status"):
        await listener().open([(address, RULES)])
    peer = Peer(*await asyncio.open_unix_connection(address.path))
    assert await ask(peer) == 404
    await peer.leave()
    await first.close(0, None)


async def test_a_port_that_is_taken_says_what_to_do() -> None:
    """Address, reason, remedy; and the addresses before it are let go."""
    first, second = listener(), listener()
    await first.open([(ANYWHERE, RULES)])
    with pytest.raises(StartError, match="is bearerd running already") as refusal:
        await second.open([(ANYWHERE, RULES), (first.addresses[0], RULES)])
    assert str(first.addresses[0]) in refusal.value.message
    with pytest.raises(ConnectionRefusedError):
        await Peer.connect(second.addresses[0].port)
    await first.close(0, None)


async def test_closing_ends_idle_connections_and_takes_no_new_ones() -> None:
    """Nobody is broken off, so nobody is counted."""
    opened = listener()
    await opened.open([(ANYWHERE, RULES)])
    port = opened.addresses[0].port
    idle = await Peer.connect(port)
    assert await ask(idle) == 404
    assert await opened.close(5, None) == 0
    assert await idle.gone() == b""
    await idle.leave()
    with pytest.raises(ConnectionRefusedError):
        await Peer.connect(port)


async def test_a_response_of_ours_keeps_the_connection_unless_the_client_closes() -> (
    None
):
    """A refusal is a response like any other."""
    opened = listener()
    await opened.open([(ANYWHERE, RULES)])
    peer = await Peer.connect(opened.addresses[0].port)
    assert await ask(peer) == 404
    await peer.send(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    head, _ = await peer.response()
    assert values(head, b"connection") == [b"close"]
    assert await peer.rest() == b""
    await peer.leave()
    await opened.close(0, None)
