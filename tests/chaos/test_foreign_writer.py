"""The real Codex CLI and bearerd on one `auth.json`, both refreshing it.

Tokens die after seconds. Codex refreshes what has less than five minutes left; with
tokens that never have more it would refresh without end (it did, 80 times a second), so
they are issued for a little longer, and revoked every few seconds for both. The authority
refuses a reuse, and does not revoke the family for it, since Codex takes no lock while it
calls: two calls at once cannot be avoided.
"""

from __future__ import annotations

import asyncio
import copy
import stat
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bearerd.sandbox import Sandbox
from bearerd.sandbox.upstream.response_events import OUTPUT_TEXT
from tests.chaos.report import Report
from tests.chaos.scale import Scale
from tests.clients.agent import Agent
from tests.clients.codex import CHATGPT, QUIET, Codex
from tests.clients.installation import install_codex
from tests.clients.snare import Snare
from tests.support import Canary, ServeProcess, read_login, tokens_of, write_login
from tests.support.process import serving

LIFETIME_SECONDS = 303.0
REVOKED_EACH_SECONDS = 2.5
PAUSE_SECONDS = 0.05
CODEX_PAUSE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Shared:
    """One login file, and the two programs that share it."""

    sandbox: Sandbox
    codex: Codex
    served: ServeProcess
    file: Path


def marked(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a login with fields that neither program knows."""
    changed = copy.deepcopy(dict(document))
    changed["x_note"] = {"kept": True}
    changed["tokens"]["x_scope"] = "kept"
    return changed


def marks(document: Mapping[str, Any]) -> list[str]:
    """Return which of those fields are there."""
    tokens = tokens_of(document)
    found = {"x_note": "x_note" in document, "tokens.x_scope": "x_scope" in tokens}
    return [name for name, is_there in found.items() if is_there]


@asynccontextmanager
async def shared(folder: Path, canary: Canary) -> AsyncIterator[Shared]:
    """Give both programs, set up as a user would."""
    command = await asyncio.to_thread(install_codex)
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(Sandbox(reuse="refuse"))
        canary.watches(sandbox)
        snare = await stack.enter_async_context(Snare())
        codex = Codex(command, Agent(folder / "codex", snare, canary))
        port = urlsplit(sandbox.upstream_url).port
        codex._configure(CHATGPT.format(port=port, quiet=QUIET))
        codex._environ["CODEX_REFRESH_TOKEN_URL_OVERRIDE"] = sandbox.token_url
        write_login(codex.login_file, marked(sandbox.auth_document()))
        codex.login_file.chmod(0o600)
        served = await stack.enter_async_context(
            serving(
                codex.login_file,
                sandbox,
                canary,
                refresh_burst=1000,
                refresh_interval_seconds=0.5,
            )
        )
        yield Shared(sandbox, codex, served, codex.login_file)


async def use(both: Shared, until: float, statuses: Counter[str]) -> None:
    """Send requests through bearerd again and again."""
    while time.monotonic() < until:
        reply = await both.served.client.get()
        statuses[f"{reply.status} {reply.code or ''}".strip()] += 1
        await asyncio.sleep(PAUSE_SECONDS)


async def run(both: Shared, until: float, exits: Counter[str]) -> None:
    """Run Codex again and again. One failure is allowed, if the next run is good."""
    has_failed = False
    while time.monotonic() < until:
        turn = await both.codex.say()
        error = (turn.stderr.strip().splitlines() or [""])[-1] if turn.code else ""
        exits[f"{turn.code} {error}".strip()] += 1
        assert not (has_failed and turn.code), "it is signed out"
        has_failed = turn.code != 0
        if turn.code == 0:
            assert turn.stdout.strip() == OUTPUT_TEXT
        await asyncio.sleep(CODEX_PAUSE_SECONDS)


async def revoke(both: Shared, until: float) -> None:
    """Let all access tokens die, now and then."""
    while time.monotonic() < until:
        await asyncio.sleep(REVOKED_EACH_SECONDS)
        both.sandbox.revoke_access_tokens()


def callers(sandbox: Sandbox) -> Counter[str]:
    """Return how often each program called the authority, by outcome."""
    return Counter(
        f"{'bearerd' if 'bearerd' in call.user_agent else 'Codex'}: {call.outcome}"
        for call in sandbox.authority.records
    )


async def test_neither_signs_the_other_out(
    tmp_path: Path, canary: Canary, scale: Scale, report: Report
) -> None:
    """Both serve to the end, the file is private, and each goes on with the other's."""
    async with shared(tmp_path, canary) as both:
        # bearerd's own write first: it keeps what it does not know.
        both.sandbox.tokens.access_lifetime_seconds = LIFETIME_SECONDS
        both.sandbox.revoke_access_tokens()
        assert (await both.served.client.get()).status == 200
        assert marks(read_login(both.file)) == ["x_note", "tokens.x_scope"]
        both.sandbox.revoke_access_tokens()
        assert (await both.codex.say()).code == 0
        kept_by_codex = marks(read_login(both.file))
        fields = sorted(read_login(both.file)), sorted(tokens_of(read_login(both.file)))

        statuses: Counter[str] = Counter()
        exits: Counter[str] = Counter()
        until = time.monotonic() + scale.foreign_writer_seconds
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(use(both, until, statuses))
            tasks.create_task(run(both, until, exits))
            tasks.create_task(revoke(both, until))

        calls = callers(both.sandbox)
        report.table(
            f"Codex CLI and bearerd on one file, {scale.foreign_writer_seconds:.0f} s",
            ("what", "seen"),
            [
                *(("calls of " + who, count) for who, count in sorted(calls.items())),
                *((f"bearerd responds {name}", n) for name, n in statuses.items()),
                *((f"Codex exits with {code}", n) for code, n in exits.items()),
                ("unknown fields after bearerd's write", "x_note, tokens.x_scope"),
                (
                    "unknown fields after Codex's write",
                    ", ".join(kept_by_codex) or "none",
                ),
                ("fields of Codex's own file", ", ".join(fields[0])),
                ("of its tokens", ", ".join(fields[1])),
            ],
        )
        assert set(statuses) == {"200"}
        assert exits["0"] > 0.95 * exits.total()
        assert (await both.codex.say()).code == 0
        for program in ("bearerd", "Codex"):
            assert calls[f"{program}: rotated"] > 1, "it has not refreshed"
        assert set(calls) <= {
            f"{program}: {outcome}"
            for program in ("bearerd", "Codex")
            for outcome in ("rotated", "refresh_token_reused")
        }
        assert stat.S_IMODE(both.file.stat().st_mode) == 0o600
        assert not [it for it in both.served.lines if it["event"] == "login.needed"]
        last = both.sandbox.tokens.rotate(
            tokens_of(read_login(both.file))["refresh_token"]
        )
        assert last.refresh_token
