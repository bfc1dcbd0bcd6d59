"""`bearerd doctor`: what is wrong here, and what to do about it."""

from __future__ import annotations

import asyncio
import dataclasses
import json as json_text
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from bearerd.cli.flags import with_settings
from bearerd.settings import Folders, Settings
from bearerd.settings.origins import CONFIG

if TYPE_CHECKING:
    from bearerd.doctor.finding import Finding
    from bearerd.doctor.runner import Machine

MOUNTS: Final = Path("/proc/self/mounts")


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
            help="Call the authority and the upstream too, by the same way out as the "
            "daemon, and compare the clock. No token is sent.",
        ),
    ] = False,
) -> int:
    """Look at settings, store, login, daemon and ports; say what to do about each.

    It changes nothing, and without --online it asks nobody beyond this machine. Exit
    code 0: all is well, warnings apart; 1: something has to be mended; 3: a sign-in is
    all that is missing.
    """
    from bearerd.doctor.finding import exit_code
    from bearerd.doctor.runner import examine

    findings = asyncio.run(examine(settings, _machine(context), is_online=online))
    code = exit_code(findings)
    if json:
        document = {
            "exit_code": code,
            "findings": [dataclasses.asdict(finding) for finding in findings],
        }
        typer.echo(json_text.dumps(document, indent=2))
    else:
        typer.echo("\n".join(_lines(findings)))
    return code


def _machine(context: typer.Context) -> Machine:
    from bearerd.cli.admin_client import ask
    from bearerd.clock import Clock
    from bearerd.credential.store.codex import codex_file
    from bearerd.doctor.codex import installed_version
    from bearerd.doctor.runner import Machine

    return Machine(
        environ=os.environ,
        config=_config(context),
        codex=codex_file(os.environ.get("CODEX_HOME"), Path.home()),
        mounts=MOUNTS,
        clock=Clock(),
        ask=ask,
        codex_version=installed_version(os.environ.get("PATH")),
    )


def _config(context: typer.Context) -> Path | None:
    """Return the file that the settings were read from, if there was one."""
    named = context.params.get("config") or os.environ.get(CONFIG)
    usual = Folders().config / "bearerd.toml"
    if named:
        return Path(named)
    return usual if usual.exists() else None


def _lines(findings: Sequence[Finding]) -> Iterator[str]:
    profiles = {finding.profile for finding in findings} - {None}
    for finding in findings:
        topic = finding.topic
        if finding.profile is not None and len(profiles) > 1:
            topic = f"{finding.profile}: {topic}"
        yield f"{finding.verdict:8} {topic:14} {finding.said}"
        if finding.remedy:
            yield f"{'':23} to do: {finding.remedy}"
