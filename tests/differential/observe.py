"""Every case through every proxy, a few lanes side by side.

A lane is one way in and one upstream for each proxy, so that what comes in upstream
belongs to the one case that is under way in it.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from tests.differential import (
    neighbours,
    requests_fields,
    requests_framing,
    requests_lines,
    responses,
)
from tests.differential.case import Case
from tests.differential.client import Seen, see
from tests.differential.message import Message
from tests.differential.upstream import PROBE_TARGET, Script
from tests.wire.gateway import running

LANES = 8
"""Most cases take a millisecond; what waits for a silence waits beside the others."""

OURS, NGINX, HAPROXY = "bearerd", "nginx", "haproxy"
PROXIES = (OURS, NGINX, HAPROXY)


@dataclass(frozen=True, slots=True)
class Observed:
    """What one proxy did with one case: its messages to the upstream, and what it said.

    Probes are not among the messages.
    """

    upstream: tuple[Message, ...]
    seen: Seen


Observations: TypeAlias = Mapping[str, Mapping[str, Observed]]
"""By case's name, then by proxy."""


def all_cases() -> tuple[Case, ...]:
    """Return every case, in order."""
    groups = (requests_lines, requests_fields, requests_framing, responses)
    cases = tuple(case for group in groups for case in group.cases())
    names = [case.name for case in cases]
    assert len(names) == len(set(names)), "two cases of one name"
    return cases


def observe(cases: tuple[Case, ...]) -> Observations:
    """Return what every proxy did with every case.

    Raises:
        NotInstalled: nginx or haproxy is not here.
    """
    return asyncio.run(_observe(cases))


async def _observe(cases: tuple[Case, ...]) -> Observations:
    found: dict[str, dict[str, Observed]] = {case.name: {} for case in cases}
    async with _ways() as ways, asyncio.TaskGroup() as group:
        for name, lanes in ways.items():
            todo = iter(cases)
            for path, script in lanes:
                group.create_task(_walk(name, path, script, todo, found))
    return found


async def _walk(
    proxy: str,
    path: str | int,
    script: Script,
    todo: Iterator[Case],
    found: dict[str, dict[str, Observed]],
) -> None:
    """Take one case after another off *todo*, which the lanes share."""
    for case in todo:
        script.begin(case)
        seen = await see(path, case)
        messages = tuple(
            message
            for connection in script.connections
            for message in connection.messages()
            if PROBE_TARGET not in message.start
        )
        found[case.name][proxy] = Observed(messages, seen)
        await script.clear()


@asynccontextmanager
async def _ways() -> AsyncIterator[dict[str, list[tuple[str | int, Script]]]]:
    """Run all proxies; yield each one's lanes: where to connect, and its upstream."""
    async with AsyncExitStack() as stack:
        # A Unix socket's path has at most 108 bytes, less than some temporary folders.
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="bearerd-"))
        folder = Path(name)
        scripts = {proxy: [Script() for _ in range(LANES)] for proxy in PROXIES}
        for script in (one for lanes in scripts.values() for one in lanes):
            await script.start()
            stack.push_async_callback(script.stop)
        ways: dict[str, list[tuple[str | int, Script]]] = {OURS: []}
        for proxy, start in ((NGINX, neighbours.nginx), (HAPROXY, neighbours.haproxy)):
            neighbour = start(folder, [script.port for script in scripts[proxy]])
            stack.callback(neighbour.stop)
            await neighbour.start(LANES)
            ways[proxy] = [
                (neighbour.path(lane), script)
                for lane, script in enumerate(scripts[proxy])
            ]
        for lane, script in enumerate(scripts[OURS]):
            store = folder / f"ours-{lane}"
            store.mkdir()
            url = f"http://127.0.0.1:{script.port}/backend-api"
            gateway = await stack.enter_async_context(running(store, upstream_url=url))
            ways[OURS].append((gateway.port, script))
        yield ways
