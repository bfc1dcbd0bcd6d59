"""Who may pass: methods, Host, web pages, keys; and in which order it is asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bearerd.errors import (
    BearerdError,
    ClientKeyInvalid,
    ClientKeyRequired,
    HostForbidden,
    MethodNotAllowed,
    OriginForbidden,
    RequestMalformed,
)
from bearerd.host_rule import ANY_HOST
from bearerd.keys.ring import Client
from bearerd.relay.access import AccessPolicy, ListenerRules, check_host, listener_rules
from bearerd.relay.message import Field

ALICE = Client("alice", "default", frozenset({"relay"}))
NOBODY = Client("anonymous", "default", frozenset({"relay"}))
GOOD = b"alices-made-up-key"


class KeyLookup:
    def __init__(self) -> None:
        self.asked: list[bytes] = []

    def find(self, key: bytes) -> Client | None:
        self.asked.append(key)
        return ALICE if key == GOOD else None


def loopback(
    *,
    require_key: bool = True,
    hosts: tuple[str, ...] = (),
    origins: tuple[str, ...] = (),
) -> ListenerRules:
    """Return the policy of a loopback listener."""
    return listener_rules(
        is_loopback=True,
        is_unix=False,
        require_key=require_key,
        allowed_hosts=hosts,
        allowed_origins=origins,
    )


def judge(asked: ListenerRules, *fields: Field, method: str = "GET") -> Client:
    """Judge a request with these fields."""
    return AccessPolicy(KeyLookup(), NOBODY).authorize(asked, method, fields)


KEY = (b"Authorization", b"Bearer " + GOOD)


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "TRACK"])
def test_methods_that_tunnel_or_echo_are_refused(method: str) -> None:
    """Before anything else is looked at."""
    with pytest.raises(MethodNotAllowed):
        judge(loopback(), KEY, method=method)


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "PROPFIND", "DELETE"])
def test_all_other_methods_are_the_upstream_s_to_judge(method: str) -> None:
    """Which of them a resource has is not known here."""
    assert judge(loopback(), KEY, method=method) is ALICE


@pytest.mark.parametrize(
    "host",
    [
        b"localhost",
        b"LOCALHOST",
        b"localhost.",
        b"localhost:8787",
        b"127.0.0.1",
        b"127.0.0.1:1",
        b"[::1]",
        b"[::1]:8787",
    ],
)
def test_loopback_names_are_good_in_every_spelling(host: bytes) -> None:
    """On a listener that only this machine reaches."""
    assert judge(loopback(), (b"hOST", host), KEY) is ALICE


@pytest.mark.parametrize(
    "host",
    [
        b"evil.example",
        b"localhost.evil.example",
        b"127.0.0.2",
        b"[::2]",
    ],
)
def test_another_host_is_forbidden(host: bytes) -> None:
    """A page had its own name resolve to this machine."""
    with pytest.raises(HostForbidden, match="allowed_hosts"):
        judge(loopback(), (b"Host", host), KEY)


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"a b",
        b"a,b",
        b"u@localhost",
        b"localhost:",
        b"localhost:x",
        b"localhost:123456",
        b"[::1",
        b"::1",
        b"a/b",
        b"a%2eb",
        b"\xff",
        b"localhost\x00",
        b"localhost\n",
    ],
)
def test_a_host_that_is_none_is_malformed(host: bytes) -> None:
    """Even where any Host is good."""
    for hosts in (loopback().hosts, ANY_HOST):
        anywhere = ListenerRules(require_key=True, hosts=hosts, origins=frozenset())
        with pytest.raises(RequestMalformed):
            check_host(anywhere, host)


@pytest.mark.parametrize(
    ("is_loopback", "is_unix", "allowed", "host", "is_good"),
    [
        (True, False, (), b"evil.example", False),
        (True, False, ("Agents.Example",), b"agents.example", True),
        (True, False, ("agents.example",), b"localhost", True),
        (False, False, (), b"anything.example", True),
        (False, False, ("agents.example",), b"anything.example", False),
        (False, False, ("agents.example",), b"AGENTS.example:80", True),
        (False, False, ("agents.example",), b"127.0.0.1", True),
        (True, True, (), b"anything.example", True),
        (True, True, ("agents.example",), b"anything.example", True),
    ],
)
def test_which_hosts_a_listener_answers_to(
    is_loopback: bool,
    is_unix: bool,
    allowed: tuple[str, ...],
    host: bytes,
    is_good: bool,
) -> None:
    """Where others reach it the key guards alone, unless names are listed."""
    asked = listener_rules(
        is_loopback=is_loopback,
        is_unix=is_unix,
        require_key=True,
        allowed_hosts=allowed,
        allowed_origins=(),
    )
    if is_good:
        check_host(asked, host)
    else:
        with pytest.raises(HostForbidden):
            check_host(asked, host)


@pytest.mark.parametrize(
    ("field", "origins", "is_good"),
    [
        ((b"Origin", b"https://evil.example"), (), False),
        ((b"origin", b"null"), (), False),
        ((b"Origin", b""), (), False),
        ((b"Origin", b"https://app.example"), ("https://app.example",), True),
        ((b"Origin", b"HTTPS://APP.example"), ("https://app.example",), True),
        ((b"Origin", b"https://app.example.evil"), ("https://app.example",), False),
        ((b"Origin", b"http://app.example"), ("https://app.example",), False),
        ((b"Sec-Fetch-Site", b"cross-site"), (), False),
        ((b"sec-fetch-site", b"same-site"), (), False),
        ((b"Sec-Fetch-Site", b"none"), (), True),
        ((b"Sec-Fetch-Site", b"same-origin"), (), True),
        ((b"Sec-Fetch-Site", b"cross-site"), ("https://app.example",), True),
    ],
)
def test_web_pages_pass_only_if_they_are_on_the_list(
    field: Field, origins: tuple[str, ...], is_good: bool
) -> None:
    """Programs send neither field."""
    asked = loopback(origins=origins)
    if is_good:
        assert judge(asked, field, KEY) is ALICE
    else:
        with pytest.raises(OriginForbidden, match="allowed_origins"):
            judge(asked, field, KEY)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([KEY], ALICE),
        ([(b"authorization", b"bEaReR  " + GOOD + b" ")], ALICE),
        ([(b"X-Bearerd-Key", GOOD)], ALICE),
        ([(b"Authorization", b"Bearer wrong"), (b"x-bearerd-key", GOOD)], ALICE),
        ([(b"x-bearerd-key", GOOD), (b"Authorization", b"Bearer wrong")], ALICE),
        ([(b"Authorization", b"Basic x"), KEY], ALICE),
        ([], ClientKeyRequired),
        ([(b"Authorization", b"Basic x")], ClientKeyRequired),
        ([(b"Authorization", b"Bearer")], ClientKeyRequired),
        ([(b"Authorization", b"Bearer ")], ClientKeyRequired),
        ([(b"x-bearerd-key", b"")], ClientKeyRequired),
        ([(b"Authorization", GOOD)], ClientKeyRequired),
        ([(b"Authorization", b"Bearer wrong")], ClientKeyInvalid),
        ([(b"Authorization", b"Bearer " + GOOD + b"x")], ClientKeyInvalid),
        ([(b"Authorization", b"Bearer wrong"), KEY], ClientKeyInvalid),
        ([(b"x-bearerd-key", b"wrong")], ClientKeyInvalid),
    ],
)
def test_the_key_says_who_it_is(
    fields: list[Field], expected: Client | type[BearerdError]
) -> None:
    """As a bearer token, or in a field of its own, which counts more."""
    if isinstance(expected, Client):
        assert judge(loopback(), *fields) is expected
        return
    with pytest.raises(expected) as refusal:
        judge(loopback(), *fields)
    assert GOOD.decode() not in refusal.value.message


@pytest.mark.parametrize(
    ("fields", "expected"),
    [([], NOBODY), ([(b"Authorization", b"Bearer any")], NOBODY), ([KEY], ALICE)],
)
def test_where_no_key_is_needed_a_good_one_still_names_its_client(
    fields: list[Field], expected: Client
) -> None:
    """Agents send some key always; a wrong one is no harm there."""
    assert judge(loopback(require_key=False), *fields) is expected


@pytest.mark.parametrize(
    "field", [(b"Host", b"evil.example"), (b"Origin", b"x"), (b"Host", b"a b")]
)
def test_a_key_is_not_looked_up_for_who_may_not_pass_anyway(field: Field) -> None:
    """So that a page cannot try keys."""
    keys = KeyLookup()
    with pytest.raises(BearerdError):
        AccessPolicy(keys, NOBODY).authorize(loopback(), "GET", (KEY, field))
    assert keys.asked == []


@given(st.binary(max_size=30))
def test_no_host_passes_that_is_not_on_the_list(host: bytes) -> None:
    """Whatever bytes stand there."""
    try:
        check_host(loopback(), host)
    except (HostForbidden, RequestMalformed):
        return
    assert host.lower().startswith((b"localhost", b"127.0.0.1", b"[::1]"))
