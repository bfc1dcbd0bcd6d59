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
        "file; a flag beats the environment, and that beats the file."
    )
    program.command("serve", epilog=epilog)(serve)


@with_settings()
def serve(settings: Settings) -> int:
    """Run the daemon that agents talk to.

    It makes a first client key if there is none, and says where. Without a credential it
    runs and waits for one. SIGTERM and Ctrl-C let the requests in flight end; a second
    signal breaks them off, and only a third a refresh that is under way.
    """
    from bearerd.cli.run_daemon import run_daemon

    return run_daemon(settings)
