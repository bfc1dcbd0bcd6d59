"""`bearerd login`: a person signs in, and the profile has a login of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Final

import typer

from bearerd.cli.flags import (
    AUTHORITY,
    AUTHORITY_TIMEOUT,
    CALL_AND_LOCK,
    STORE,
    Profile,
    with_settings,
)
from bearerd.cli.program import print_stderr
from bearerd.errors import ExitCode
from bearerd.settings import Settings

if TYPE_CHECKING:
    from bearerd.credential.authority.client import AuthorityClient
    from bearerd.credential.authority.device_code import DeviceAuthorization
    from bearerd.credential.token import Credential


STDIN: Final = 0

ByDevice = Annotated[
    bool,
    typer.Option(
        "--device",
        help="Print a short code to type in on any machine; opens no browser.",
    ),
]
NoBrowser = Annotated[
    bool,
    typer.Option(
        "--no-browser", help="Print the URL of the sign-in page without opening it."
    ),
]
AlwaysRevokes = Annotated[
    bool,
    typer.Option(
        "--revoke-previous", help="Revoke the previous login even if Codex uses it too."
    ),
]


def register(program: typer.Typer) -> None:
    """Add the command to *program*."""
    epilog = "Example, on a machine without a browser: bearerd login --device"
    program.command("login", epilog=epilog)(login)


@with_settings(*STORE, *AUTHORITY, help_texts={AUTHORITY_TIMEOUT: CALL_AND_LOCK})
def login(
    settings: Settings,
    *,
    profile: Profile = "default",
    device: ByDevice = False,
    no_browser: NoBrowser = False,
    revoke_previous: AlwaysRevokes = False,
) -> int:
    """Sign in, and keep the login in the profile's store.

    A page of the authority opens in the browser. If the browser runs on another machine,
    sign in there and paste the URL at which it ends; that page does not load. From then
    on the profile belongs to the account that signed in. A running daemon uses the login
    without a restart. The previous login is revoked, unless Codex has it too.
    """
    from bearerd.cli.one_shot import run_async
    from bearerd.cli.sign_in import RevokePrevious, sign_in

    chosen = settings.profile(profile)
    flow = _by_device if device else _by_browser(opens_browser=not no_browser)
    policy = RevokePrevious.ALWAYS if revoke_previous else RevokePrevious.UNLESS_SHARED
    credential = run_async(sign_in(settings, chosen, flow, policy))
    account = credential.account_id or "an account that its token does not name"
    typer.echo(f"profile {profile} is signed in to {account}: {chosen.store}")
    return ExitCode.OK


async def _by_device(client: AuthorityClient) -> Credential:
    from bearerd.clock import Clock
    from bearerd.credential.authority.device_flow import sign_in_by_device

    return await sign_in_by_device(client, clock=Clock(), show_code=_show_code)


def _by_browser(
    *, opens_browser: bool
) -> Callable[[AuthorityClient], Awaitable[Credential]]:
    from bearerd.cli.terminal import has_browser, open_browser, typed_lines
    from bearerd.credential.authority.browser_flow import sign_in_by_browser

    def show_page(page: str) -> None:
        typer.echo(f"Sign in on this page:\n\n  {page}\n", err=True)
        if opens_browser and has_browser(os.environ, sys.platform):
            open_browser(page)
        typer.echo(
            "If the browser runs on another machine, paste the URL at which it ends:",
            err=True,
        )

    async def flow(client: AuthorityClient) -> Credential:
        return await sign_in_by_browser(
            client,
            show_page=show_page,
            pasted_lines=typed_lines(STDIN),
            on_mismatch=lambda why: print_stderr(
                f"this is not the URL at which this sign-in ends: {why}"
            ),
        )

    return flow


def _show_code(device: DeviceAuthorization) -> None:
    typer.echo(
        f"On any machine, open\n\n  {device.page}\n\nand type in this code within 15 "
        f"minutes:\n\n  {device.user_code}\n\nType it in only if you ran this command "
        "yourself.",
        err=True,
    )
