"""`bearerd adopt`: yes, this other account is the one."""

from __future__ import annotations

import typer

from bearerd.cli.flags import AUTHORITY, STORE, Profile, with_settings
from bearerd.errors import StoreError
from bearerd.settings import Settings


def register(program: typer.Typer) -> None:
    """Add the command to *program*."""
    program.command("adopt", epilog="Example: bearerd adopt --profile work")(adopt)


@with_settings(*STORE, *AUTHORITY)
def adopt(settings: Settings, *, profile: Profile = "default") -> int:
    """Go on with the account that the store holds now.

    A profile belongs to one account. When its file suddenly holds another, requests are
    answered `account_changed`, because agents would write into somebody else's account.
    This command says that the change is meant.
    """
    from bearerd.cli.one_shot import with_source

    try:
        credential = with_source(settings, profile, lambda source: source.adopt())
    except TimeoutError as error:
        raise StoreError(
            f"{error}: another process has held this lock for too long; try again"
        ) from error
    account = credential.account_id or "an account that its token does not name"
    typer.echo(f"profile {profile} now belongs to {account}")
    return 0
