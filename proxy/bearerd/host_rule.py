"""Which names a listener answers to, by the Host field (RFC 9110 section 7.2). Pure.

A web page can have its own name resolve to 127.0.0.1 (DNS rebinding), and cannot choose
the Host of its requests. So a listener that only this machine reaches answers to the
names of this machine, and to those in `allowed_hosts`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from bearerd.address import is_loopback_host

LOOPBACK_NAMES = frozenset({b"localhost", b"127.0.0.1", b"[::1]"})

_HOST = re.compile(rb"([A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?")
"""RFC 3986 section 3.2.2, without what no agent sends: user information, %-encoding."""


class HostVerdict(Enum):
    """What a Host field is to a listener."""

    ALLOWED = "allowed"
    FORBIDDEN = "forbidden"  # a host, and not one of the listener's names
    MALFORMED = "malformed"  # no host


@dataclass(frozen=True, slots=True)
class HostRule:
    """The names that a listener answers to.

    `names` are in lower case, IPv6 addresses in brackets; None stands for every name.
    With `any_loopback_address` all of 127.0.0.0/8 is allowed too.
    """

    names: frozenset[bytes] | None
    any_loopback_address: bool = False

    def check(self, host: bytes) -> HostVerdict:
        """Return the verdict on *host*, the value of a Host field or an authority.

        Case, the port and one dot at the end do not count.
        """
        match = _HOST.fullmatch(host)
        if match is None:
            return HostVerdict.MALFORMED
        if self.names is None:
            return HostVerdict.ALLOWED
        name = match[1].lower().removesuffix(b".")
        is_allowed = name in self.names or (
            self.any_loopback_address
            and is_loopback_host(name.strip(b"[]").decode("ascii"))
        )
        return HostVerdict.ALLOWED if is_allowed else HostVerdict.FORBIDDEN


ANY_HOST = HostRule(names=None)
"""The rule of a listener whose names are not known here."""


def loopback_rule(
    allowed_hosts: Iterable[str], *, any_loopback_address: bool = False
) -> HostRule:
    """Return the rule that allows loopback's names and *allowed_hosts*."""
    named = frozenset(host.lower().encode() for host in allowed_hosts)
    return HostRule(LOOPBACK_NAMES | named, any_loopback_address)
