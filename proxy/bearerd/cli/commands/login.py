"""`bearerd login`: a person signs in, and the profile has a login of its own."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated, Final

import typer

from bearerd.cli.flags import AUTHORITY, STORE, Profile, with_settings
from bearerd.cli.program import complain
from bearerd.settings import Settings

if TYPE_CHECKING:
    from bearerd.credential.authority.client import (
        DeviceAuthorization,
        SignInAuthority,
    )
    from bearerd.credential.token import Credential


STDIN: Final = 0


def register(program: typer.Typer) -> None:
    """Add the command to *program*."""
    epilog = "Example, on a machine without a browser: bearerd login --device"
    program.command("login", epilog=epilog)(login)


@with_settings(*STORE, *AUTHORITY)
def login(
    settings: Settings,
    *,
    profile: Profile = "default",
    device: Annotated[
        bool,
        typer.Option(
            "--device", help="Type a short code in elsewhere; no browser here."
        ),
    ] = False,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Only print the address of the page.")
    ] = False,
    revoke_previous: Annotated[
        bool,
        typer.Option(
            "--revoke-previous",
            help="Sign the login out that was here, even if Codex uses it too.",
        ),
    ] = False,
) -> int:
    """Sign in, and keep the login in this profile's store.

    A page of the authority opens in the browser. If that runs on another machine, sign
    in there, and paste the address that it ends at, though no page comes up. The profile
    then belongs to the account that signed in. A running daemon takes the login up by
    itself. The login that was here before is signed out, unless Codex has it too.
    """
    from bearerd.cli.interruptible import run
    from bearerd.cli.sign_in import Parting, sign_in

    chosen = settings.profile(profile)
    opens = not no_browser
    credential = run(
        sign_in(
            settings,
            chosen,
            lambda authority: _ask(authority, is_device=device, opens=opens),
            Parting(is_forced=revoke_previous),
        )
    )
    account = credential.account_id or "an account that its token does not name"
    typer.echo(f"profile {profile} is signed in to {account}: {chosen.store}")
    return 0


async def _ask(
    authority: SignInAuthority, *, is_device: bool, opens: bool
) -> Credential:
    """Let the person sign in, in one of the two ways."""
    from bearerd.cli.terminal import has_browser, open_browser, typed_lines
    from bearerd.clock import Clock
    from bearerd.credential.authority.browser_flow import sign_in_by_browser
    from bearerd.credential.authority.device_flow import sign_in_by_device

    if is_device:
        return await sign_in_by_device(authority, clock=Clock(), show=_show_device)

    def show(page: str) -> None:
        typer.echo(f"Sign in on this page:\n\n  {page}\n", err=True)
        if opens and has_browser(os.environ, sys.platform):
            open_browser(page)
        typer.echo(
            "If the browser runs on another machine, paste the address that it ends at "
            "here:",
            err=True,
        )

    return await sign_in_by_browser(
        authority,
        show=show,
        pasted=typed_lines(STDIN),
        unfit=lambda why: complain(f"that is not the address of this sign-in: {why}"),
    )


def _show_device(device: DeviceAuthorization) -> None:
    typer.echo(
        f"On any machine, open\n\n  {device.page}\n\nand type in this code within 15 "
        f"minutes:\n\n  {device.user_code}\n\nType it only if you ran this command "
        "yourself.",
        err=True,
    )
