"""Killed at every step from a 401 to the publication: the next start has the login.

The authority is strict: to present a spent token revokes the whole family, so each token
that is presented twice fails the test by itself. One window remains, and is shown as such:
the authority has rotated, and no byte of its response is in a file.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Literal

import aiohttp

from bearerd.builders import open_source
from bearerd.errors import LoginRequired
from bearerd.events import Event
from bearerd.sandbox import AuthorityFault, Sandbox
from bearerd.sandbox.authority.authority import Authority
from bearerd.sandbox.authority.family import Reuse
from bearerd.settings import load_settings
from tests.chaos.report import Report
from tests.chaos.scale import Scale
from tests.chaos.victim import POINTS, Spec, settings_of
from tests.chaos.victims import Victim, injected, victim
from tests.support import read_login, tokens_of, write_login
from tests.support.client import MODELS
from tests.support.daemon import empty_config

AT_ONCE = 3
"""Runs side by side; each waits most of its time for processes to start and to end."""

REPLACEMENT = (
    ("openat", 1, "the temporary file is made"),
    ("write", 1, "it is written"),
    ("fsync", 1, "it is synced"),
    ("rename", 1, "it gets its name"),
    ("fsync", 2, "the folder is synced"),
)
"""The system calls of a file that is replaced durably, each with its count by name."""

WRITES: dict[str, tuple[str, tuple[tuple[str, int, str], ...]]] = {
    "budget": (
        "before the budget is recorded",
        tuple(step for step in REPLACEMENT if step[0] != "fsync"),
    ),
    "record of the token": (
        "before the token is recorded",
        (
            *REPLACEMENT,
            ("openat", 3, "the file for the response is made"),
            ("write", 2, "its first line is written"),
        ),
    ),
    "record of the response": (
        "response in memory",
        (*REPLACEMENT, ("unlink", 1, "the file of the response is removed")),
    ),
    "login": (
        "before the login is written",
        # The table of mounts is read before.
        tuple(
            (call, nth + (call == "openat"), what) for call, nth, what in REPLACEMENT
        ),
    ),
    "clearing": (
        "before the record is cleared",
        # The files of the response come first, in both places.
        (("unlink", 3, "the record is removed"),),
    ),
    "outcome": (
        "before the outcome is recorded",
        tuple(step for step in REPLACEMENT if step[0] != "fsync"),
    ),
}
"""What a refresh writes: from which point, and by which system calls of its thread."""

WINDOW = frozenset(
    {
        "request arrived, rotated afterwards",
        "rotated, no response sent",
        "rotated, response not written yet",
    }
)
"""The authority has rotated, and no byte of its response is in a file."""


@dataclass(frozen=True, slots=True)
class Place:
    """One way to die: at a named point, at a system call, or from outside."""

    name: str
    point: str = ""
    injection: str = ""
    at_authority: Literal["", "hangs", "rotates late", "has rotated"] = ""


@dataclass(frozen=True, slots=True)
class Run:
    """What came of one death."""

    is_alive: bool
    refreshes: int
    reused: int


def system_calls() -> Sequence[Place]:
    """Return every system call of what a refresh writes."""
    return [
        Place(
            f"{write}: before {meaning}",
            point=point,
            injection=f"{call}:signal=SIGKILL:when={nth}",
        )
        for write, (point, steps) in WRITES.items()
        for call, nth, meaning in steps
    ]


PLACES = (
    *(Place(point, point=point) for point in POINTS),
    Place("request arrived, nothing rotated", at_authority="hangs"),
    Place("request arrived, rotated afterwards", at_authority="rotates late"),
    Place("rotated, no response sent", at_authority="has rotated"),
    # The event loop writes the response; nothing else is written then.
    Place(
        "rotated, response not written yet",
        point="token recorded",
        injection="write:signal=SIGKILL:when=1",
    ),
    *system_calls(),
)


async def die(
    context: ForkServerContext, sandbox: Sandbox, spec: Spec, place: Place
) -> None:
    """Let a victim that has just seen a 401 die at *place*."""
    async with victim(context, spec) as doomed:
        sandbox.revoke_access_tokens()
        await doomed.arm()
        if place.injection:
            await die_at_system_call(doomed, place.injection)
        elif place.at_authority:
            await die_at_authority(doomed, sandbox.authority, place)
        else:
            await ask(doomed)
        assert await doomed.died() == -signal.SIGKILL, place


async def die_at_system_call(doomed: Victim, injection: str) -> None:
    """Trace a victim that pauses before it writes, and let it go on."""
    asking = asyncio.create_task(ask(doomed))
    await doomed.paused()
    async with injected(doomed.ready.pid, injection):
        doomed.go_on()
        await asking


async def die_at_authority(doomed: Victim, authority: Authority, place: Place) -> None:
    """Kill a victim while the authority has its request."""
    has_rotated = place.at_authority == "has rotated"
    gate = authority.response_gate if has_rotated else authority.gate
    if place.at_authority == "hangs":
        authority.fault(AuthorityFault("hang", before_spending=True), times=1)
    else:
        gate.close()
    asking = asyncio.create_task(ask(doomed))
    await authority.wait_for_calls(1)
    if place.at_authority != "hangs":
        await gate.wait_for_waiting(1)
    doomed.kill()
    await asking
    gate.open()
    if place.at_authority != "hangs":
        await authority.wait_for_outcomes(1)


async def ask(doomed: Victim) -> None:
    """Send the request that is going to be rejected."""
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        with suppress(aiohttp.ClientError):
            async with session.get(doomed.ready.url + MODELS) as response:
                await response.read()
                # After the publication the response may still get out.
                assert response.status == 200


async def next_start(sandbox: Sandbox, spec: Spec) -> bool:
    """Start anew, as any command does; return True if the login is good for more."""
    settings = load_settings(
        settings_of(spec), environ={}, config=empty_config(spec.folder)
    )
    events: list[Event] = []
    try:
        async with open_source(settings, "default", events.append) as source:
            held = await source.current()
            credential = await source.refresh(held, "asked")
    except LoginRequired:
        return False
    assert sandbox.tokens.introspect(credential.access_token).state == "live"
    stored = tokens_of(read_login(spec.folder / "auth.json"))
    assert stored["refresh_token"] == credential.refresh_token
    return True


def hidden_in(folder: Path) -> list[Path]:
    """Return the temporary files of a login."""
    return list(folder.glob(".auth.json.*"))


async def run_once(
    context: ForkServerContext, folder: Path, place: Place, reuse: Reuse
) -> Run:
    """Kill one victim, start anew, and count."""
    async with Sandbox(reuse=reuse) as sandbox:
        spec = Spec(
            folder,
            sandbox.issuer_url,
            sandbox.upstream_url,
            place.point,
            pauses=bool(place.injection),
        )
        write_login(folder / "auth.json", sandbox.auth_document())
        await die(context, sandbox, spec, place)
        is_alive = await next_start(sandbox, spec)
        if is_alive:
            assert hidden_in(folder) == [], "temporary files with tokens in them"
        return Run(is_alive, sandbox.authority.refreshes, sandbox.authority.reused)


async def run_all(
    context: ForkServerContext,
    folder: Path,
    reuse: Reuse,
    kills: int,
    places: Sequence[Place],
) -> dict[str, list[Run]]:
    """Run every place so many times, a few side by side."""
    gate = asyncio.Semaphore(AT_ONCE)
    runs: dict[str, list[Run]] = {place.name: [] for place in places}

    async def one(place: Place, number: int) -> None:
        home = folder / f"{places.index(place)}-{number}"
        home.mkdir(parents=True)
        async with gate:
            runs[place.name].append(await run_once(context, home, place, reuse))

    async with asyncio.TaskGroup() as tasks:
        for place in places:
            for number in range(kills):
                tasks.create_task(one(place, number))
    return runs


def rows(runs: dict[str, list[Run]]) -> list[tuple[object, ...]]:
    """Return the table's rows."""
    return [
        (
            name,
            len(found),
            sum(run.is_alive for run in found),
            sum(run.refreshes for run in found),
            sum(run.reused for run in found),
        )
        for name, found in runs.items()
    ]


