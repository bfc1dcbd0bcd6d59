"""Which requests may pass on the admin listener: judged by method, Host and Origin. Pure.

The listener has no key, so a web page in a browser must not reach it. A page
cannot choose the Host of its requests, and cannot leave out the Origin where it may read
the response. So these two stop DNS rebinding and pages of other sites. There are no CORS
fields.
"""

from __future__ import annotations

from bearerd.errors import HostForbidden, MethodNotAllowed, OriginForbidden
from bearerd.host_rule import HostRule, HostVerdict

METHODS = ("GET", "HEAD")


def authorize(
    *,
    method: str,
    host: str,
    origin: str | None,
    is_loopback: bool,
    hosts: HostRule,
) -> None:
    """Raise unless the request may pass.

    *is_loopback* is True if only this machine reaches the listener. On any other one
    every Host passes, because the names that lead to it are not known.

    Raises:
        MethodNotAllowed, HostForbidden, OriginForbidden: it may not pass.
    """
    if method not in METHODS:
        raise MethodNotAllowed(f"{method}: the admin listener serves GET and HEAD only")
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
