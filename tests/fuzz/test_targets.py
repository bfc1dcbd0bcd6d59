"""Any bytes as a target: one that resolves is forwarded unchanged, below the base."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bearerd.errors import BearerdError
from bearerd.host_rule import LOOPBACK_NAMES
from bearerd.relay.access import check_host, listener_rules
from bearerd.relay.target import ALIASES, Target, resolve, to_origin_form
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
"""Few of these resolve."""

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
"""Most of these resolve; one part makes a few invalid."""


def resolved(raw: bytes) -> tuple[bytes | None, bytes, Target] | None:
    """Return a target's authority, its origin form, and what it resolves to."""
    authority, path = to_origin_form(raw)
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
def test_a_target_that_resolves_is_forwarded_unchanged(raw: bytes) -> None:
    """To the one authority, below the base, and without a blank."""
    check(raw)


def check(raw: bytes) -> None:
    """Check what holds for any target that resolves."""
    resolution = resolved(raw)
    if resolution is None:
        return
    authority, path, target = resolution
    check_bytes(path, target)
    check_authority(authority, target)
    check_path(target)
    line = b"GET %b%b HTTP/1.1" % (BASE, target.upstream_target)
    assert len(line.split()) == 3
    assert all(0x20 <= byte < 0x7F for byte in line)
    assert b"#" not in line


def check_bytes(path: bytes, target: Target) -> None:
    """Check that only the alias and the profile at its start are replaced."""
    if target.profile is not None:
        path = path.removeprefix(b"/profiles/" + target.profile.encode())
    assert target.upstream_target in {
        below + path[len(prefix) :]
        for prefix, below in ALIASES
        if path.startswith(prefix)
    }
    assert target.path.encode() == target.upstream_target.partition(b"?")[0]


def check_authority(authority: bytes | None, target: Target) -> None:
    """Check that it names no other authority, alone or behind the upstream's."""
    if authority is not None:
        host = re.sub(rb":[0-9]*$", b"", authority).lower().rstrip(b".")
        assert host in LOOPBACK_NAMES
    onward = b"http://" + UPSTREAM + BASE + target.upstream_target
    assert urlsplit(onward).netloc == UPSTREAM
    assert urlsplit(BASE + target.upstream_target).netloc == b""


def check_path(target: Target) -> None:
    """Check that it stays below the base: decoded or not, with parameters or without."""
    path = BASE + target.upstream_target.partition(b"?")[0]
    bare = b"/".join(part.partition(b";")[0] for part in path.split(b"/"))
    for reading in (path, unquote_to_bytes(path), bare, unquote_to_bytes(bare)):
        assert not {b".", b".."} & set(reading.split(b"/"))
        assert reading.startswith(BASE + b"/")
    assert b"//" not in path


def test_some_targets_resolve() -> None:
    """Otherwise the properties above would hold for no target."""
    resolving: list[bytes] = []

    @settings(max_examples=100, database=None, deadline=None, derandomize=True)
    @given(TARGETS | SERVED)
    def count(raw: bytes) -> None:
        if resolved(raw) is not None:
            resolving.append(raw)

    count()
    assert len(resolving) > 10


@pytest.mark.parametrize(
    "path", sorted(CORPUS.glob("targets/*")), ids=lambda path: path.name
)
def test_the_properties_hold_for_the_corpus_of_targets(path: Path) -> None:
    """Inputs that once broke one."""
    check(path.read_bytes())