HEADS = ("killed", "runs", "login alive", "refreshes", "reuses")


async def test_the_login_survives_a_death_at_any_step(
    context: ForkServerContext, tmp_path: Path, scale: Scale, report: Report
) -> None:
    """Not in the window, with an authority that revokes the family for a reuse."""
    runs = await run_all(context, tmp_path, "revoke_family", scale.kills, PLACES)
    report.table("Killed at every step, strict authority", HEADS, rows(runs))
    for name, found in runs.items():
        assert [run.is_alive for run in found] == [name not in WINDOW] * scale.kills, (
            name
        )
        assert sum(run.reused for run in found) == (
            scale.kills if name in WINDOW else 0
        ), name


async def test_the_window_is_survived_where_one_reuse_is_tolerated(
    context: ForkServerContext, tmp_path: Path, scale: Scale, report: Report
) -> None:
    """Some authorities accept the last spent token once more."""
    places = [place for place in PLACES if place.name in WINDOW]
    runs = await run_all(context, tmp_path, "tolerate_one", scale.kills, places)
    report.table("Killed in the window, one reuse is tolerated", HEADS, rows(runs))
    for name, found in runs.items():
        assert all(run.is_alive for run in found), name
        assert sum(run.reused for run in found) == 0, name


def test_enough_points_are_named() -> None:
    """Each of them once."""
    names = [place.name for place in PLACES]
    assert len(set(names)) == len(names) >= 12
    assert set(names) >= WINDOW
