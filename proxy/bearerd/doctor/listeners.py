"""The daemon and its ports: does it run, is it this version, and who has its places?"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, TypeAlias

from bearerd.address import Address
from bearerd.doctor.findings import Finding, Verdict, failed, ok, warning

Ask: TypeAlias = Callable[[Sequence[Address], str], Mapping[str, Any] | None]
"""Asks a daemon's admin listener for a path; None if no daemon answers."""


def check_listeners(
    listen: Sequence[Address], admin: Sequence[Address], version: str, ask: Ask
) -> Iterator[Finding]:
    """Ask the daemon, and try the addresses that it does not have.

    *version* is that of this program.
    """
    status = ask(admin, "/api/status")
    ours = _ours(status)
    yield _daemon(status, version, is_askable=bool(admin))
    for address in (*listen, *admin):
        if str(address) in ours:
            yield ok("listener", f"{address} is the daemon's")
        elif address.kind == "unix" or address.port:
            yield _try(address, "failed" if admin else "warning")


def _ours(status: Mapping[str, Any] | None) -> frozenset[str]:
    if status is None:
        return frozenset()
    return frozenset((*status.get("relay", ()), *status.get("admin", ())))


def _daemon(
    status: Mapping[str, Any] | None, version: str, *, is_askable: bool
) -> Finding:
    if not is_askable:
        return Finding(
            "daemon", "skipped", "admin_listen is off, so it cannot be asked"
        )
    if status is None:
        return warning(
            "daemon", "it does not run here, or with other settings", "bearerd serve"
        )
    if status.get("version") != version:
        return warning(
            "daemon",
            f"version {status.get('version')} runs, and this is {version}",
            "restart it",
        )
    return ok("daemon", f"version {version} runs")


def _try(address: Address, verdict_if_taken: Verdict) -> Finding:
    """Bind to *address*, and let go at once."""
    if address.kind == "unix":
        return _try_unix(address, verdict_if_taken)
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        # As servers do: a connection that ended a moment ago is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return _taken(address, verdict_if_taken)
            return failed(
                "listener",
                f"{address} cannot be had: {error.strerror}",
                "set `listen` and `admin_listen` to addresses of this machine, with "
                "ports above 1023",
            )
    return ok("listener", f"{address} is free")


def _try_unix(address: Address, verdict_if_taken: Verdict) -> Finding:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        try:
            probe.connect(address.path)
        except OSError:
            return ok("listener", f"{address} is free")
    return _taken(address, verdict_if_taken)


def _taken(address: Address, verdict: Verdict) -> Finding:
    whose = "another program has" if verdict == "failed" else "somebody has"
    return Finding(
        "listener",
        verdict,
        f"{whose} {address}",
        "end that program, or choose another address with `listen` or `admin_listen`",
    )
