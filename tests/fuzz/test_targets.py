"""Any bytes as a target: what resolves is forwarded as it is, below the base, to us."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bearerd.errors import BearerdError
from bearerd.relay.access import LOOPBACK_HOSTS, check_host, listener_rules
from bearerd.relay.target import ALIASES, Target, origin_form, resolve
from tests.fuzz.shapes import CORPUS, fuzzed

BASE = b"/backend-api"
UPSTREAM = b"upstream.example"

RULES = listener_rules(
    is_loopback=True,
    is_unix=False,
    require_key=True,
    allowed_hosts=(),
    allowed_origins=(),
)

PARTS = st.sampled_from(
    [
        *(b"/", b"//", b".", b"..", b"/..", b"%2e", b"%2E%2e", b"%2f", b"%5c", b"\\"),
        *(
            b"@",
            b":",
            b"#",
            b"?",
            b";",
            b"%00",
            b"%25",
            b"%252e",
            b"evil.example",
            b"v1",
        ),
        *(b"http://", b"HTTPS://", b"localhost", b"[::1]", b":80", b"a:b@", b"codex"),
        *(b"/v1/", b"/codex/", b"/responses", b"/backend-api/", b"/profiles/p", b"a"),
        *(
            b" ",
            b"\r\n",
            b"\x00",
            b"\x7f",
            b"\xff",
            b"%",
            b"%zz",
            b"&x=//../",
            b"*",
            b"|",
        ),
    ]
)
TARGETS = st.lists(PARTS | st.binary(max_size=3), max_size=9).map(b"".join)
"""Hardly one of these resolves."""

MILD = st.sampled_from(
    [
        *(b"a", b"b/", b"/c", b"?", b"x=1", b";b=1", b"%41", b"%25", b":", b"@", b"|"),
        *(b"..a", b"&", b"%zz", b"-", b".x", b"{}", b"?/../", b"~"),
    ]
)
PREFIXES = st.sampled_from(
    [*(prefix for prefix, _ in ALIASES), b"/profiles/p/v1/", b"http://localhost:80/v1/"]
)
SERVED = st.builds(
    bytes.__add__,
    PREFIXES,
    st.lists(MILD, max_size=6).map(b"".join)
    | st.lists(MILD | MILD | MILD | PARTS, max_size=6).map(b"".join),
)
"""Most of these resolve; a few are spoiled by one part."""


def resolved(raw: bytes) -> tuple[bytes | None, bytes, Target] | None:
    """Return what the relay makes of a target: authority, origin form, where to."""
    authority, path = origin_form(raw)
    try:
        if authority is not None:
            check_host(RULES, authority)
        return authority, path, resolve(path)
    except BearerdError:
        return None


@fuzzed
@given(TARGETS | SERVED)
@example(b"http://localhost@evil.example/v1/a")
@example(b"http://localhost\\@evil.example/v1/a")
@example(b"/backend-api/@evil.example/")
@example(b"/v1/..;/a")
@example(b"/v1/%2e%2e;a/b")
def test_what_resolves_is_what_is_forwarded(raw: bytes) -> None:
    """In its own bytes, to the one authority, below the base, as one word."""
    check(raw)


def check(raw: bytes) -> None:
    """Check what holds for any target that resolves."""
    found = resolved(raw)
    if found is None:
        return
    authority, path, target = found
    keeps_its_bytes(path, target)
    names_no_other_authority(authority, target)
    climbs_nowhere(target)
    line = b"GET %b%b HTTP/1.1" % (BASE, target.below)
    assert len(line.split()) == 3
    assert all(0x20 <= byte < 0x7F for byte in line)
    assert b"#" not in line


def keeps_its_bytes(path: bytes, target: Target) -> None:
    """All but the alias that it starts with, and the profile that it names."""
    if target.profile is not None:
        path = path.removeprefix(b"/profiles/" + target.profile.encode())
    assert target.below in {
        below + path[len(prefix) :]
        for prefix, below in ALIASES
        if path.startswith(prefix)
    }
    assert target.path.encode() == target.below.partition(b"?")[0]


def names_no_other_authority(authority: bytes | None, target: Target) -> None:
    """Neither in its own words, nor joined to the upstream's."""
    if authority is not None:
        host = re.sub(rb":[0-9]*$", b"", authority).lower().rstrip(b".")
        assert host in LOOPBACK_HOSTS
    onward = b"http://" + UPSTREAM + BASE + target.below
    assert urlsplit(onward).netloc == UPSTREAM
    assert urlsplit(BASE + target.below).netloc == b""


def climbs_nowhere(target: Target) -> None:
    """Decoded once, or not; with parameters taken off, or not: it stays where it is."""
    path = BASE + target.below.partition(b"?")[0]
    bare = b"/".join(part.partition(b";")[0] for part in path.split(b"/"))
    for reading in (path, unquote_to_bytes(path), bare, unquote_to_bytes(bare)):
        assert not {b".", b".."} & set(reading.split(b"/"))
        assert reading.startswith(BASE + b"/")
    assert b"//" not in path


def test_the_fuzz_reaches_targets_that_resolve() -> None:
    """Else all of it would hold for nothing."""
    reached: list[bytes] = []

    @settings(max_examples=100, database=None, deadline=None, derandomize=True)
    @given(TARGETS | SERVED)
    def count(raw: bytes) -> None:
        if resolved(raw) is not None:
            reached.append(raw)

    count()
    assert len(reached) > 10


@pytest.mark.parametrize(
    "path", sorted(CORPUS.glob("targets/*")), ids=lambda path: path.name
)
def test_the_corpus_of_targets_holds(path: Path) -> None:
    """What has broken one of these properties before stays mended."""
    check(path.read_bytes())
