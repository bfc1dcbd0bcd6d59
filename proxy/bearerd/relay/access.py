"""Which requests may pass: judged on the client's own bytes, before any field is removed.

The checks, with the same numbers in the code. A request that fails one of 1 to 3 costs no
look-up of a key, so that a web page cannot try keys.

1. Method: those that tunnel, or echo the request, are never served.
2. Fields, in the client's order: a loop (Via), and a web page (Origin, Sec-Fetch-Site).
3. Host, or the authority of an absolute-form target in its place.
4. Key: the client whose key it is. Where none is required, the anonymous client.

What a listener requires is a value, `ListenerRules`. The checks change nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from bearerd.errors import (
    ClientKeyInvalid,
    ClientKeyRequired,
    HostForbidden,
    LoopDetected,
    MethodNotAllowed,
    OriginForbidden,
    RequestMalformed,
)
from bearerd.host_rule import ANY_HOST, HostRule, HostVerdict, loopback_rule
from bearerd.keys.ring import Client
from bearerd.relay.message import Fields

REFUSED_METHODS = frozenset({"CONNECT", "TRACE", "TRACK"})
"""CONNECT would make the relay a tunnel to any host. TRACE and TRACK (its old name in IIS)
would echo the bearer token to the client (RFC 9110 section 9.3.8)."""

PSEUDONYM = b"bearerd"
"""The name of the relay in Via (RFC 9110 section 7.6.3)."""


class KeyLookup(Protocol):
    """The client keys, as far as access needs them."""

    def find(self, key: bytes) -> Client | None:
        """Return the owner of *key*, or None. The time taken reveals nothing of a key."""


@dataclass(frozen=True, slots=True)
class ListenerRules:
    """What one listener requires of its clients. `origins` are in lower case."""

    require_key: bool
    hosts: HostRule
    origins: frozenset[bytes]


def listener_rules(
    *,
    is_loopback: bool,
    is_unix: bool,
    require_key: bool,
    allowed_hosts: Collection[str],
    allowed_origins: Collection[str],
) -> ListenerRules:
    """Return the rules of a listener.

    On loopback the Host must be a name of this machine or an allowed one. Where other
    machines reach the listener, every Host passes unless some are listed: the key guards
    there, and the names that lead to it are not known. No web page reaches a unix socket.
    """
    hosts = loopback_rule(allowed_hosts)
    if is_unix or not (is_loopback or allowed_hosts):
        hosts = ANY_HOST
    origins = frozenset(origin.lower().encode() for origin in allowed_origins)
    return ListenerRules(require_key=require_key, hosts=hosts, origins=origins)


class AccessPolicy:
    """Authorizes requests by the rules of the listener that they arrive at.

    *anonymous* is the client of a request without a key, where none is required.
    """

    def __init__(self, keys: KeyLookup, anonymous: Client) -> None:
        self._keys = keys
        self._anonymous = anonymous

    def authorize(
        self,
        rules: ListenerRules,
        method: str,
        fields: Fields,
        authority: bytes | None = None,
    ) -> Client:
        """Return the client that sent the request.

        *authority* is that of an absolute-form target; the Host field is ignored then
        (RFC 9112 section 3.2.2).

        Raises:
            RequestMalformed, MethodNotAllowed, LoopDetected, OriginForbidden,
            HostForbidden, ClientKeyRequired, ClientKeyInvalid: the request may not pass.
        """
        if method in REFUSED_METHODS:  # 1
            message = f"{method} is not served here"
            raise MethodNotAllowed(message)
        key = host = None
        for name, value in fields:
            match name.lower():
                case b"host":
                    host = value
                case b"authorization":
                    key = key or _bearer_token(value)
                case b"x-bearerd-key":
                    key = value
                case b"via":  # 2
                    check_loop(value)
                case b"origin" | b"sec-fetch-site":  # 2
                    check_origin(rules, name.lower(), value)
                case _:
                    pass
        check_host(rules, host if authority is None else authority)  # 3
        return self._client(rules, key)  # 4

    def _client(self, rules: ListenerRules, key: bytes | None) -> Client:
        """Return the owner of *key*, or the anonymous client if no key is required.

        Agents always send some key, so an unknown one is no error where none is required.
        """
        client = self._keys.find(key) if key else None
        if client is not None:
            return client
        if not rules.require_key:
            return self._anonymous
        if key:
            message = (
                "this client key is unknown; make one with `bearerd key create NAME` "
                "and set it as the client's API key"
            )
            raise ClientKeyInvalid(message)
        message = (
            "a client key is required, as `Authorization: Bearer KEY` or "
            "`x-bearerd-key: KEY`; `bearerd serve` prints where the first one is"
        )
        raise ClientKeyRequired(message)


def check_host(rules: ListenerRules, host: bytes | None) -> None:
    """Raise unless the listener answers to *host*.

    Raises:
        RequestMalformed: it is no host.
        HostForbidden: it is another server's.
    """
    if host is None:
        return  # HTTP/1.0; the parser refuses a 1.1 request without a Host
    verdict = rules.hosts.check(host)
    if verdict is HostVerdict.MALFORMED:
        message = "the Host field is not a host with an optional port"
        raise RequestMalformed(message)
    if verdict is HostVerdict.FORBIDDEN:
        message = (
            "this listener does not serve this Host; use localhost, 127.0.0.1 or [::1], "
            "or add the name to `allowed_hosts`"
        )
        raise HostForbidden(message)


def check_loop(via: bytes) -> None:
    """Raise if the request has passed through bearerd before.

    RFC 9110 section 7.6.3: a member of Via is a protocol and a host or pseudonym.

    Raises:
        LoopDetected: it has.
    """
    for member in via.lower().split(b","):
        if member.split()[1:2] == [PSEUDONYM]:
            message = (
                "this request has passed through bearerd before; `upstream_url` leads "
                "back to this listener"
            )
            raise LoopDetected(message)


def check_origin(rules: ListenerRules, name: bytes, value: bytes) -> None:
    """Raise if a web page sent the request and its origin is not allowed.

    Programs send neither field. A browser that sends no Origin, such as for an image,
    still sends Sec-Fetch-Site.

    Raises:
        OriginForbidden: the page's origin is not allowed.
    """
    if name == b"origin":
        is_allowed = value.lower() in rules.origins
    else:
        # An allowed page sends `cross-site` here, and its Origin is judged by itself.
        is_allowed = value in (b"none", b"same-origin") or bool(rules.origins)
    if not is_allowed:
        message = (
            "requests from web pages are not served; add the page's origin to "
            "`allowed_origins`"
        )
        raise OriginForbidden(message)


def _bearer_token(value: bytes) -> bytes | None:
    """Return the token of a Bearer credential (RFC 6750 section 2.1), or None."""
    scheme, _, token = value.partition(b" ")
    return token.strip() or None if scheme.lower() == b"bearer" else None
