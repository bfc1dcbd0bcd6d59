"""`bearerd sandbox`: the stand-in authority and upstream, without a daemon."""

from __future__ import annotations

import asyncio
import json as json_text
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from bearerd.cli.signals import handle_signals
from bearerd.errors import ConfigurationError, ExitCode, StartError

if TYPE_CHECKING:
    from bearerd.sandbox import Sandbox

LAST_PORT: Final = 65535
TEN_DAYS_SECONDS: Final = 864000.0
"""About as long as the real authority's tokens live."""

Port = Annotated[
    int,
    typer.Option(
        metavar="N", min=0, max=LAST_PORT, help="The port; 0 is any free one."
    ),
]


AccessLifetime = Annotated[
    float,
    typer.Option(metavar="SECONDS", min=1, help="The lifetime of an access token."),
]
NewAuthFile = Annotated[
    Path | None,
    typer.Option(
        "--auth-file",
        metavar="PATH",
        help="Write a made-up login to this file, in the format of Codex's auth.json. "
        "An existing file is not overwritten.",
    ),
]
ClientIds = Annotated[
    list[str] | None,
    typer.Option(
        "--client-id",
        metavar="ID",
        help="Accept this OAuth client too, besides Codex's. May be repeated.",
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print the addresses as one line of JSON.")
]

# click keeps the lines of a paragraph that begins with \b.
HELP: Final = """Run a stand-in authority and upstream, for your own tests.

They listen on loopback, and all their tokens are made up. A refresh token can be
used once; using it twice revokes the login, unless "set_reuse" is milder. Ctrl-C
ends the sandbox.

While it runs, POST one of these, as JSON, to ISSUER_URL/sandbox/control. The
response to an unknown name or kind lists them all.

\b
{"do": "revoke_access_tokens"}
{"do": "incident", "seconds": 5}
{"do": "skew_clock", "seconds": 60}
{"do": "set_reuse", "reuse": "tolerate_one"}
{"do": "authority_fault", "kind": "rate_limited", "times": 1}
{"do": "upstream_fault", "kind": "challenge", "times": 1}

A call that reaches the authority spends its refresh token, whatever the response is.
Some kinds of faults fail before that, such as challenge, redirect and edge_error with
status 521, or are about the client. With "before_spending": true no fault that
replaces the response spends the token.
"""


def register(program: typer.Typer) -> None:
    """Add the command to *program*."""
    epilog = (
        "Example: bearerd sandbox --authority-port 9900 --upstream-port 9901 "
        "--auth-file /tmp/auth.json"
    )
    program.command("sandbox", help=HELP, epilog=epilog)(sandbox)


def sandbox(
    *,
    authority_port: Port = 0,
    upstream_port: Port = 0,
    access_lifetime_seconds: AccessLifetime = TEN_DAYS_SECONDS,
    auth_file: NewAuthFile = None,
    client_id: ClientIds = None,
    json: AsJson = False,
) -> int:
    """Serve both stand-ins until a signal; `HELP` has the text for users."""
    if auth_file is not None and auth_file.exists():
        raise ConfigurationError(
            f"--auth-file {auth_file}: this file exists and may be a real login; name a "
            "file that does not exist"
        )

    def on_started(running: Sandbox) -> None:
        if auth_file is not None:
            _write_login(auth_file, running)
        _print_addresses(running, auth_file, as_json=json)

    return _run(
        on_started,
        authority_port=authority_port,
        upstream_port=upstream_port,
        access_lifetime_seconds=access_lifetime_seconds,
        client_ids=client_id or [],
    )


def _run(
    on_started: Callable[[Sandbox], None],
    *,
    authority_port: int,
    upstream_port: int,
    access_lifetime_seconds: float,
    client_ids: Sequence[str],
) -> ExitCode:
    """Serve until a signal, and return the exit code."""
    serving = _serve(
        on_started,
        authority_port=authority_port,
        upstream_port=upstream_port,
        access_lifetime_seconds=access_lifetime_seconds,
        client_ids=client_ids,
    )
    try:
        return asyncio.run(serving)
    except OSError as error:
        raise StartError(
            f"the sandbox cannot start: {error.strerror or error}; choose other ports, "
            "or another --auth-file"
        ) from error


async def _serve(
    on_started: Callable[[Sandbox], None],
    *,
    authority_port: int,
    upstream_port: int,
    access_lifetime_seconds: float,
    client_ids: Sequence[str],
) -> ExitCode:
    from bearerd.sandbox import DEFAULT_CLIENT_IDS, serve_sandbox

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
        client_ids=[*DEFAULT_CLIENT_IDS, *client_ids],
        announce=on_started,
        stop=stop,
    )
    return ExitCode.INTERRUPTED if received[0] == signal.SIGINT else ExitCode.OK


def _write_login(auth_file: Path, running: Sandbox) -> None:
    from bearerd.files import atomic

    document = json_text.dumps(running.auth_document(), indent=2)
    atomic.replace(auth_file, document.encode() + b"\n")


def _print_addresses(
    running: Sandbox, auth_file: Path | None, *, as_json: bool
) -> None:
    """Print the addresses on stdout, as JSON or for a shell, and the rest on stderr."""
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
        f"a report          curl -s {running.issuer_url}/sandbox/report\n"
        f"an action         curl -s {running.issuer_url}/sandbox/control {control}\n"
        f"                  (the response to an unknown name lists all names)\n"
        f"to stop it        Ctrl-C",
        err=True,
    )
