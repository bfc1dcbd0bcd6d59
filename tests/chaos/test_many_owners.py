"""Forty processes on one file, with tokens that live for seconds."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

from bearerd.sandbox import Sandbox
from tests.chaos.owner import Tally, own
from tests.chaos.report import Report
from tests.chaos.scale import Scale
from tests.chaos.victim import Spec
from tests.chaos.victims import readable
from tests.support import write_login

OWNERS = 40
LIFETIME_SECONDS = 5.0
REVOKED_EACH_SECONDS = 0.5
"""Now and then all of them get a 401 at once."""


@asynccontextmanager
async def owner(
    context: ForkServerContext, spec: Spec, records: Path
) -> AsyncIterator[Any]:
    """Give the line to an owner that is at work; afterwards it is gone."""
    ours, theirs = context.Pipe()
    process = context.Process(target=own, args=(spec, records, theirs))
    process.start()
    theirs.close()
    try:
        await readable(ours.fileno())
        assert ours.recv() == "ready"
        yield ours
    finally:
        process.kill()
        await readable(process.sentinel)
        process.join()
        process.close()
        ours.close()


def overlaps(records: str) -> int:
    """Return how often two held the lock at once."""
    lines = [line.split() for line in records.splitlines()]
    return sum(
        (entered[1], left[1]) != ("in", "out") or entered[0] != left[0]
        for entered, left in zip(lines[::2], lines[1::2], strict=True)
    )


async def test_forty_owners_spend_each_token_once(
    context: ForkServerContext, tmp_path: Path, scale: Scale, report: Report
) -> None:
    """Each call to the authority rotates, no two hold the lock, and none is stuck."""
    records = tmp_path / "records"
    async with Sandbox(access_lifetime_seconds=LIFETIME_SECONDS) as sandbox:
        write_login(tmp_path / "auth.json", sandbox.auth_document())
        spec = Spec(tmp_path, sandbox.issuer_url, sandbox.upstream_url)
        async with AsyncExitStack() as stack:
            lines = []
            for _ in range(OWNERS):
                opened = owner(context, spec, records)
                lines.append(await stack.enter_async_context(opened))
            for _ in range(int(scale.owners_seconds / REVOKED_EACH_SECONDS)):
                await asyncio.sleep(REVOKED_EACH_SECONDS)
                sandbox.revoke_access_tokens()
            for line in lines:
                line.send("over")
            tallies = [await tally_of(line) for line in lines]
        found = sum((tally.statuses for tally in tallies), Counter[int]())
        refreshes = sum((tally.refreshes for tally in tallies), Counter[str]())
        authority, held = sandbox.authority, records.read_text(encoding="utf-8")
        report.table(
            f"{OWNERS} owners of one file, {scale.owners_seconds:.0f} s",
            ("what", "count"),
            [
                ("calls to the authority", authority.calls),
                ("rotations", authority.refreshes),
                ("reused", authority.reused),
                ("calls that overlapped", authority.max_overlapping_calls - 1),
                ("refreshes that owners count", refreshes["renewed"]),
                ("adopted from another", refreshes["adopted"]),
                ("times the lock was held", held.count(" in\n")),
                ("overlapping holders", overlaps(held)),
                *((f"responses {status}", count) for status, count in found.items()),
            ],
        )
    assert authority.calls == authority.refreshes == refreshes["renewed"]
    assert authority.refreshes >= scale.owners_seconds / LIFETIME_SECONDS
    assert (authority.reused, authority.max_overlapping_calls) == (0, 1)
    assert overlaps(held) == 0
    assert [trouble for tally in tallies for trouble in tally.troubles] == []
    assert set(refreshes) <= {"renewed", "adopted"}, refreshes
    assert all(tally.statuses[200] for tally in tallies)


async def tally_of(line: Any) -> Tally:
    """Return what an owner reports at its end."""
    await readable(line.fileno())
    found = line.recv()
    assert isinstance(found, Tally)
    return found
