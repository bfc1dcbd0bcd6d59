"""Opening a listening socket on an address of the settings: TCP or unix.

The cases, with the same numbers in the code:

1. TCP. Port 0 becomes the port that the system chose. `localhost` stands for an address
   of each family that the machine has, and all of them are opened.
2. A unix socket whose path is free. It gets its mode between bind and listen, so that
   there is no moment in which another user can connect.
3. A unix socket that a killed process left behind: nothing accepts on it, so the file is
   removed and case 2 follows.
4. A path where a process listens, or a file that is no socket: neither is touched.

Every failure is a `StartError` that names the address, the reason and the remedy.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from bearerd.address import Address
from bearerd.errors import StartError

BACKLOG = 1024
"""Connections that wait to be accepted. Agents start in swarms; the kernel's own limit
(`net.core.somaxconn`) applies where it is lower."""

UNIX_MODE = 0o600
"""Only the owner may connect: where no key is required, a connection is enough to use
the login."""

ProtocolFactory: TypeAlias = Callable[[], asyncio.BaseProtocol]


@dataclass(frozen=True, slots=True)
class OpenListener:
    """A server that accepts connections on `address`, which has its real port."""

    address: Address
    _server: asyncio.Server

    def close(self) -> None:
        """Accept no more connections, and remove a unix socket's file.

        A second call does nothing: by then the path may be another process's.
        """
        if not self._server.is_serving():
            return
        self._server.close()
        if self.address.kind == "unix":
            Path(self.address.path).unlink(missing_ok=True)


async def open_listener(
    address: Address, factory: ProtocolFactory, *, setting: str
) -> OpenListener:
    """Listen on *address* and return the listener; *factory* makes each connection.

    *setting* is the name of the setting that the address comes from, for the remedy.

    Raises:
        StartError: the address cannot be used.
    """
    loop = asyncio.get_running_loop()
    try:
        if address.kind == "unix":
            bound = _bind_unix(Path(address.path))
            server = await loop.create_unix_server(factory, sock=bound, backlog=BACKLOG)
            return OpenListener(address, server)
        # Case 1.
        server = await loop.create_server(
            factory, address.host, address.port, backlog=BACKLOG
        )
    except OSError as error:
        raise _start_error(address, setting, error) from error
    port = server.sockets[0].getsockname()[1]
    return OpenListener(Address("tcp", host=address.host, port=port), server)


def _bind_unix(path: Path) -> socket.socket:
    """Return a socket that is bound to *path* and does not listen yet.

    Raises:
        OSError: the path is in use, or no socket can be made there.
    """
    _remove_stale_socket(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(str(path))
        path.chmod(UNIX_MODE)  # Case 2.
    except BaseException:
        bound.close()
        raise
    return bound


def _remove_stale_socket(path: Path) -> None:
    """Remove a socket that no process listens on; raise if one does.

    Raises:
        OSError: EADDRINUSE if a process listens, EEXIST if the file is no socket.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):  # Case 4.
        raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:  # Case 3.
            path.unlink()
            return
        except BlockingIOError:
            pass  # its backlog is full, so a process listens
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))  # Case 4.


def _start_error(address: Address, setting: str, error: OSError) -> StartError:
    # asyncio's own text repeats the address. A failed name lookup has a negative number.
    # Since CPython 3.13 asyncio raises an error without a number where no address of the
    # host belongs to this machine (base_events.py, create_server).
    number = errno.EADDRNOTAVAIL if error.errno is None else error.errno
    reason = os.strerror(number) if number > 0 else str(error)
    remedy = f"choose another address with `{setting}`"
    if number == errno.EADDRINUSE:
        remedy = f"is bearerd running already (`bearerd status`)? Otherwise {remedy}"
    return StartError(f"cannot listen on {address}: {reason.lower()}; {remedy}")
