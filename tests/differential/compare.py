"""What of two proxies' doings is compared, and which differences are explained where.

Compared are classes, not bytes: which messages went up and how they are framed, which
field lines are in them, what the client was told, and whether its connection goes on.
What every proxy says in its own name (its Host, its Date, its page for an error) is
left out; two refusals are the same, whatever their status.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.differential.case import spelled
from tests.differential.client import Seen, status
from tests.differential.message import Message
from tests.differential.observe import HAPROXY, NGINX, OURS, Observations, Observed

EXPLAINED = Path(__file__).with_name("differences.toml")

OWN_UPWARD = frozenset(
    {
        b"host",
        b"connection",
        b"content-length",
        b"transfer-encoding",
        b"upgrade",
        b"authorization",
        b"chatgpt-account-id",
    }
)
OWN_DOWNWARD = frozenset(
    {b"connection", b"content-length", b"transfer-encoding", b"date", b"server"}
)

SCRIPTED = (b"ok", b"no", b"unasked")
"""Bodies that come from the upstream, whatever the status."""

LONGEST = 200


@dataclass(frozen=True, slots=True)
class Difference:
    """One aspect of one case that bearerd and a neighbour handle in two ways."""

    case: str
    peer: str
    aspect: str
    ours: str
    theirs: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """A difference that is known, and which of the reasons holds for it."""

    difference: Difference
    why: str


def differences(observations: Observations) -> Iterator[Difference]:
    """Yield what bearerd does in another way than nginx, or than haproxy."""
    for case, by_proxy in observations.items():
        ours = aspects(by_proxy[OURS])
        for peer in (NGINX, HAPROXY):
            theirs = aspects(by_proxy[peer])
            for aspect in _compared(ours, theirs):
                yield Difference(case, peer, aspect, ours[aspect], theirs[aspect])


def aspects(observed: Observed) -> dict[str, str]:
    """Return what is compared, by the aspect's name, as somebody would say it."""
    return {
        "verdict": _verdict(observed),
        "upstream": _shortened(" + ".join(map(_went_up, observed.upstream))),
        "fields": _shortened(_lines(observed.upstream, OWN_UPWARD)),
        "client": _came_down(observed.seen),
        "answer": _shortened(_lines(observed.seen.responses, OWN_DOWNWARD)),
    }


def explanations(path: Path = EXPLAINED) -> tuple[Mapping[str, str], list[Explanation]]:
    """Return the reasons by name, and every explanation."""
    told = tomllib.loads(path.read_text())
    found = [
        Explanation(
            Difference(case, peer, aspect, one["ours"], one["theirs"]), one["why"]
        )
        for case, peers in told["case"].items()
        for peer, by_aspect in peers.items()
        for aspect, one in by_aspect.items()
    ]
    return told["why"], found


def _compared(ours: Mapping[str, str], theirs: Mapping[str, str]) -> Iterator[str]:
    """Yield the aspects that differ; a difference in one may make others moot."""
    if ours["verdict"] != theirs["verdict"]:
        yield "verdict"
        return
    passed = ours["verdict"] == "passed on"
    for aspect in ("upstream", "fields", "client", *(["answer"] if passed else [])):
        if ours[aspect] != theirs[aspect]:
            yield aspect


def _verdict(observed: Observed) -> str:
    responses = observed.seen.responses
    last = status(responses[0]) if responses else None
    if not observed.upstream:
        if last is None:
            return "waited for more" if observed.seen.after == "waiting" else "dropped"
        return "refused" if last >= 400 or last == 0 else f"answered {last}"
    if last is None:
        waiting = observed.seen.after == "waiting"
        return "passed on, then waited" if waiting else "passed on, then dropped"
    is_own = last >= 400 and responses[0].body not in SCRIPTED
    return "answered with an error" if is_own else "passed on"


def _went_up(message: Message) -> str:
    start = message.start.removesuffix(b" HTTP/1.1")
    framing = "" if message.framing == "none" else f", {message.framing}"
    body = f" {spelled(message.body[:40])}" if message.body else ""
    trailers = f", trailers {spelled(message.trailers)}" if message.trailers else ""
    end = "" if message.is_whole else ", broken off"
    hosts = len(message.values(b"host"))
    odd = "" if hosts == 1 else f", {hosts} Hosts"
    return f"{spelled(start)}{framing}{body}{trailers}{end}{odd}"


def _came_down(seen: Seen) -> str:
    interims = "".join(f"{code}, " for code in seen.interims)
    responses = " + ".join(map(_answered, seen.responses))
    return f"{interims}{responses or 'nothing'}; {seen.after}"


def _answered(message: Message) -> str:
    code = status(message)
    if code >= 400 and message.body not in SCRIPTED:
        return "error"
    body = f" {spelled(message.body[:40])}" if message.body else ""
    trailers = f", trailers {spelled(message.trailers)}" if message.trailers else ""
    end = "" if message.is_whole else ", broken off"
    return f"{code}, {message.framing}{body}{trailers}{end}"


def _lines(messages: tuple[Message, ...], own: frozenset[bytes]) -> str:
    """Return the field lines of the first message, without what is each proxy's own."""
    if not messages:
        return ""
    return " | ".join(
        f"{spelled(name.lower())}: {spelled(value)}"
        for name, value in messages[0].fields
        if name.lower() not in own
    )


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text)})"
