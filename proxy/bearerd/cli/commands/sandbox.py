"""`bearerd sandbox`: the stand-in authority and upstream by themselves."""

from __future__ import annotations

import asyncio
import json as json_text
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from bearerd.cli.signals import handle_signals
from bearerd.errors import ConfigurationError, ExitCode, StartError

if TYPE_CHECKING:
    from bearerd.sandbox import Sandbox

LAST_PORT: Final = 65535
TEN_DAYS_SECONDS: Final = 864000.0
"""About what the real authority gives."""

Port = Annotated[int, typer.Option(min=0, max=LAST_PORT, help="0: any free port.")]


def register(program: typer.Typer) -> None:
    """Add the command to *program*."""
    epilog = (
        "Example: bearerd sandbox --authority-port 9900 --upstream-port 9901 "
        "--auth-file /tmp/auth.json"
    )
    program.command("sandbox", epilog=epilog)(sandbox)


def sandbox(
    *,
    authority_port: Port = 0,
    upstream_port: Port = 0,
    access_lifetime_seconds: Annotated[
        float, typer.Option(min=1, help="How long an access token lives.")
    ] = TEN_DAYS_SECONDS,
    auth_file: Annotated[
        Path | None,
        typer.Option(
            "--auth-file",
            metavar="PATH",
            help="Write a made-up login there, as Codex's auth.json has it. A file that "
            "is there already is left alone.",
        ),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the addresses as one line of JSON.")
    ] = False,
) -> int:
    """Run a stand-in authority and upstream, for tests of your own.

    They listen on loopback, and all their tokens are made up. A refresh token is good
    once; spending it twice revokes the login, as at the real authority. Ctrl-C ends it.
    """
    if auth_file is not None and auth_file.exists():
        raise ConfigurationError(
            f"--auth-file {auth_file}: is there already, and might be a real login; "
            "name a file that is not there yet"
        )

    def announce(running: Sandbox) -> None:
        if auth_file is not None:
            _write(auth_file, running)
        _say(running, auth_file, as_json=json)

    try:
        return asyncio.run(
            _serve(announce, authority_port, upstream_port, access_lifetime_seconds)
        )
    except OSError as error:
        raise StartError(
            f"the sandbox cannot start: {error.strerror or error}; choose other ports, "
            "or another --auth-file"
        ) from error


async def _serve(
    announce: Callable[[Sandbox], None],
    authority_port: int,
    upstream_port: int,
    access_lifetime_seconds: float,
) -> int:
    """Serve until a signal comes; return the exit code."""
    from bearerd.sandbox import serve_sandbox

    stop = asyncio.Event()
    received: list[int] = []

    def on_signal(number: int) -> None:
        received.append(number)
        stop.set()

    handle_signals(on_signal)
    await serve_sandbox(
        authority_port=authority_port,
        upstream_port=upstream_port,
        access_lifetime_seconds=access_lifetime_seconds,
        announce=announce,
        stop=stop,
    )
    return ExitCode.INTERRUPTED if received[0] == signal.SIGINT else ExitCode.OK


def _write(auth_file: Path, running: Sandbox) -> None:
    from bearerd.files import atomic

    document = json_text.dumps(running.auth_document(), indent=2)
    atomic.replace(auth_file, document.encode() + b"\n")


def _say(running: Sandbox, auth_file: Path | None, *, as_json: bool) -> None:
    """Print the addresses to stdout, as JSON or for a shell, and the rest to stderr."""
    addresses = {
        "issuer_url": running.issuer_url,
        "token_url": running.token_url,
        "upstream_url": running.upstream_url,
    }
    if as_json:
        document = addresses | {"auth_file": str(auth_file) if auth_file else None}
        typer.echo(json_text.dumps(document))
        return
    for name in ("issuer_url", "upstream_url"):
        typer.echo(f"export BEARERD_{name.upper()}={addresses[name]}")
    file = auth_file or "auth.json"
    if auth_file is None:
        login = f"curl -s -X POST {running.issuer_url}/sandbox/login > {file}"
    else:
        login = f"is in {auth_file}"
    control = '-d \'{"do": "revoke_access_tokens"}\''
    typer.echo(
        f"\na made-up login   {login}\n"
        f"bearerd on it     bearerd serve --store {file}, with the lines above set\n"
        f"what happened     curl -s {running.issuer_url}/sandbox/report\n"
        f"what shall        curl -s {running.issuer_url}/sandbox/control {control}\n"
        f"                  (a wrong name is answered with all names)\n"
        f"the end           Ctrl-C",
        err=True,
    )
