"""Who may ask on the admin listener: a decision about a request's head. No I/O.

It has no password, so a page in somebody's browser must not reach it. A page cannot
choose the Host of its requests, nor leave out the Origin where it may read the response:
judging these two stops DNS rebinding and foreign pages. There are no CORS headers.
"""

from __future__ import annotations

from collections.abc import Collection

from bearerd.address import is_loopback_host
from bearerd.errors import HostForbidden, MethodNotAllowed, OriginForbidden

METHODS = ("GET", "HEAD")


def judge(
    *,
    method: str,
    host: str,
    origin: str | None,
    is_loopback: bool,
    allowed_hosts: Collection[str],
) -> None:
    """Let the request pass, or raise.

    *is_loopback* says whether it came in where only this machine can; elsewhere any
    Host may be right.

    Raises:
        MethodNotAllowed, HostForbidden, OriginForbidden: with the remedy.
    """
    if method not in METHODS:
        raise MethodNotAllowed(f"{method}: the admin listener knows GET and HEAD only")
    if is_loopback and not _is_ours(host, allowed_hosts):
        raise HostForbidden(
            f"Host {host!r} is not a name of this machine; use http://127.0.0.1, or "
            "add the name to `allowed_hosts`"
        )
    if origin is not None and origin.lower().partition("://")[2] != host.lower():
        raise OriginForbidden(
            f"Origin {origin!r} is another site's; open this page itself"
        )


def _is_ours(host: str, allowed_hosts: Collection[str]) -> bool:
    name = _without_port(host.lower())
    return name in allowed_hosts or is_loopback_host(name.strip("[]"))


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]
