"""The status page: what a person reads, and what a browser may do with it."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from bearerd.admin import page
from tests.admin.conftest import NOW, missing, service, source


class Reader(HTMLParser):
    """Reads a page as a browser would: its tags, and its text."""

    VOID = frozenset({"meta"})

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in {"href", "src"}]
        assert not [name for name, _ in attrs if name.startswith("on")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text += f" {data}"


def test_a_daemon_that_is_well_says_so() -> None:
    """State, account, expiry, generation, last refresh and store, with times in words."""
    reader = Reader(page.render(service(), NOW))
    assert reader.open == []
    for words in (
        "bearerd 1.2.3",
        "state ready",
        "default:  ready",
        "account acct-made-up",
        "2027-01-15 09:00:00 UTC (in 1 h)",
        "2027-01-15 07:59:00 UTC (1 min ago)",
        "2027-01-15 06:00:00 UTC (2 h ago)",
        "generation 3",
        "/data/auth.json",
        "requests in flight 4",
    ):
        assert words in reader.text, words
    assert "sign in" not in reader.text


def test_what_is_missing_stands_there_with_its_remedy() -> None:
    """For each profile by itself."""
    status = service(source(), missing(profile="work"))
    reader = Reader(page.render(status, NOW))
    assert "state sign-in needed" in reader.text
    assert "work:  login required (missing)" in reader.text
    assert "there is no credential file; sign in" in reader.text


def test_trouble_that_passes_stands_there_too() -> None:
    """An authority that is not reached, a store that cannot be written, a drain."""
    trouble = source(last_error="undelivered: refused", in_memory_only=True)
    reader = Reader(page.render(service(trouble, draining=True), NOW))
    assert "last error undelivered: refused" in reader.text
    assert "the store could not be written" in reader.text
    assert "state stopping" in reader.text


def test_nothing_of_anybodys_making_becomes_markup() -> None:
    """Names, paths and messages are text."""
    evil = "<script>alert(1)</script>\"'&"
    status = service(
        missing(profile=evil, store=evil, message=evil, reason=evil, last_error=evil),
        version=evil,
        relay=(evil,),
    )
    reader = Reader(page.render(status, NOW))
    assert "script" not in reader.tags
    assert reader.text.count(evil) >= 6


def test_the_page_loads_nothing() -> None:
    """No script, no image, no frame; links lead nowhere else."""
    reader = Reader(page.render(service(), NOW))
    assert not reader.tags & {"script", "img", "link", "iframe", "form", "object"}
    assert reader.links
    assert all(re.fullmatch(r"/[a-z/]*", link) for link in reader.links)


def test_the_policy_allows_the_pages_own_style_alone() -> None:
    """By its digest, so that a style of somebody else's does nothing either."""
    (style,) = re.findall(
        r"<style>(.*)</style>", page.render(service(), NOW), re.DOTALL
    )
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert page.policy().startswith(
        f"default-src 'none'; style-src 'sha256-{digest}'; "
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.9, "59 s"), (61, "1 min 1 s"), (90061, "1 d 1 h"), (3600, "1 h")],
)
def test_a_span_is_told_in_its_two_largest_units(seconds: float, words: str) -> None:
    """More is noise."""
    assert page.span(seconds) == words


def test_a_time_that_nobody_knows_is_unknown() -> None:
    """And not the first of January 1970."""
    assert page.moment(None, NOW) == "unknown"
