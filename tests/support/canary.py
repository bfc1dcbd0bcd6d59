"""The canary: a secret in anything that the program emits fails the test.

It knows secrets by name (client keys, all tokens of a sandbox) and by shape (a JWT, whole
or cut off, and a refresh token of the sandbox). Rule: what it reports never quotes one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from bearerd.sandbox import Sandbox

SHAPES = {
    "a JWT": re.compile(r"\beyJ[A-Za-z0-9_-]{8,}"),
    "a refresh token": re.compile(r"\bsandbox-rt-[0-9]+-[0-9]+-[0-9a-f]{6,}"),
}

SHORTEST = 12
"""A secret's beginning or end of this length gives too much of it away."""


class Canary:
    """Owns what was emitted in one test, and what must not be in it."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._sandboxes: list[Sandbox] = []
        self._emitted: list[tuple[str, str]] = []

    def knows(self, name: str, secret: str) -> None:
        """Look for *secret* too, and call it *name*."""
        self._known[secret] = name

    def watches(self, sandbox: Sandbox) -> None:
        """Look for every token that *sandbox* has minted by the end of the test."""
        self._sandboxes.append(sandbox)

    def saw(self, where: str, text: str) -> None:
        """Note what was emitted: a log line, a page, an error's body."""
        self._emitted.append((where, text))

    def found(self) -> list[str]:
        """Return a line for each place that gave a secret away."""
        secrets = dict(self._secrets())
        return sorted(
            {
                f"{where} shows {name}"
                for where, text in self._emitted
                for name in self._names_in(text, secrets)
            }
        )

    def _secrets(self) -> Iterator[tuple[str, str]]:
        yield from self._known.items()
        for sandbox in self._sandboxes:
            for secret in sandbox.tokens._access_tokens:
                yield secret, "an access token"
            for secret in sandbox.tokens._refresh_tokens:
                yield secret, "a refresh token"

    @staticmethod
    def _names_in(text: str, secrets: dict[str, str]) -> Iterator[str]:
        for name, shape in SHAPES.items():
            if shape.search(text):
                yield name
        for secret, name in secrets.items():
            # The beginning is no secret where the shape is common to all (a JWT's
            # header); the end always is.
            if secret[-SHORTEST:] in text:
                yield name
