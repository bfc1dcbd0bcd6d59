"""Runs one command: finds it, calls it, and turns its end into an exit code.

Only the module of the command that was named is imported: `bearerd token` may run once
for each request of an agent, and `bearerd --help` needs no server.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Final, Protocol, runtime_checkable

import typer

from bearerd import __version__
from bearerd.errors import BearerdError, ExitCode

VERSION: Final = f"bearerd {__version__}"


@runtime_checkable
class UsageError(Protocol):
    """The part that is used here of the error that typer raises for a bad command line.

    Releases of typer differ in the class (click's, or their own copy of it).
    """

    exit_code: int

    def format_message(self) -> str:
        """Return what is wrong with the command line."""


def run(commands: Mapping[str, str], args: Sequence[str]) -> int:
    """Run the command in *args* and return its exit code. *commands* maps names to help.

    A `BearerdError` and wrong usage end as one line on stderr. Any other exception is a
    defect and leaves with its traceback.
    """
    if list(args) == ["--version"]:
        # Answered without typer, which would load pydantic to read a flag's value.
        typer.echo(VERSION)
        return ExitCode.OK
    try:
        program = build_program(commands, args)
        code = program(args=list(args), prog_name="bearerd", standalone_mode=False)
        sys.stdout.flush()
    except BearerdError as error:
        print_stderr(error.message)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader of stdout has gone, as `head` does. The interpreter flushes stdout
        # once more when it ends, and would report the error then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    except Exception as error:
        if not isinstance(error, UsageError):
            raise
        print_stderr(f"{error.format_message().rstrip('.')}; see `bearerd --help`")
        return error.exit_code
    return code if isinstance(code, int) else ExitCode.OK


def build_program(commands: Mapping[str, str], args: Sequence[str]) -> typer.Typer:
    """Return the typer program: the command in *args* complete, the others by name."""
    wanted = next((arg for arg in args if not arg.startswith("-")), None)
    program = typer.Typer(
        add_completion=False,
        help="One daemon that owns a ChatGPT login, so that many agents can share it.",
        epilog="Example: bearerd serve --listen 127.0.0.1:8787",
        # With rich, a help text takes more than twice as long, and long flags are cut.
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={
            "help_option_names": ["-h", "--help"],
            # A flag may be spelled as its setting is: --drain_seconds, --drain-seconds.
            "token_normalize_func": lambda token: token.replace("_", "-"),
        },
    )
    program.callback(invoke_without_command=True)(_root)
    for name, line in commands.items():
        if name == wanted:
            importlib.import_module(f"bearerd.cli.commands.{name}").register(program)
        else:
            program.command(name, short_help=line)(_placeholder)
    return program


def print_stderr(message: str) -> None:
    """Print *message* as one line on stderr, prefixed with the program's name."""
    typer.echo(f"bearerd: {' '.join(message.split())}", err=True)


def require_subcommand(context: typer.Context) -> None:
    """Print the help of a group of commands if none of them is named: wrong usage."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(ExitCode.USAGE)


def _root(
    context: typer.Context,
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.")
    ] = False,
) -> None:
    if version:
        typer.echo(VERSION)
        raise typer.Exit
    require_subcommand(context)


def _placeholder() -> None:
    """Stand for a command that this call does not run; only its line of help is used."""
