"""`bearerd key`: the keys that let clients in."""

from __future__ import annotations

import json as json_text
from datetime import UTC, datetime
from typing import Annotated

import typer

from bearerd.cli.flags import STORE, Profile, with_settings
from bearerd.cli.program import show_help
from bearerd.keys.ring import KeyRing
from bearerd.settings import Settings

Name = Annotated[str, typer.Argument(metavar="NAME", help="The client that has it.")]


def register(program: typer.Typer) -> None:
    """Add the command and its three parts to *program*."""
    group = typer.Typer(
        rich_markup_mode=None,
        help="Make, list and revoke client keys. A running daemon follows by itself.",
    )
    group.callback(invoke_without_command=True)(show_help)
    group.command("create", epilog="Example: bearerd key create laptop")(create)
    group.command("list", epilog="Example: bearerd key list --json")(list_)
    group.command("revoke", epilog="Example: bearerd key revoke laptop")(revoke)
    program.add_typer(group, name="key")


@with_settings(*STORE)
def create(settings: Settings, name: Name, *, profile: Profile = "default") -> int:
    """Make a key for the client NAME and print it. It is not shown again."""
    settings.profile(profile)
    key = ring(settings).create(name, profile)
    typer.echo(f"the key of {name}; only its SHA-256 is kept:", err=True)
    typer.echo(key)
    return 0


@with_settings(*STORE)
def list_(
    settings: Settings,
    *,
    json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
) -> int:
    """List the keys: names, profiles, rights and dates."""
    keys = [
        {
            "name": entry.name,
            "profile": entry.profile,
            "may": sorted(entry.may),
            "created_at": entry.created_at,
        }
        for entry in ring(settings).entries()
    ]
    if json:
        typer.echo(json_text.dumps(keys, indent=2))
        return 0
    if not keys:
        typer.echo("there is no key; make one with `bearerd key create NAME`", err=True)
    for entry in ring(settings).entries():
        made = datetime.fromtimestamp(entry.created_at, UTC).strftime("%Y-%m-%d %H:%M")
        may = ",".join(sorted(entry.may))
        typer.echo(f"{entry.name:24} {entry.profile:12} {may:8} {made} UTC")
    return 0


@with_settings(*STORE)
def revoke(settings: Settings, name: Name) -> int:
    """Make the key of NAME good for nothing, in a running daemon too."""
    ring(settings).revoke(name)
    typer.echo(f"the key of {name} is revoked", err=True)
    return 0


def ring(settings: Settings) -> KeyRing:
    """Return the keys that these settings speak of."""
    return KeyRing.load(settings.keys_file)
