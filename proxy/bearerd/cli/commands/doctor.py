"""`bearerd doctor`: the findings of all checks, each with its remedy."""

from __future__ import annotations

import asyncio
import json as json_text
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bearerd.cli.flags import with_settings
from bearerd.settings import Settings, config_path

if TYPE_CHECKING:
    from bearerd.doctor.findings import Finding
    from bearerd.doctor.runner import Machine


def register(program: typer.Typer) -> None:
    """Add the command to *program*."""
    epilog = "Example: bearerd doctor --online"
    program.command("doctor", epilog=epilog)(doctor)


@with_settings()
def doctor(
    settings: Settings,
    context: typer.Context,
    *,
    json: Annotated[
        bool, typer.Option("--json", help="Print the findings as JSON.")
    ] = False,
    online: Annotated[
        bool,
        typer.Option(
            "--online",
            help="Also contact the authority and the upstream, through the same proxy as "
            "the daemon, and compare clocks. No token is sent.",
        ),
    ] = False,
) -> int:
    """Check settings, store, login, daemon and ports, and suggest remedies.

    It changes nothing, and without --online it contacts no other machine. Exit code 0:
    there is no failure, though perhaps a warning. Exit code 1: something has to be
    repaired. Exit code 3: only a sign-in is needed.
    """
    from bearerd.doctor.findings import exit_code
    from bearerd.doctor.runner import run_checks

    findings = asyncio.run(run_checks(settings, _machine(context), is_online=online))
    code = exit_code(findings)
    if json:
        document = {
            "exit_code": code,
            "findings": [_document(finding) for finding in findings],
        }
        typer.echo(json_text.dumps(document, indent=2))
    else:
        typer.echo("\n".join(_lines(findings)))
    return code


def _machine(context: typer.Context) -> Machine:
    from bearerd.cli.admin_client import get_json
    from bearerd.clock import Clock
    from bearerd.credential.store.codex import codex_file
    from bearerd.doctor.codex import installed_version
    from bearerd.doctor.runner import Machine
    from bearerd.files.mounts import read_mounts

    return Machine(
        environ=os.environ,
        config=config_path(context.params.get("config"), os.environ),
        codex=codex_file(os.environ.get("CODEX_HOME"), Path.home()),
        mounts=read_mounts(),
        clock=Clock(),
        get_json=get_json,
        codex_version=installed_version(os.environ.get("PATH")),
    )


def _document(finding: Finding) -> dict[str, object]:
    """Return *finding* under its public names."""
    return {
        "topic": finding.topic,
        "verdict": finding.verdict,
        "said": finding.message,
        "remedy": finding.remedy,
        "needs_sign_in": finding.needs_sign_in,
        "profile": finding.profile,
    }


def _lines(findings: Sequence[Finding]) -> Iterator[str]:
    profiles = {finding.profile for finding in findings} - {None}
    for finding in findings:
        topic = finding.topic
        if finding.profile is not None and len(profiles) > 1:
            topic = f"{finding.profile}: {topic}"
        yield f"{finding.verdict:8} {topic:14} {finding.message}"
        if finding.remedy:
            yield f"{'':23} to do: {finding.remedy}"
