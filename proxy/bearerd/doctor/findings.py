"""What a check has found, and what all findings come to. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from bearerd.errors import ExitCode

Verdict: TypeAlias = Literal["ok", "skipped", "warning", "failed"]
"""`warning` is what works now and may not tomorrow, or not everywhere."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact. `wants_sign_in` marks a failure that only a sign-in mends."""

    topic: str
    verdict: Verdict
    said: str
    remedy: str = ""
    wants_sign_in: bool = False
    profile: str | None = None


def ok(topic: str, said: str) -> Finding:
    """Return a finding that is as it should be."""
    return Finding(topic, "ok", said)


def warning(topic: str, said: str, remedy: str) -> Finding:
    """Return a finding that is worth a person's thought."""
    return Finding(topic, "warning", said, remedy)


def failed(topic: str, said: str, remedy: str) -> Finding:
    """Return a finding that stops bearerd from working."""
    return Finding(topic, "failed", said, remedy)


def sign_in_wanted(topic: str, said: str, remedy: str) -> Finding:
    """Return a failure that a sign-in mends, and nothing else."""
    return Finding(topic, "failed", said, remedy, wants_sign_in=True)


def exit_code(findings: Sequence[Finding]) -> ExitCode:
    """Return 1 if something failed, 3 if a sign-in is all that is missing, else 0.

    In this order, since a sign-in into a store that cannot be written helps nobody.
    """
    bad = [finding for finding in findings if finding.verdict == "failed"]
    if any(not finding.wants_sign_in for finding in bad):
        return ExitCode.FAILED
    return ExitCode.SIGN_IN_NEEDED if bad else ExitCode.OK
