"""`bearerd token`: a valid access token, for a program that cannot use the relay."""

from __future__ import annotations

import json as json_text
import sys
from typing import Annotated

import typer

from bearerd.cli.flags import AUTHORITY, STORE, Profile, with_settings
from bearerd.cli.program import complain
from bearerd.settings import Settings


def register(program: typer.Typer) -> None:
    """Add the command to *program*."""
    program.command("token", epilog="Example: bearerd token --profile work")(token)


@with_settings(*STORE, *AUTHORITY)
def token(
    settings: Settings,
    *,
    profile: Profile = "default",
    json: Annotated[
        bool, typer.Option("--json", help="Print account and expiry too, as JSON.")
    ] = False,
) -> int:
    """Print a valid access token on stdout.

    It is refreshed first if it has to be, under the lock that a running daemon uses too.
    Agents that can set a base URL are better off with the relay and a client key: they
    then hold nothing that is worth stealing.
    """
    from bearerd.cli.one_shot import with_source

    settings.profile(profile)
    if sys.stdout.isatty():
        complain("what follows is a secret; whoever has it can use the account")
    credential = with_source(settings, profile, lambda source: source.current())
    if json:
        document = {
            "profile": profile,
            "access_token": credential.access_token,
            "account_id": credential.account_id,
            "expires_at": credential.expires_at,
        }
        typer.echo(json_text.dumps(document, indent=2))
    else:
        typer.echo(credential.access_token)
    return 0
