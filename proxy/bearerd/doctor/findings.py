"""The findings of checks, and the exit code that they lead to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from bearerd.errors import ExitCode

Verdict: TypeAlias = Literal["ok", "skipped", "warning", "failed"]
"""`warning`: it works now, but may not work tomorrow, or not on every machine."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact. `needs_sign_in` marks a failure that a sign-in is the remedy for."""

    topic: str
    verdict: Verdict
    message: str
    remedy: str = ""
    needs_sign_in: bool = False
    profile: str | None = None


def ok(topic: str, message: str) -> Finding:
    """Return a finding that needs no action."""
    return Finding(topic, "ok", message)


def skipped(topic: str, message: str) -> Finding:
    """Return a finding that something was not checked, and why."""
    return Finding(topic, "skipped", message)


def warning(topic: str, message: str, remedy: str) -> Finding:
    """Return a finding that an operator should look at."""
    return Finding(topic, "warning", message, remedy)


def failed(topic: str, message: str, remedy: str) -> Finding:
    """Return a finding that keeps bearerd from working."""
    return Finding(topic, "failed", message, remedy)


def sign_in_needed(topic: str, message: str, remedy: str) -> Finding:
    """Return a failure whose remedy is a sign-in."""
    return Finding(topic, "failed", message, remedy, needs_sign_in=True)


def exit_code(findings: Iterable[Finding]) -> ExitCode:
    """Return the exit code of a command that has these findings.

    1. A failure that needs more than a sign-in comes first: a sign-in into a store that
       cannot be written does not help.
    2. A failure that only needs a sign-in.
    3. No failure.
    """
    failures = [finding for finding in findings if finding.verdict == "failed"]
    if any(not finding.needs_sign_in for finding in failures):  # 1
        return ExitCode.FAILED
    return ExitCode.SIGN_IN_NEEDED if failures else ExitCode.OK  # 2, 3
