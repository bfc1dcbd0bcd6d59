"""An authority, an upstream, a folder with a login in it, and processes of bearerd."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from tests.login.clocks import FastClock
from tests.login.lab import Authority, Family, Upstream
from tests.login.processes import Daemon, Finished, Launcher, until

STORE = "auth.json"


def write_whole(path: Path, document: Mapping[str, object] | bytes) -> None:
    """Replace a file whole, as a careful writer does. Owner and mode stay."""
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    temporary = path.with_name(path.name + ".by-hand")
    temporary.write_bytes(data)
    temporary.chmod(0o600)
    owner = path.parent.stat()
    os.chown(temporary, owner.st_uid, owner.st_gid)
    temporary.replace(path)


def content_of(path: Path) -> bytes:
    """Return what a file holds; nothing if it has gone meanwhile."""
    with suppress(FileNotFoundError):
        return path.read_bytes()
    return b""


class World:
    """One test's authority, upstream, folder and processes. Ends what it has started."""

    def __init__(self, folder: Path, clock_library: Path | None) -> None:
        self.folder = folder
        self._clock_library = clock_library
        self.home = folder / "home"
        self.store = folder / "store" / STORE
        self.authority = Authority()
        self.upstream = Upstream(self.authority)
        self.prefix: Sequence[str] = ()
        self.environ: Mapping[str, str] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Start both servers."""
        self.home.mkdir(parents=True)
        self.store.parent.mkdir()
        await self.authority.server.start()
        self._stack.push_async_callback(self.authority.server.stop)
        await self.upstream.server.start()
        self._stack.push_async_callback(self.upstream.server.stop)
        return self

    async def __aexit__(self, *_: object) -> None:
        """End each process and both servers."""
        await self._stack.aclose()

    def live_by(self, speed: float) -> FastClock:
        """Let the stand-ins and all processes live by a fast clock. Return it."""
        assert self._clock_library is not None, "needs a C compiler"
        clock = FastClock(self.folder, self._clock_library, speed)
        self.environ = clock.environ
        self.authority.now = clock.now
        return clock

    def live_faster(self, speed: float) -> None:
        """Make waits shorter by a fast clock, where one can be had; else they are long."""
        if self._clock_library is not None:
            self.live_by(speed)

    def launcher(self, **given: object) -> Launcher:
        """Return what starts processes with this world's settings."""
        settings: dict[str, object] = {
            "issuer_url": self.authority.url,
            "upstream_url": self.upstream.url,
            "store": self.store,
            "listen": "127.0.0.1:0",
            "admin_listen": "127.0.0.1:0",
            "require_key": "false",
            "log_format": "json",
            "log_level": "debug",
            "drain_seconds": 5,
        }
        return Launcher(self.home, settings | given, self.prefix, self.environ)

    async def serve(self, **given: object) -> Daemon:
        """Start a `bearerd serve` that ends with the test."""
        daemon = await Daemon.start(self.launcher(**given))
        self._stack.push_async_callback(daemon.kill)
        return daemon

    async def run(
        self, *args: str, patience: float = 25.0, **given: object
    ) -> Finished:
        """Run one command of bearerd."""
        launcher = replace(self.launcher(**given))
        return await launcher.run(*args, patience=patience)

    async def run_together(self, number: int, *args: str, **given: Any) -> list[int]:
        """Run one command several times at once. Return the exit codes."""
        runs = [self.run(*args, patience=60, **given) for _ in range(number)]
        return [finished.code for finished in await asyncio.gather(*runs)]

    def log_in(self, account_id: str = "acct-a", **options: Any) -> Family:
        """Begin a family and put it into the store, as a sign-in by another tool does."""
        family = self.authority.sign_in(account_id, **options)
        self.put(family)
        return family

    def put(self, family: Family, **tokens: object) -> None:
        """Write the newest tokens of a family into the store."""
        write_whole(self.store, self.authority.document(family, tokens))

    def stored(self) -> dict[str, Any]:
        """Return the document in the store."""
        document = json.loads(self.store.read_text())
        assert isinstance(document, dict)
        return document

    def stored_refresh_token(self) -> str:
        """Return the refresh token in the store, or nothing."""
        try:
            return str(json.loads(self.store.read_bytes())["tokens"]["refresh_token"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def holding(self, text: str) -> list[str]:
        """Return the files below the test's folder that contain *text*."""
        return [
            str(path.relative_to(self.folder))
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and text.encode() in content_of(path)
        ]

    def state_files(self) -> dict[str, bytes]:
        """Return the files beside the store."""
        return {
            path.name: path.read_bytes()
            for path in self.store.parent.iterdir()
            if path.is_file() and path.name.startswith(STORE)
        }

    async def kept(self, family: Family, calls: int | None = None) -> None:
        """Assert the same as `assert_kept`, once the live token has reached the disk."""
        with suppress(AssertionError):
            await until(lambda: bool(self.holding(family.live_token)), "saved", 9)
        self.assert_kept(family, calls)

    def assert_kept(self, family: Family, calls: int | None = None) -> None:
        """Assert that the family is alive, on disk, and never presented a spent token."""
        seen = [(call.standing, call.status) for call in self.authority.calls]
        assert family.is_alive, f"the family is dead: {seen}"
        assert self.authority.reuses == 0, seen
        assert self.holding(family.live_token), f"the live token is in no file: {seen}"
        if calls is not None:
            assert len(seen) == calls, seen
