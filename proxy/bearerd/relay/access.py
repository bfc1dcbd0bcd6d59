"""Which clients may pass. Judged on the client's own bytes, before anything is signed.

The order: is it well-formed, is it for us (Host), is it from a web page (Origin), who is
it (key). A request that fails costs no look at a credential.
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
"""CONNECT would make us a tunnel to anywhere; the other two echo our bearer back (RFC
9110 section 9.3.8)."""

PSEUDONYM = b"bearerd"
"""What we are called in Via."""


class KeyLookup(Protocol):
    """Who holds which key."""

    def find(self, key: bytes) -> Client | None:
        """Return whose *key* this is, compared in constant time."""


@dataclass(frozen=True, slots=True)
class ListenerRules:
    """What one listener asks of its clients."""

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
    """Return the policy of a listener: on loopback only loopback's names are good.

    A page on the web can have its own name resolve to 127.0.0.1; the Host tells.
    """
    hosts = loopback_rule(allowed_hosts)
    if is_unix or not (is_loopback or allowed_hosts):
        hosts = ANY_HOST
    origins = frozenset(origin.lower().encode() for origin in allowed_origins)
    return ListenerRules(require_key=require_key, hosts=hosts, origins=origins)


class AccessPolicy:
    """Judges requests by the policy of the listener that they came in by."""

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
        """Return who sent the request.

        *authority* is what an absolute target names; Host does not count then (RFC 9112
        section 3.2.2).

        Raises:
            RequestMalformed, MethodNotAllowed, HostForbidden, OriginForbidden,
            ClientKeyRequired, ClientKeyInvalid: it may not pass.
        """
        if method in REFUSED_METHODS:
            message = f"{method} is not served here"
            raise MethodNotAllowed(message)
        key = host = None
        for name, value in fields:
            match name.lower():
                case b"host":
                    host = value
                case b"authorization":
                    key = key or _bearer(value)
                case b"x-bearerd-key":
                    key = value
                case b"via":
                    check_loop(value)
                case b"origin" | b"sec-fetch-site":
                    check_origin(rules, name.lower(), value)
                case _:
                    pass
        check_host(rules, host if authority is None else authority)
        return self._client(rules, key)

    def _client(self, rules: ListenerRules, key: bytes | None) -> Client:
        client = self._keys.find(key) if key else None
        if client is not None:
            return client
        if not rules.require_key:
            return self._anonymous
        if key:
            message = (
                "this client key is not known here; make one with `bearerd key create "
                "NAME` and set it as the client's API key"
            )
            raise ClientKeyInvalid(message)
        message = (
            "a client key is needed, as `Authorization: Bearer KEY` or `x-bearerd-key: "
            "KEY`; `bearerd serve` says where the first one is"
        )
        raise ClientKeyRequired(message)


def check_host(rules: ListenerRules, host: bytes | None) -> None:
    """Raise if *host* is not one that this listener answers to."""
    if host is None:
        return  # HTTP/1.0; the server refuses a 1.1 request without one
    verdict = rules.hosts.check(host)
    if verdict is HostVerdict.MALFORMED:
        message = "the Host field is no host"
        raise RequestMalformed(message)
    if verdict is HostVerdict.FORBIDDEN:
        message = (
            "this Host is not one of ours; use localhost, 127.0.0.1 or [::1], or name "
            "it in `allowed_hosts`"
        )
        raise HostForbidden(message)


def check_loop(via: bytes) -> None:
    """Raise if the request has been through bearerd before (RFC 9110 section 7.6.3)."""
    for hop in via.lower().split(b","):
        if hop.split()[1:2] == [PSEUDONYM]:
            message = "this request has been through bearerd before; `upstream_url` leads back here"
            raise LoopDetected(message)


def check_origin(rules: ListenerRules, name: bytes, value: bytes) -> None:
    """Raise if a web page sent the request and is not on the list.

    Programs send neither field. A browser that sends no Origin (an image, say) still
    tells in Sec-Fetch-Site where the request came from.
    """
    if name == b"origin":
        is_good = value.lower() in rules.origins
    else:
        is_good = value in (b"none", b"same-origin") or bool(rules.origins)
    if not is_good:
        message = (
            "requests from web pages are not served; name the page's origin in "
            "`allowed_origins`"
        )
        raise OriginForbidden(message)


def _bearer(value: bytes) -> bytes | None:
    """Return the token of a Bearer credential (RFC 6750 section 2.1), or None."""
    scheme, _, token = value.partition(b" ")
    return token.strip() or None if scheme.lower() == b"bearer" else None
