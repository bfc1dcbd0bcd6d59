"""The relay's listening addresses: all or none, served, and drained at the end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bearerd.address import Address
from bearerd.clock import Clock
from bearerd.errors import StartError
from bearerd.host_rule import ANY_HOST
from bearerd.keys.ring import Client
from bearerd.relay.access import AccessPolicy, ListenerRules
from bearerd.relay.body import ReplayMemory
from bearerd.relay.handler import RelayHandler
from bearerd.relay.listener import Listener
from tests.wire.peers import Peer, status, values

RULES = ListenerRules(require_key=False, hosts=ANY_HOST, origins=frozenset())
ANY_PORT = Address("tcp", host="127.0.0.1", port=0)
ANONYMOUS = Client("anonymous", "default", frozenset({"relay"}))
GET = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"


class NoKeys:
    """A lookup that knows no key."""

    def find(self, key: bytes) -> Client | None:
        del key
        return None


def listener() -> Listener:
    """Return a listener whose relay has no profile: every allowed request is a 404."""
    handler = RelayHandler(
        {},
        AccessPolicy(NoKeys(), ANONYMOUS),
        memory=ReplayMemory(0),
        replay_limit_bytes=0,
        request_limit=10,
        clock=Clock(),
        observe=lambda _event: None,
    )
    return Listener(handler, connection_limit=10)


async def ask(peer: Peer) -> int:
    """Send a request and return the status of its response."""
    await peer.send(GET)
    head, _ = await peer.response()
    return status(head)


async def test_every_address_is_opened_and_served() -> None:
    """Each has the port that the system chose."""
    opened = listener()
    await opened.open([(ANY_PORT, RULES), (ANY_PORT, RULES)])
    assert len({address.port for address in opened.addresses}) == 2
    for address in opened.addresses:
        peer = await Peer.connect(address.port)
        assert await ask(peer) == 404
        await peer.leave()
    await opened.close(0, None)


async def test_a_unix_socket_is_served_and_removed_at_the_end(tmp_path: Path) -> None:
    """Like a port."""
    path = tmp_path / "b.sock"
    opened = listener()
    await opened.open([(Address("unix", path=str(path)), RULES)])
    peer = Peer(*await asyncio.open_unix_connection(path))
    assert await ask(peer) == 404
    await peer.leave()
    await opened.close(0, None)
    assert not path.exists()


async def test_an_address_in_use_closes_the_addresses_before_it() -> None:
    """The listener opens all of its addresses, or none; the remedy names `listen`."""
    first, second = listener(), listener()
    await first.open([(ANY_PORT, RULES)])
    with pytest.raises(StartError, match="choose another address with `listen`"):
        await second.open([(ANY_PORT, RULES), (first.addresses[0], RULES)])
    with pytest.raises(ConnectionRefusedError):
        await Peer.connect(second.addresses[0].port)
    await first.close(0, None)


async def test_closing_ends_idle_connections_and_accepts_no_new_ones() -> None:
    """No request is aborted, so none is counted."""
    opened = listener()
    await opened.open([(ANY_PORT, RULES)])
    port = opened.addresses[0].port
    idle = await Peer.connect(port)
    assert await ask(idle) == 404
    assert await opened.close(5, None) == 0
    assert await idle.gone() == b""
    await idle.leave()
    with pytest.raises(ConnectionRefusedError):
        await Peer.connect(port)


async def test_an_error_keeps_the_connection_unless_the_client_closes_it() -> None:
    """It is a response like any other."""
    opened = listener()
    await opened.open([(ANY_PORT, RULES)])
    peer = await Peer.connect(opened.addresses[0].port)
    assert await ask(peer) == 404
    await peer.send(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    head, _ = await peer.response()
    assert values(head, b"connection") == [b"close"]
    assert await peer.rest() == b""
    await peer.leave()
    await opened.close(0, None)
