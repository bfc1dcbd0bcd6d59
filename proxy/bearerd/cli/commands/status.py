"""`bearerd status`: the state of the login and of the daemon."""

from __future__ import annotations

import json as json_text
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import typer

from bearerd.admin.status import ServiceStatus, parse_status, source_document
from bearerd.cli.admin_client import get_json
from bearerd.cli.flags import AUTHORITY, STORE, with_settings
from bearerd.cli.status_text import status_lines
from bearerd.credential.status import SourceStatus
from bearerd.errors import ExitCode
from bearerd.settings import Settings


def register(program: typer.Typer) -> None:
    """Add the command to *program*."""
    epilog = "Example, for a monitor: bearerd status --check || notify"
    program.command("status", epilog=epilog)(status)


@with_settings("admin_listen", *STORE, *AUTHORITY)
def status(
    settings: Settings,
    *,
    profile: Annotated[
        str | None,
        typer.Option("--profile", metavar="NAME", help="Only this profile."),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the status as JSON.")
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Exit with 0 if every profile is usable, with 3 if a sign-in is needed, "
            "and with 1 if the daemon does not run, or if a profile is degraded or blocked "
            "for another reason.",
        ),
    ] = False,
) -> int:
    """Show the state of the login and of the daemon.

    The daemon is asked through its admin listener. If it does not run, the login in the
    store is shown.
    """
    names = [settings.profile(profile).name] if profile else list(settings.profiles)
    document = _ask_daemon(settings, names)
    daemon = parse_status(document) if document is not None else None
    sources = daemon.sources if daemon else _read_stores(settings, names)
    if document is None:
        profiles = [source_document(source) for source in sources]
        document = {"running": False, "profiles": profiles}
    if json:
        typer.echo(json_text.dumps(document, indent=2))
    else:
        from time import time

        typer.echo("\n".join(status_lines(daemon, sources, time())))
    return _verdict(daemon, sources) if check else ExitCode.OK


def _ask_daemon(settings: Settings, names: Sequence[str]) -> dict[str, Any] | None:
    """Return the daemon's JSON with these profiles only; None if no daemon runs."""
    document = get_json(settings.admin_listen, "/api/status")
    if document is None:
        return None
    profiles = document.get("profiles", [])
    shown = [profile for profile in profiles if profile.get("profile") in names]
    return {"running": True, **document, "profiles": shown}


def _read_stores(settings: Settings, names: Sequence[str]) -> tuple[SourceStatus, ...]:
    """Return the status of the logins in the stores of these profiles."""
    from bearerd.cli.one_shot import run_with_source
    from bearerd.credential.source import CredentialSource

    async def read(source: CredentialSource) -> SourceStatus:
        await source.reload_if_changed()
        # This process has just begun to look, so it does not know since when.
        return replace(source.status(), since=None)

    return tuple(run_with_source(settings, name, read) for name in names)


def _verdict(daemon: ServiceStatus | None, sources: Sequence[SourceStatus]) -> ExitCode:
    if any(source.needs_sign_in for source in sources):
        return ExitCode.SIGN_IN_NEEDED
    is_well = daemon is not None and all(source.is_well for source in sources)
    return ExitCode.OK if is_well else ExitCode.FAILED
