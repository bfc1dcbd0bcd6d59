"""A network of its own on this machine, which a test can cut and mend."""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import socket
import threading
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

CLONE_NEWNET = 0x40000000
BIGGER_THAN_A_HANDSHAKE = 120
"""Packets of a TCP handshake and bare acknowledgements are smaller than this."""

needs_namespaces = pytest.mark.skipif(
    os.geteuid() != 0 or not (shutil.which("ip") and shutil.which("nft")),
    reason="needs root, ip and nft",
)


class Namespace:
    """One network namespace with a loopback interface. Owns its packet filter."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def prefix(self) -> tuple[str, ...]:
        """What goes before a command that runs in this network."""
        return ("ip", "netns", "exec", self.name)

    def listen(self) -> socket.socket:
        """Return a socket that listens on this network's loopback."""
        made: list[socket.socket] = []

        def inside() -> None:
            with Path(f"/run/netns/{self.name}").open("rb") as network:
                libc = ctypes.CDLL(None, use_errno=True)
                assert libc.setns(network.fileno(), CLONE_NEWNET) == 0
            made.append(socket.create_server(("127.0.0.1", 0)))

        thread = threading.Thread(target=inside)
        thread.start()
        thread.join()
        return made[0]

    async def lose_data_to(self, port: int) -> None:
        """Lose each packet to a port that carries data. Handshakes pass."""
        await self._filter(
            f"tcp dport {port} meta length > {BIGGER_THAN_A_HANDSHAKE} counter drop"
        )

    async def cut(self, port: int) -> None:
        """Lose every packet from and to a port."""
        await self._filter(f"tcp dport {port} counter drop")
        await self._filter(f"tcp sport {port} counter drop")

    async def mend(self) -> None:
        """Let every packet pass."""
        await run("nft", "flush", "ruleset", prefix=self.prefix)

    async def lost_packets(self) -> int:
        """Return how many packets were lost since the last mending."""
        text = await run("nft", "list", "ruleset", prefix=self.prefix)
        words = text.split()
        return sum(
            int(words[at + 2]) for at, word in enumerate(words) if word == "counter"
        )

    async def _filter(self, rule: str) -> None:
        chain = "{ type filter hook input priority 0; policy accept; }"
        for line in (
            "add table inet cut",
            f"add chain inet cut input {chain}",
            f"add rule inet cut input {rule}",
        ):
            await run("nft", line, prefix=self.prefix)


async def run(*command: str, prefix: tuple[str, ...] = ()) -> str:
    """Run a command of the system to its end; fail if it fails."""
    process = await asyncio.create_subprocess_exec(
        *prefix, *command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, (command, err.decode())
    return out.decode()


@asynccontextmanager
async def own_network() -> AsyncIterator[Namespace]:
    """Give a network namespace, and remove it afterwards."""
    name = f"login-{os.getpid()}-{id(object()) & 0xFFFF:x}"
    await run("ip", "netns", "add", name)
    try:
        await run("ip", "-n", name, "link", "set", "lo", "up")
        yield Namespace(name)
    finally:
        await run("ip", "netns", "delete", name)
