"""The Host field against the names of a listener."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bearerd.host_rule import (
    ANY_HOST,
    LOOPBACK_NAMES,
    HostRule,
    HostVerdict,
    loopback_rule,
)

ALLOWED, FORBIDDEN = HostVerdict.ALLOWED, HostVerdict.FORBIDDEN

LOOPBACK = loopback_rule(())
WIDE = loopback_rule((), any_loopback_address=True)
NAMED = loopback_rule(("Agents.Example",))


@pytest.mark.parametrize(
    ("rule", "host", "verdict"),
    [
        (LOOPBACK, b"localhost", ALLOWED),
        (LOOPBACK, b"LocalHost:8787", ALLOWED),
        (LOOPBACK, b"localhost.", ALLOWED),
        (LOOPBACK, b"localhost..", FORBIDDEN),
        (LOOPBACK, b"127.0.0.1:1", ALLOWED),
        (LOOPBACK, b"[::1]:8787", ALLOWED),
        (LOOPBACK, b"127.0.0.2", FORBIDDEN),
        (LOOPBACK, b"[::2]", FORBIDDEN),
        (LOOPBACK, b"localhost.evil.example", FORBIDDEN),
        (WIDE, b"127.0.0.2:8788", ALLOWED),
        (WIDE, b"[::1]", ALLOWED),
        (WIDE, b"192.0.2.1", FORBIDDEN),
        (WIDE, b"127.0.0.1.evil.example", FORBIDDEN),
        (NAMED, b"agents.example:443", ALLOWED),
        (NAMED, b"AGENTS.example", ALLOWED),
        (NAMED, b"localhost", ALLOWED),
        (NAMED, b"evil.example", FORBIDDEN),
        (ANY_HOST, b"evil.example", ALLOWED),
        (ANY_HOST, b"[2001:db8::1]:80", ALLOWED),
    ],
)
def test_each_rule_allows_its_names_and_no_other(
    rule: HostRule, host: bytes, verdict: HostVerdict
) -> None:
    """In any case, with any port."""
    assert rule.check(host) is verdict


@pytest.mark.parametrize("rule", [LOOPBACK, WIDE, NAMED, ANY_HOST])
@pytest.mark.parametrize(
    "host",
    [
        *(b"", b"a b", b"a,b", b"a/b", b"a%2eb", b"\xff", b"localhost\x00"),
        *(b"localhost\n", b"user@localhost", b"localhost:", b"localhost:x"),
        *(b"localhost:123456", b"[::1", b"::1", b"[]"),
    ],
)
def test_what_is_no_host_is_malformed_to_every_rule(
    rule: HostRule, host: bytes
) -> None:
    """RFC 9112 section 3.2: such a request is answered with 400."""
    assert rule.check(host) is HostVerdict.MALFORMED


@given(st.binary(max_size=30))
def test_no_bytes_pass_that_do_not_begin_with_an_allowed_name(host: bytes) -> None:
    """Whatever stands behind the name."""
    if LOOPBACK.check(host) is ALLOWED:
        assert host.lower().startswith(tuple(LOOPBACK_NAMES))
