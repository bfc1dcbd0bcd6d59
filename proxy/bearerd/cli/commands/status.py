"""`bearerd status`: how the login is, and whether the daemon runs."""

from __future__ import annotations

import dataclasses
import json as json_text
from typing import Annotated, Any, Final

import typer

from bearerd.cli.admin_client import get_json
from bearerd.cli.flags import AUTHORITY, STORE, with_settings
from bearerd.cli.status_text import lines
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
        typer.Option("--profile", metavar="NAME", help="One login; all if not given."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Exit with 0 if all is well, 3 if a sign-in is needed, 1 if the daemon "
            "does not run or waits for an authority.",
        ),
    ] = False,
) -> int:
    """Say how the login is, and whether the daemon runs.

    The daemon is asked by its admin listener. If none answers, the store is read.
    """
    names = [settings.profile(profile).name] if profile else list(settings.profiles)
    document = get_json(settings.admin_listen, "/api/status")
    if document is None:
        document = {"running": False, "profiles": _read(settings, names)}
    else:
        kept = [one for one in document["profiles"] if one["profile"] in names]
        document = {"running": True, **document, "profiles": kept}
    if json:
        typer.echo(json_text.dumps(document, indent=2))
    else:
        from time import time

        typer.echo("\n".join(lines(document, time())))
    return _verdict(document) if check else 0


def _read(settings: Settings, names: list[str]) -> list[dict[str, Any]]:
    """Return what the stores of the profiles hold."""
    from bearerd.cli.one_shot import with_source
    from bearerd.credential.source import CredentialSource
    from bearerd.credential.status import SourceStatus

    async def look(source: CredentialSource) -> SourceStatus:
        await source.reload_if_changed()
        return source.status()

    found = [with_source(settings, name, look) for name in names]
    return [dataclasses.asdict(one) for one in found]


def _verdict(document: dict[str, Any]) -> int:
    profiles = document["profiles"]
    if any(one["state"] in SIGN_IN_STATES or one["message"] for one in profiles):
        return ExitCode.SIGN_IN_NEEDED
    is_well = document["running"] and all(
        one["state"] == "ready" and not one["last_error"] for one in profiles
    )
    return ExitCode.OK if is_well else ExitCode.FAILED


SIGN_IN_STATES: Final = frozenset({"login_required", "account_changed"})
