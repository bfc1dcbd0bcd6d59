"""The OpenAI SDK for Python, run by a small program that uses it as users do."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tests.clients.agent import Agent

PROGRAM = Path(__file__).with_name("sdk_turn.py")


@dataclass(frozen=True, slots=True)
class Told:
    """What the program told: the text, or the exception that was raised instead."""

    text: str | None = None
    raised: str | None = None
    status: int | None = None
    message: str = ""


class OpenAI:
    """One installation of the SDK. Keeps nothing between its turns."""

    def __init__(self, python: Path, agent: Agent) -> None:
        self._python = python
        self._agent = agent

    async def turn(self, base_url: str, key: str, way: str = "create") -> Told:
        """Run one turn, with `responses.create` or with the streaming helper."""
        ran = await self._agent.run(
            self._python, "-I", PROGRAM, base_url, way, CLIENT_KEY=key
        )
        assert ran.code == 0, ran.stderr
        return Told(**json.loads(ran.stdout))
