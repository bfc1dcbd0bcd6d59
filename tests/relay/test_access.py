"""Which requests may pass: method, Host, web pages, loops, keys; and their order."""

from __future__ import annotations

import pytest

from bearerd.errors import (
    BearerdError,
    ClientKeyInvalid,
    ClientKeyRequired,
    HostForbidden,
    LoopDetected,
    MethodNotAllowed,
    OriginForbidden,
    RequestMalformed,
)
from bearerd.host_rule import ANY_HOST
from bearerd.keys.ring import Client
from bearerd.relay.access import AccessPolicy, ListenerRules, check_host, listener_rules
from bearerd.relay.message import Field

ALICE = Client("alice", "default", frozenset({"relay"}))
ANONYMOUS = Client("anonymous", "default", frozenset({"relay"}))
GOOD = b"alices-made-up-key"


class Keys:
    """Client keys that record each look-up."""

    def __init__(self) -> None:
        self.looked_up: list[bytes] = []

    def find(self, key: bytes) -> Client | None:
        self.looked_up.append(key)
        return ALICE if key == GOOD else None


def loopback(
    *,
    require_key: bool = True,
    hosts: tuple[str, ...] = (),
    origins: tuple[str, ...] = (),
) -> ListenerRules:
    """Return the rules of a loopback listener."""
    return listener_rules(
        is_loopback=True,
        is_unix=False,
        require_key=require_key,
        allowed_hosts=hosts,
        allowed_origins=origins,
    )


def authorize(rules: ListenerRules, *fields: Field, method: str = "GET") -> Client:
    """Authorize a request with these fields."""
    return AccessPolicy(Keys(), ANONYMOUS).authorize(rules, method, fields)


KEY = (b"Authorization", b"Bearer " + GOOD)


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "TRACK"])
def test_methods_that_tunnel_or_echo_are_refused(method: str) -> None:
    """Whatever the key is."""
    with pytest.raises(MethodNotAllowed):
        authorize(loopback(), KEY, method=method)


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "PROPFIND", "DELETE"])
def test_every_other_method_passes(method: str) -> None:
    """The upstream knows which methods a resource has."""
    assert authorize(loopback(), KEY, method=method) is ALICE


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
def test_loopback_names_are_allowed_in_every_spelling(host: bytes) -> None:
    """On a listener that only this machine reaches."""
    assert authorize(loopback(), (b"hOST", host), KEY) is ALICE


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
    """A web page may have its own name resolve to this machine."""
    with pytest.raises(HostForbidden, match="allowed_hosts"):
        authorize(loopback(), (b"Host", host), KEY)


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
def test_a_value_that_is_no_host_is_malformed(host: bytes) -> None:
    """Where every Host is allowed too."""
    for hosts in (loopback().hosts, ANY_HOST):
        anywhere = ListenerRules(require_key=True, hosts=hosts, origins=frozenset())
        with pytest.raises(RequestMalformed):
            check_host(anywhere, host)


@pytest.mark.parametrize(
    ("is_loopback", "is_unix", "allowed", "host", "is_allowed"),
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
    is_allowed: bool,
) -> None:
    """Where other machines reach it, every Host is, unless names are listed."""
    rules = listener_rules(
        is_loopback=is_loopback,
        is_unix=is_unix,
        require_key=True,
        allowed_hosts=allowed,
        allowed_origins=(),
    )
    if is_allowed:
        check_host(rules, host)
    else:
        with pytest.raises(HostForbidden):
            check_host(rules, host)


@pytest.mark.parametrize(
    ("field", "origins", "is_allowed"),
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
def test_a_web_page_passes_only_if_its_origin_is_allowed(
    field: Field, origins: tuple[str, ...], is_allowed: bool
) -> None:
    """Programs send neither field."""
    rules = loopback(origins=origins)
    if is_allowed:
        assert authorize(rules, field, KEY) is ALICE
    else:
        with pytest.raises(OriginForbidden, match="allowed_origins"):
            authorize(rules, field, KEY)


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
def test_the_key_names_its_client(
    fields: list[Field], expected: Client | type[BearerdError]
) -> None:
    """As a bearer token, or in a field of its own, which takes precedence."""
    if isinstance(expected, Client):
        assert authorize(loopback(), *fields) is expected
        return
    with pytest.raises(expected) as refusal:
        authorize(loopback(), *fields)
    assert GOOD.decode() not in refusal.value.message


@pytest.mark.parametrize(
    ("fields", "expected"),
    [([], ANONYMOUS), ([(b"Authorization", b"Bearer any")], ANONYMOUS), ([KEY], ALICE)],
)
def test_where_no_key_is_required_a_known_one_still_names_its_client(
    fields: list[Field], expected: Client
) -> None:
    """Agents always send some key; an unknown one is no error there."""
    assert authorize(loopback(require_key=False), *fields) is expected


@pytest.mark.parametrize(
    "field",
    [
        (b"Host", b"evil.example"),
        (b"Host", b"a b"),
        (b"Origin", b"x"),
        (b"Via", b"1.1 bearerd"),
    ],
)
def test_no_key_is_looked_up_for_a_request_that_fails_before(field: Field) -> None:
    """So a web page cannot try keys."""
    keys = Keys()
    with pytest.raises(BearerdError):
        AccessPolicy(keys, ANONYMOUS).authorize(loopback(), "GET", (KEY, field))
    assert keys.looked_up == []


@pytest.mark.parametrize(
    ("authority", "expected"),
    [(b"localhost:8787", ALICE), (b"evil.example", HostForbidden), (b"", None)],
)
def test_the_authority_of_an_absolute_form_replaces_the_host(
    authority: bytes, expected: Client | type[BearerdError] | None
) -> None:
    """RFC 9112 section 3.2.2; an empty one is no host."""
    policy = AccessPolicy(Keys(), ANONYMOUS)
    host = (b"Host", b"evil.example" if expected is ALICE else b"localhost")
    if isinstance(expected, Client):
        assert policy.authorize(loopback(), "GET", (host, KEY), authority) is expected
        return
    with pytest.raises(expected or RequestMalformed):
        policy.authorize(loopback(), "GET", (host, KEY), authority)


def test_a_request_without_a_host_passes() -> None:
    """HTTP/1.0 knows none, and the parser refuses such a request of 1.1."""
    assert authorize(loopback(), KEY) is ALICE


@pytest.mark.parametrize(
    ("via", "is_loop"),
    [
        (b"1.1 bearerd", True),
        (b"1.1 cache, 1.1 Bearerd (v1)", True),
        (b"HTTP/1.1 bearerd", True),
        (b"1.1 bearerd.example", False),
        (b"1.1 cache (bearerd)", False),
        (b"bearerd", False),
        (b"", False),
        (b",,", False),
    ],
)
def test_a_request_that_passed_through_bearerd_before_is_a_loop(
    via: bytes, is_loop: bool
) -> None:
    """RFC 9110 section 7.6.3: the second word of a member is the pseudonym."""
    if is_loop:
        with pytest.raises(LoopDetected, match="upstream_url"):
            authorize(loopback(), (b"Via", via), KEY)
    else:
        assert authorize(loopback(), (b"Via", via), KEY) is ALICE
