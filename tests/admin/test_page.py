"""The status page: its text, and what a browser may do with it."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

from bearerd.admin import page
from tests.admin.conftest import NOW, degraded, missing, service, source


class Reader(HTMLParser):
    """Reads a page as a browser does: its tags, and its text."""

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


def test_the_page_shows_the_daemon_and_each_profile() -> None:
    """State, account, expiry, generation, last refresh and store."""
    reader = Reader(page.render(service(), NOW))
    assert reader.open == []
    for text in (
        "bearerd 1.2.3",
        "state ready",
        "default:  usable",
        "account acct-made-up",
        "2027-01-15 09:00:00 UTC (in 1 h)",
        "2027-01-15 07:59:00 UTC (1 min ago)",
        "2027-01-15 06:00:00 UTC (2 h ago)",
        "generation 3",
        "/data/auth.json",
        "requests in flight 4",
    ):
        assert text in reader.text, text
    assert "sign in" not in reader.text


def test_a_profile_that_needs_a_person_is_shown_with_its_remedy() -> None:
    """The others are not."""
    status = service(source(), missing(profile="work"))
    reader = Reader(page.render(status, NOW))
    assert "state action required" in reader.text
    assert "work:  blocked (login_required: missing)" in reader.text
    assert "there is no credential file; sign in" in reader.text


def test_a_failure_and_a_drain_are_shown() -> None:
    """An authority that fails, and a store that cannot be written."""
    failing = degraded(in_memory_only=True)
    reader = Reader(page.render(service(failing, is_draining=True), NOW))
    assert "default:  degraded (authority_unavailable)" in reader.text
    assert "the authority answered 500" in reader.text
    assert "since 2027-01-15 07:58:30 UTC (1 min 30 s ago)" in reader.text
    assert "next attempt 2027-01-15 08:00:30 UTC (in 30 s)" in reader.text
    assert "last error undelivered: 500" in reader.text
    assert "the store could not be written" in reader.text
    assert "state stopping" in reader.text


def test_no_value_becomes_markup() -> None:
    """Names, paths and messages are escaped."""
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
    """No script, no image, no frame; links stay on this listener."""
    reader = Reader(page.render(service(), NOW))
    assert not reader.tags & {"script", "img", "link", "iframe", "form", "object"}
    assert reader.links
    assert all(re.fullmatch(r"/[a-z/]*", link) for link in reader.links)


def test_the_policy_allows_only_the_style_of_the_page() -> None:
    """By its digest, so that an injected style has no effect either."""
    (style,) = re.findall(
        r"<style>(.*)</style>", page.render(service(), NOW), re.DOTALL
    )
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert page.content_security_policy().startswith(
        f"default-src 'none'; style-src 'sha256-{digest}'; "
    )
