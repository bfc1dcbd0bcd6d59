"""`bearerd logout`: the login is signed out, and its file is gone."""

from __future__ import annotations

import typer

from bearerd.cli.flags import AUTHORITY, STORE, Profile, with_settings
from bearerd.settings import Settings


def register(program: typer.Typer) -> None:
    """Add the command to *program*."""
    program.command("logout", epilog="Example: bearerd logout --profile work")(logout)


@with_settings(*STORE, *AUTHORITY)
def logout(settings: Settings, *, profile: Profile = "default") -> int:
    """Sign the profile's login out at the authority, and remove its file.

    The file goes even if the authority is not reached. Whoever shares the login, such as
    Codex where the store is its file, is signed out too. Client keys stay, and so does
    the account that the profile belongs to.
    """
    from bearerd.cli.interruptible import run
    from bearerd.cli.sign_in import sign_out

    chosen = settings.profile(profile)
    if run(sign_out(settings, chosen)):
        typer.echo(f"profile {profile} is signed out; {chosen.store} is removed")
    else:
        typer.echo(f"profile {profile} was not signed in", err=True)
    return 0
