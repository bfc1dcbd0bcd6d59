"""`bearerd adopt`: confirms that a profile now belongs to another account."""

from __future__ import annotations

import typer

from bearerd.cli.flags import AUTHORITY, STORE, Profile, with_settings
from bearerd.errors import ExitCode, StoreError
from bearerd.settings import Settings


def register(program: typer.Typer) -> None:
    """Add the command to *program*."""
    program.command("adopt", epilog="Example: bearerd adopt --profile work")(adopt)


@with_settings(*STORE, *AUTHORITY)
def adopt(settings: Settings, *, profile: Profile = "default") -> int:
    """Confirm the account that the store has now.

    A profile belongs to one account. If its file suddenly has another one, requests get
    `account_changed`: otherwise agents would write into a wrong account. This command
    confirms that the change is intended.
    """
    from bearerd.cli.one_shot import run_with_source

    try:
        credential = run_with_source(settings, profile, lambda source: source.adopt())
    except TimeoutError as error:
        raise StoreError(
            f"{error}: another process has held this lock for too long; end that "
            "process, or wait for it, and try again"
        ) from error
    account = credential.account_id or "an account that its token does not name"
    typer.echo(f"profile {profile} now belongs to {account}")
    return ExitCode.OK
