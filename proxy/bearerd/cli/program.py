"""The frame around every command: it is found, called, and its end made an exit code.

Only the command that was asked for is imported: `bearerd token` runs once for many a
request of an agent, and `bearerd --help` has no use for a server.
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
class WrongUse(Protocol):
    """What typer raises for a command line that it cannot make sense of."""

    exit_code: int

    def format_message(self) -> str:
        """Return what is wrong, for a person."""


def run(commands: Mapping[str, str], args: Sequence[str]) -> int:
    """Run what *args* ask for and return the exit code; errors end as one line."""
    if list(args) == ["--version"]:
        # Ahead of typer, which loads pydantic to read the value of a flag.
        typer.echo(VERSION)
        return 0
    try:
        program = build(commands, args)
        code = program(args=list(args), prog_name="bearerd", standalone_mode=False)
        sys.stdout.flush()
    except BearerdError as error:
        complain(error.message)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # Whoever read us has left, as `head` does; Python would complain at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    except Exception as error:
        if not isinstance(error, WrongUse):
            raise
        complain(f"{error.format_message().rstrip('.')}; see `bearerd --help`")
        return error.exit_code
    return code if isinstance(code, int) else 0


def build(commands: Mapping[str, str], args: Sequence[str]) -> typer.Typer:
    """Return the program: the command in *args* whole, all others by name alone."""
    wanted = next((word for word in args if not word.startswith("-")), None)
    program = typer.Typer(
        add_completion=False,
        help="One daemon that owns a ChatGPT login, so that many agents can share it.",
        epilog="Example: bearerd serve --listen 127.0.0.1:8787",
        # rich takes longer to load than the whole of a help text takes without it, and
        # cuts the long names of flags off.
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={
            "help_option_names": ["-h", "--help"],
            # A setting has one name, and --that_name is a flag as good as --that-name.
            "token_normalize_func": lambda word: word.replace("_", "-"),
        },
    )
    program.callback(invoke_without_command=True)(_root)
    for name, line in commands.items():
        if name == wanted:
            importlib.import_module(f"bearerd.cli.commands.{name}").register(program)
        else:
            program.command(name, short_help=line)(_not_wanted)
    return program


def complain(message: str) -> None:
    """Say one line on stderr, in the program's name."""
    typer.echo(f"bearerd: {' '.join(message.split())}", err=True)


def show_help(context: typer.Context) -> None:
    """Explain a group of commands to whoever called it without one: wrong usage."""
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
    show_help(context)


def _not_wanted() -> None:
    """Stand where a command would that this call is not about."""
