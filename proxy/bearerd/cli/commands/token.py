"""`bearerd token`: a valid access token, for a program that cannot use the relay."""

from __future__ import annotations

import json as json_text
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from bearerd.cli.flags import (
    AUTHORITY,
    AUTHORITY_TIMEOUT,
    STORE,
    Profile,
    with_settings,
)
from bearerd.cli.program import print_stderr
from bearerd.errors import ExitCode
from bearerd.settings import Settings

if TYPE_CHECKING:
    from bearerd.credential.source import CredentialSource
    from bearerd.credential.token import Credential


AsJson = Annotated[
    bool, typer.Option("--json", help="Print account and expiry too, as JSON.")
]
Retry = Annotated[
    bool,
    typer.Option(
        "--retry",
        help="Request a new token from the authority now, even if it has refused "
        "this login permanently.",
    ),
]


def register(program: typer.Typer) -> None:
    """Add the command to *program*."""
    program.command("token", epilog="Example: bearerd token --profile work")(token)


@with_settings(
    *STORE,
    *AUTHORITY,
    help_texts={
        AUTHORITY_TIMEOUT: "How long the command waits for a refresh before it fails. "
        "The refresh goes on until the authority has answered."
    },
)
def token(
    settings: Settings,
    *,
    profile: Profile = "default",
    json: AsJson = False,
    retry: Retry = False,
) -> int:
    """Print a valid access token on stdout.

    The token is refreshed first if necessary, under the lock that a running daemon uses
    as well. An agent with a configurable base URL should use the relay and a client key
    instead: it then has nothing that is worth stealing.

    A login that the authority has refused permanently is not presented again. If the
    refusal was a mistake, as in an outage, --retry presents it once more. A running
    daemon then uses the new token without a restart.
    """
    from bearerd.cli.one_shot import run_with_source

    settings.profile(profile)
    if sys.stdout.isatty():
        print_stderr("the next line is a secret: it gives access to the account")
    use = _retried if retry else _current
    credential = run_with_source(settings, profile, use)
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
    return ExitCode.OK


async def _current(source: CredentialSource) -> Credential:
    return await source.current()


async def _retried(source: CredentialSource) -> Credential:
    """Return a new credential, even after a permanent refusal."""
    return await source.refresh(None, "expired", is_forced=True)
