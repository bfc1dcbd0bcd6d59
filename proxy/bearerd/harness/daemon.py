"""A daemon as a process of its own: `bearerd serve`, started and stopped by its pid.

It sees none of this user's settings: no variable of ours, and an empty config file. Its
log is read as it comes, for the address that it listens on and for what went wrong.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import bearerd
from bearerd.errors import StartError
from bearerd.json_object import json_object

START_SECONDS: Final = 20.0
"""A start takes about 0.3 s of one core; several at once on a busy machine take more."""

STOP_SECONDS: Final = 5.0
SERVE: Final = (sys.executable, "-P", "-m", "bearerd", "serve")
LINE_LIMIT_BYTES: Final = 1 << 20


class Daemon:
    """One process. Owns it, and the memory of the last lines of its log."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._lines: deque[str] = deque(maxlen=20)
        self._base_url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read())

    @property
    def pid(self) -> int:
        """Return the id of the process."""
        return self._process.pid

    @property
    def last_words(self) -> str:
        """Return the last line of the log."""
        return self._lines[-1] if self._lines else "it said nothing"

    async def base_url(self) -> str:
        """Return the base URL for ChatGPT clients, once the daemon listens.

        Raises:
            StartError: it ended, or took too long.
        """
        try:
            async with asyncio.timeout(START_SECONDS):
                return await asyncio.shield(self._base_url)
        except TimeoutError:
            raise StartError(
                f"bearerd serve (pid {self.pid}) did not listen after "
                f"{START_SECONDS:.0f} s; its last line was: {self.last_words}"
            ) from None

    async def stop(self) -> None:
        """End the process, kindly at first, and return when it is gone."""
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
        await self._process.wait()
        await self._reading
        self._base_url.cancel()

    async def _read(self) -> None:
        assert self._process.stderr is not None  # noqa: S101 - started with a pipe
        async for line in self._process.stderr:
            text = line.decode(errors="replace").strip()
            self._lines.append(text)
            event = _event(text)
            if event.get("event") == "service.started" and not self._base_url.done():
                self._base_url.set_result(f"http://{event['relay'][0]}/backend-api")
        if not self._base_url.done():
            self._base_url.set_exception(
                StartError(f"bearerd serve did not start: {self.last_words}")
            )
            self._base_url.exception()  # seen, whether somebody waits or not


@asynccontextmanager
async def start_daemon(
    store: Path, settings: Mapping[str, str], environ: Mapping[str, str]
) -> AsyncIterator[Daemon]:
    """Run `bearerd serve` on *store*, with *settings* by name, for the context's time.

    *environ* is this process's environment. Any free ports; use `Daemon.base_url`.
    """
    config = store.with_name("empty.toml")
    config.touch()
    given = {
        "config": str(config),
        "store": str(store),
        "listen": "127.0.0.1:0",
        "admin_listen": "127.0.0.1:0",
        "log_format": "json",
        "drain_seconds": "1",
        **settings,
    }
    process = await asyncio.create_subprocess_exec(
        *SERVE,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=child_environment(environ, given),
        limit=LINE_LIMIT_BYTES,
    )
    daemon = Daemon(process)
    try:
        yield daemon
    finally:
        await daemon.stop()


def child_environment(
    environ: Mapping[str, str], settings: Mapping[str, str]
) -> dict[str, str]:
    """Return *environ* with these settings alone, and with this very code on the path.

    Settings travel here and not as flags, since everybody may read a command line.
    """
    kept = {k: v for k, v in environ.items() if not k.startswith("BEARERD_")}
    here = str(Path(bearerd.__file__).parent.parent)
    paths = [here, *filter(None, [kept.get("PYTHONPATH")])]
    ours = {f"BEARERD_{name.upper()}": value for name, value in settings.items()}
    return kept | ours | {"PYTHONPATH": os.pathsep.join(paths)}


def _event(text: str) -> dict[str, Any]:
    return json_object(text) or {}
