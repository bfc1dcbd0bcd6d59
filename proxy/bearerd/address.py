"""The address of a listener: a frozen value with one spelling. Opens no socket.

No name is looked up: a name other than `localhost` is an error.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ALLOWED = "127.0.0.1:PORT, [::1]:PORT, localhost:PORT or unix:/path"
"""What an address may be, for an error message. Port 0 is any free port."""

UNIX_PATH_LIMIT_BYTES = 103
"""`sun_path` holds 108 bytes on Linux and 104 on macOS, its NUL included."""

LARGEST_PORT = 65535

_TCP = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^\[\]:\s]+)):(?P<port>[0-9]{1,5})"
)


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP host and port, or the path of a unix socket."""

    kind: Literal["tcp", "unix"]
    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def is_loopback(self) -> bool:
        """Return True if only this machine can reach it; a unix socket is one of these."""
        return self.kind == "unix" or is_loopback_host(self.host)

    @property
    def base_url(self) -> str | None:
        """Return the URL of a TCP address, without a path; None for a unix socket.

        For a wildcard address it is the URL by which this machine reaches it.
        """
        if self.kind == "unix":
            return None
        names = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104  # compared, not bound
        host = names.get(self.host, f"[{self.host}]" if ":" in self.host else self.host)
        return f"http://{host}:{self.port}"

    def __str__(self) -> str:
        if self.kind == "unix":
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def is_loopback_host(host: str) -> bool:
    """Return True for `localhost` and for loopback addresses; IPv6 without brackets."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse_address(text: str) -> Address:
    """Return the address that *text* spells.

    Raises:
        ValueError: *text* is no address; the message says what is allowed.
    """
    if text.startswith("unix:"):
        return _unix(text.removeprefix("unix:"))
    match = _TCP.fullmatch(text)
    if match is None:
        raise ValueError(ALLOWED)
    port = int(match["port"])
    if port > LARGEST_PORT:
        message = f"a port from 0 to {LARGEST_PORT}"
        raise ValueError(message)
    return Address("tcp", host=_host(match["v6"], match["host"]), port=port)


def _unix(text: str) -> Address:
    path = Path(text).expanduser()
    if not path.is_absolute() or "\0" in text:
        message = "an absolute path after unix:"
        raise ValueError(message)
    if len(str(path).encode()) > UNIX_PATH_LIMIT_BYTES:
        message = f"a socket path of at most {UNIX_PATH_LIMIT_BYTES} bytes"
        raise ValueError(message)
    return Address("unix", path=str(path))


def _host(v6: str | None, host: str | None) -> str:
    try:
        if v6 is not None:
            return str(ipaddress.IPv6Address(v6))
        if host is not None and host.lower() == "localhost":
            return "localhost"
        return str(ipaddress.IPv4Address(host or ""))
    except ValueError:
        raise ValueError(ALLOWED) from None
