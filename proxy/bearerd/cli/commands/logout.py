"""`bearerd logout`: the login is revoked, and its file is removed."""

from __future__ import annotations

import typer

from bearerd.cli.flags import (
    AUTHORITY,
    AUTHORITY_TIMEOUT,
    CALL_AND_LOCK,
    STORE,
    Profile,
    with_settings,
)
from bearerd.errors import ExitCode
from bearerd.settings import Settings


def register(program: typer.Typer) -> None:
    """Add the command to *program*."""
    program.command("logout", epilog="Example: bearerd logout --profile work")(logout)


@with_settings(*STORE, *AUTHORITY, help_texts={AUTHORITY_TIMEOUT: CALL_AND_LOCK})
def logout(settings: Settings, *, profile: Profile = "default") -> int:
    """Revoke the profile's login at the authority, and remove its file.

    The file is removed even if the authority is not reached; the login then stays valid
    there, with a warning. Every program that shares the login is signed out, such as
    Codex where the store is Codex's file. Client keys stay, and the profile still belongs
    to its account.
    """
    from bearerd.cli.one_shot import run_async
    from bearerd.cli.sign_in import sign_out

    chosen = settings.profile(profile)
    if run_async(sign_out(settings, chosen)):
        typer.echo(f"profile {profile} is signed out; {chosen.store} is removed")
    else:
        typer.echo(f"profile {profile} was not signed in", err=True)
    return ExitCode.OK
