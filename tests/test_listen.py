"""Opening a listener: ports, unix sockets, and the errors that name the remedy."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
import sys
from pathlib import Path
from typing import cast

import pytest

from bearerd.address import Address
from bearerd.errors import StartError
from bearerd.listen import OpenListener, open_listener

PATIENCE_SECONDS = 5.0
"""How long a test waits for a greeting that is sent at once; then it fails."""

ANY_PORT = Address("tcp", host="127.0.0.1", port=0)
GREETING = b"hello"


class Greeter(asyncio.Protocol):
    """A server that greets each client and closes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        greeted = cast("asyncio.WriteTransport", transport)
        greeted.write(GREETING)
        greeted.close()


async def opened(address: Address) -> OpenListener:
    """Open *address* for greeters."""
    return await open_listener(address, Greeter, setting="listen")


async def greeting(address: Address) -> bytes:
    """Return what a client of *address* reads until the end."""
    if address.kind == "unix":
        reader, writer = await asyncio.open_unix_connection(address.path)
    else:
        reader, writer = await asyncio.open_connection(address.host, address.port)
    async with asyncio.timeout(PATIENCE_SECONDS):
        received = await reader.read()
        writer.close()
        await writer.wait_closed()
    return received


def file_of(address: Address) -> Path:
    """Return the file of a unix socket."""
    return Path(address.path)


@pytest.fixture
def unix(tmp_path: Path) -> Address:
    """The address of a unix socket that does not exist yet."""
    return Address("unix", path=str(tmp_path / "b.sock"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_port_0_becomes_the_port_that_the_system_chose(host: str) -> None:
    """Two listeners get two ports, and each is reached at its own."""
    address = Address("tcp", host=host, port=0)
    first, second = await opened(address), await opened(address)
    assert 0 < first.address.port != second.address.port > 0
    for listener in (first, second):
        assert await greeting(listener.address) == GREETING
        assert str(listener.address) == f"{host}:{listener.address.port}"
        listener.close()


async def test_a_closed_port_accepts_no_connection() -> None:
    """The system refuses it."""
    listener = await opened(ANY_PORT)
    listener.close()
    with pytest.raises(ConnectionRefusedError):
        await greeting(listener.address)


async def test_a_unix_socket_is_open_to_its_owner_only(unix: Address) -> None:
    """Whatever the umask is; the file is removed at the end."""
    listener = await opened(unix)
    assert stat.S_IMODE(file_of(unix).stat().st_mode) == 0o600
    assert await greeting(unix) == GREETING
    listener.close()
    assert not file_of(unix).exists()


async def test_a_unix_socket_of_a_killed_process_is_replaced(unix: Address) -> None:
    """A kill -9 does not keep the next start from listening."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(unix.path)
    listener = await opened(unix)
    assert await greeting(unix) == GREETING
    listener.close()


async def test_a_unix_socket_in_use_is_not_taken_over(unix: Address) -> None:
    """The process that serves it goes on."""
    first = await opened(unix)
    with pytest.raises(StartError, match=r"already in use; .*bearerd status"):
        await opened(unix)
    assert await greeting(unix) == GREETING
    first.close()


@pytest.mark.skipif(
    sys.platform != "linux",
    reason="elsewhere a full backlog refuses like a dead socket",
)
async def test_a_unix_socket_whose_backlog_is_full_is_in_use(unix: Address) -> None:
    """A process that accepts nothing for a moment still listens; nothing waits for it."""
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as queued:
        busy.bind(unix.path)
        busy.listen(0)
        queued.connect(unix.path)
        with pytest.raises(StartError, match="already in use"):
            await opened(unix)
    assert file_of(unix).exists()


async def test_closing_twice_leaves_the_next_process_s_socket(unix: Address) -> None:
    """The path is another's after the first close."""
    first = await opened(unix)
    first.close()
    second = await opened(unix)
    first.close()
    assert await greeting(unix) == GREETING
    second.close()


async def test_a_file_that_is_no_socket_is_left_alone(unix: Address) -> None:
    """The error names it."""
    file_of(unix).write_text("notes")
    with pytest.raises(StartError, match=rf"{unix}: file exists; choose another"):
        await opened(unix)
    assert file_of(unix).read_text() == "notes"


async def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    """It is not created."""
    address = Address("unix", path=str(tmp_path / "none" / "b.sock"))
    with pytest.raises(StartError, match=r"b\.sock: no such file or directory"):
        await opened(address)


async def test_a_port_in_use_names_address_reason_and_remedy() -> None:
    """Of the setting that the address comes from."""
    first = await opened(ANY_PORT)
    with pytest.raises(StartError) as refusal:
        await open_listener(first.address, Greeter, setting="admin_listen")
    assert refusal.value.message == (
        f"cannot listen on {first.address}: address already in use; is bearerd running "
        "already (`bearerd status`)? Otherwise choose another address with `admin_listen`"
    )
    first.close()


async def test_an_address_of_another_machine_is_refused() -> None:
    """No running bearerd is suspected there."""
    elsewhere = Address("tcp", host="192.0.2.1", port=0)
    with pytest.raises(StartError) as refusal:
        await opened(elsewhere)
    reason = os.strerror(errno.EADDRNOTAVAIL).lower()
    assert refusal.value.message == (
        f"cannot listen on 192.0.2.1:0: {reason}; choose another address with `listen`"
    )
