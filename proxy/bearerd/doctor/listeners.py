"""Checks the daemon and its addresses: does it run, in this version, and on its ports?"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, TypeAlias

from bearerd.address import Address
from bearerd.doctor.findings import Finding, Verdict, failed, ok, skipped, warning

GetJson: TypeAlias = Callable[[Sequence[Address], str], Mapping[str, Any] | None]
"""Returns the JSON object at a path of a daemon's admin listener; None without a daemon."""


def check_listeners(
    listen: Sequence[Address],
    admin_listen: Sequence[Address],
    version: str,
    get_json: GetJson,
) -> Iterator[Finding]:
    """Ask the daemon for its status, and bind to the addresses that it does not have.

    *version* is that of this program.
    """
    status = get_json(admin_listen, "/api/status")
    yield _daemon(status, version, has_admin=bool(admin_listen))
    bound = _addresses(status)
    for address in (*listen, *admin_listen):
        if str(address) in bound:
            yield ok("listener", f"the daemon listens on {address}")
        elif address.kind == "unix" or address.port:
            # Without an admin listener, the daemon itself may have the address.
            yield _bind(address, "failed" if admin_listen else "warning")


def _addresses(status: Mapping[str, Any] | None) -> frozenset[str]:
    if status is None:
        return frozenset()
    return frozenset((*status.get("relay", ()), *status.get("admin", ())))


def _daemon(
    status: Mapping[str, Any] | None, version: str, *, has_admin: bool
) -> Finding:
    if not has_admin:
        return skipped("daemon", "admin_listen is none, so a daemon cannot be asked")
    if status is None:
        return warning(
            "daemon",
            "no daemon runs here, or it has other settings",
            "bearerd serve",
        )
    if status.get("version") != version:
        return warning(
            "daemon",
            f"version {status.get('version')} runs, and this is {version}",
            "restart it",
        )
    return ok("daemon", f"version {version} runs")


def _bind(address: Address, verdict_if_used: Verdict) -> Finding:
    """Bind to *address* and release it at once."""
    if address.kind == "unix":
        return _connect_unix(address, verdict_if_used)
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        # As servers do: the remains of an ended connection do not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return _in_use(address, verdict_if_used)
            return failed(
                "listener",
                f"{address} cannot be used: {error.strerror}",
                "set `listen` and `admin_listen` to addresses of this machine, with "
                "ports above 1023",
            )
    return ok("listener", f"{address} is free")


def _connect_unix(address: Address, verdict_if_used: Verdict) -> Finding:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        try:
            probe.connect(address.path)
        except OSError:
            return ok("listener", f"{address} is free")
    return _in_use(address, verdict_if_used)


def _in_use(address: Address, verdict: Verdict) -> Finding:
    program = "another program" if verdict == "failed" else "a program"
    return Finding(
        "listener",
        verdict,
        f"{program} uses {address}",
        "end that program, or choose another address with `listen` or `admin_listen`",
    )
