"""`bearerd key`: creates, lists and revokes client keys."""

from __future__ import annotations

import json as json_text
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from bearerd.cli.flags import STORE, Profile, with_settings
from bearerd.cli.program import require_subcommand
from bearerd.errors import ExitCode
from bearerd.keys.ring import KeyRing
from bearerd.settings import Settings

Name = Annotated[str, typer.Argument(metavar="NAME", help="The name of the client.")]


class NamedCommand(TyperCommand):
    """A command whose usage shows its argument as NAME; typer has {NAME}."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the parts of the line of usage."""
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]


def register(program: typer.Typer) -> None:
    """Add the command and its three subcommands to *program*."""
    group = typer.Typer(
        rich_markup_mode=None,
        help="Create, list and revoke client keys. A running daemon needs no restart.",
    )
    group.callback(invoke_without_command=True)(require_subcommand)
    group.command(
        "create", cls=NamedCommand, epilog="Example: bearerd key create laptop"
    )(create)
    group.command("list", epilog="Example: bearerd key list --json")(list_)
    group.command(
        "revoke", cls=NamedCommand, epilog="Example: bearerd key revoke laptop"
    )(revoke)
    program.add_typer(group, name="key")


@with_settings(*STORE)
def create(settings: Settings, name: Name, *, profile: Profile = "default") -> int:
    """Create a key for the client NAME, and print it. It cannot be shown again."""
    settings.profile(profile)
    key = load_keys(settings).create(name, profile)
    typer.echo(f"the key of {name}; only its SHA-256 is stored:", err=True)
    typer.echo(key)
    return ExitCode.OK


@with_settings(*STORE)
def list_(
    settings: Settings,
    *,
    json: Annotated[
        bool, typer.Option("--json", help="Print the list as JSON.")
    ] = False,
) -> int:
    """List the keys: names, profiles, permissions and dates."""
    entries = list(load_keys(settings).entries())
    if json:
        document = [
            {
                "name": entry.name,
                "profile": entry.profile,
                "may": sorted(entry.allowed),
                "created_at": entry.created_at,
            }
            for entry in entries
        ]
        typer.echo(json_text.dumps(document, indent=2))
        return ExitCode.OK
    if not entries:
        typer.echo(
            "there is no key; create one with `bearerd key create NAME`", err=True
        )
    for entry in entries:
        created = datetime.fromtimestamp(entry.created_at, UTC)
        permissions = ",".join(sorted(entry.allowed))
        typer.echo(
            f"{entry.name:24} {entry.profile:12} {permissions:8} "
            f"{created:%Y-%m-%d %H:%M} UTC"
        )
    return ExitCode.OK


@with_settings(*STORE)
def revoke(settings: Settings, name: Name) -> int:
    """Make the key of NAME invalid, in a running daemon too."""
    load_keys(settings).revoke(name)
    typer.echo(f"the key of {name} is revoked", err=True)
    return ExitCode.OK


def load_keys(settings: Settings) -> KeyRing:
    """Return the client keys of these settings."""
    return KeyRing.load(settings.keys_file)
