"""A `bearerd serve` process between raw connections, so that its memory can be
measured.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bearerd.sandbox import Sandbox
from tests.support import Canary
from tests.support.process import ServeProcess, serving
from tests.wire.gateway import login_document
from tests.wire.peers import Peer


class Daemon:
    """A running `bearerd serve`, and the port of its relay."""

    def __init__(self, served: ServeProcess, port: int) -> None:
        self.served = served
        self.port = port
        self.pid = served.process.pid

    async def client(self) -> Peer:
        """Return a new client connection."""
        return await Peer.connect(self.port)

    def resident_bytes(self) -> int:
        """Return its memory (RSS) now."""
        return self._kilobytes("VmRSS") << 10

    def highest_resident_bytes(self) -> int:
        """Return the peak of its memory (RSS)."""
        return self._kilobytes("VmHWM") << 10

    def _kilobytes(self, name: str) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1])
        raise LookupError(name)


@asynccontextmanager
async def daemon(
    folder: Path, canary: Canary, upstream_port: int, **settings: object
) -> AsyncIterator[Daemon]:
    """Run a daemon that requires no key, in front of a loopback port."""
    store = folder / "auth.json"
    store.write_text(json.dumps(login_document()))
    given = {
        "upstream_url": f"http://127.0.0.1:{upstream_port}/backend-api",
        "require_key": "false",
        **settings,
    }
    async with Sandbox() as authority, serving(store, authority, canary, **given) as up:
        started = await up.wait_for("service.started")
        yield Daemon(up, int(started["relay"][0].rsplit(":", 1)[1]))
