"""`bearerd serve`: the daemon, until a signal ends it."""

from __future__ import annotations

import typer

from bearerd.cli.flags import with_settings
from bearerd.settings import Settings


def register(program: typer.Typer) -> None:
    """Add the command to *program*."""
    epilog = (
        "Example: bearerd serve --listen '127.0.0.1:8787, unix:/run/bearerd.sock'. "
        "Each flag is also an environment variable, BEARERD_NAME, and a key in the TOML "
        "file. A flag overrides the environment, and the environment overrides the file."
    )
    program.command("serve", epilog=epilog)(serve)


@with_settings()
def serve(settings: Settings) -> int:
    """Run the daemon that agents connect to.

    It creates a first client key if there is none, and prints its path. It also starts
    without a login, and uses one as soon as it appears. SIGTERM, SIGHUP and Ctrl-C let
    the requests in flight end. A second signal aborts them, and a third also aborts a
    refresh in progress.
    """
    from bearerd.cli.run_daemon import run_daemon

    return run_daemon(settings)
