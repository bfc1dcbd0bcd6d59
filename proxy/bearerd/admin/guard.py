"""Who may ask on the admin listener: a decision about a request's head. No I/O.

It has no password, so a page in somebody's browser must not reach it. A page cannot
choose the Host of its requests, nor leave out the Origin where it may read the response:
judging these two stops DNS rebinding and foreign pages. There are no CORS headers.
"""

from __future__ import annotations

from bearerd.errors import HostForbidden, MethodNotAllowed, OriginForbidden
from bearerd.host_rule import HostRule, HostVerdict

METHODS = ("GET", "HEAD")


def judge(
    *,
    method: str,
    host: str,
    origin: str | None,
    is_loopback: bool,
    hosts: HostRule,
) -> None:
    """Let the request pass, or raise.

    *is_loopback* says whether it came in where only this machine can; elsewhere any
    Host may be right.

    Raises:
        MethodNotAllowed, HostForbidden, OriginForbidden: with the remedy.
    """
    if method not in METHODS:
        raise MethodNotAllowed(f"{method}: the admin listener knows GET and HEAD only")
    name = host.encode("utf-8", "surrogateescape")
    if is_loopback and hosts.check(name) is not HostVerdict.ALLOWED:
        raise HostForbidden(
            f"Host {host!r} is not a name of this machine; use http://127.0.0.1, or "
            "add the name to `allowed_hosts`"
        )
    if origin is not None and origin.lower().partition("://")[2] != host.lower():
        raise OriginForbidden(
            f"Origin {origin!r} is another site's; open this page itself"
        )
