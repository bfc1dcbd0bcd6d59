"""Which of an upstream's cookies are kept, for how long, and how they are sent."""

from __future__ import annotations

import pytest

from bearerd.relay.upstream.cookies import LIMIT, LIMIT_BYTES, CookieJar


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        (b"__cf_bm=1", b"__cf_bm=1"),
        (b" __cf_bm = 1 ; Path=/; Secure", b"__cf_bm=1"),
        (b"cf_clearance=a=b", b"cf_clearance=a=b"),
        (b"cf_chl_rc_i=1", b"cf_chl_rc_i=1"),
        (b"_cfuvid=", b"_cfuvid="),
        (b"__CF_BM=1", b""),
        (b"session=1", b""),
        (b"__Secure-next-auth.session-token=1", b""),
        (b"__cf_bm", b""),
        (b"", b""),
        (b"__cf_bm=" + b"a" * LIMIT_BYTES, b""),
    ],
)
def test_only_cookies_of_the_edge_are_kept(line: bytes, kept: bytes) -> None:
    """By their exact names, or the one prefix."""
    jar = CookieJar(Clock())
    jar.store([line])
    assert jar.cookie_line() == (b"Cookie: %b\r\n" % kept if kept else b"")


@pytest.mark.parametrize(
    ("attributes", "ages"),
    [
        (b"; Max-Age=60", [True, True, False]),
        (b"; max-age= 60 ; Path=/", [True, True, False]),
        (b"; Expires=Sun, 06 Nov 1994 08:49:37 GMT", [True, True, True]),
        (b"; Max-Age=soon", [True, True, True]),
        (b"; Max-Age=--60", [True, True, True]),
        (b"; Max-Age=0", [False, False, False]),
        (b"; Max-Age=-1", [False, False, False]),
        (b"", [True, True, True]),
    ],
)
def test_a_cookie_is_sent_for_as_long_as_max_age_says(
    attributes: bytes, ages: list[bool]
) -> None:
    """At once, a second before a minute is over, and after it."""
    clock = Clock()
    jar = CookieJar(clock)
    jar.store([b"__cf_bm=1" + attributes])
    sent = []
    for clock.seconds in (0, 59, 60):
        sent.append(jar.cookie_line() != b"")
    assert sent == ages


def test_a_later_value_takes_the_place_of_an_earlier() -> None:
    """And Max-Age 0 removes it."""
    jar = CookieJar(Clock())
    jar.store([b"__cf_bm=1", b"_cfuvid=2"])
    jar.store([b"__cf_bm=3"])
    assert jar.cookie_line() == b"Cookie: _cfuvid=2; __cf_bm=3\r\n"
    jar.store([b"_cfuvid=2; Max-Age=0"])
    assert jar.cookie_line() == b"Cookie: __cf_bm=3\r\n"


def test_the_oldest_cookie_is_dropped_first() -> None:
    """A jar is bounded whatever the edge sets."""
    jar = CookieJar(Clock())
    jar.store([b"cf_chl_%d=x" % number for number in range(LIMIT + 2)])
    line = jar.cookie_line()
    assert line.count(b"=") == LIMIT
    assert line.startswith(b"Cookie: cf_chl_2=x; ")
